"""Who may do what.

The server asks one object before every request. `AllowAuthenticated` is what a single-user machine needs; enforcing
RBAC is another implementation of the same protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bobrapet.local.apiserver.types import Object, User


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """A request as an authorizer sees it; `path` is set for what is no resource."""

    user: User
    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Authorizer(Protocol):
    """Decides."""

    def authorize(self, attributes: Attributes) -> tuple[bool, str]:
        """Whether the request is allowed, and why."""
        ...

    def rules(self, user: User, namespace: str) -> Object:
        """`status` of a SelfSubjectRulesReview."""
        ...


class AllowAuthenticated:
    """Everybody who is somebody may do everything."""

    def authorize(self, attributes: Attributes) -> tuple[bool, str]:
        """Allowed."""
        return True, ""

    def rules(self, user: User, namespace: str) -> Object:
        """Everything."""
        return {
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": False,
        }
