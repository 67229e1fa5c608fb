"""Who may do what.

The server asks one object before every request. `AllowAuthenticated` is what a single-user machine needs; enforcing
RBAC is another implementation of the same protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bobrapet.local.apiserver.errors import ApiError
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


def check(authorizer: Authorizer, attributes: Attributes) -> None:
    """Raises the 403 of a refused request."""
    allowed, reason = authorizer.authorize(attributes)
    if allowed:
        return
    why = f": {reason}" if reason else ""
    who = f'User "{attributes.user.name}" cannot {attributes.verb}'
    if attributes.path:
        raise ApiError(403, "Forbidden", f'forbidden: {who} path "{attributes.path}"{why}')
    resource = attributes.resource + (f"/{attributes.subresource}" if attributes.subresource else "")
    qualified = f"{attributes.resource}.{attributes.group}" if attributes.group else attributes.resource
    target = f'{qualified} "{attributes.name}"' if attributes.name else qualified
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    details = {"name": attributes.name, "group": attributes.group, "kind": attributes.resource}
    raise ApiError(
        403,
        "Forbidden",
        f'{target} is forbidden: {who} resource "{resource}" in API group "{attributes.group}" {where}{why}',
        details={name: value for name, value in details.items() if value},
    )


class Authorizer(Protocol):
    """Decides."""

    def authorize(self, attributes: Attributes) -> tuple[bool, str]:
        """Whether the request is allowed, and why."""
        ...

    def rules(self, user: User, namespace: str) -> Object:
        """`status` of a SelfSubjectRulesReview."""
        ...


_PUBLIC = ("/healthz", "/livez", "/readyz", "/version")


class AllowAuthenticated:
    """Everybody who is somebody may do everything; strangers may ask whether the server is well."""

    def authorize(self, attributes: Attributes) -> tuple[bool, str]:
        """Allowed, unless the user is anonymous."""
        if "system:unauthenticated" not in attributes.user.groups:
            return True, ""
        return attributes.path.rstrip("/") in _PUBLIC, ""

    def rules(self, user: User, namespace: str) -> Object:
        """Everything."""
        return {
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": False,
        }
