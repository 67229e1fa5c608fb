"""Which rules of `rbac` blocks the generated Role may get (spec workloads R-12.3).

An EngramTemplate is cluster-scoped and written by whoever runs the cluster: its rules are trusted as far as they are
not open-ended. Engrams and Stories are written by people who may do no more than create these; what they ask for must
not become a way to rights that they do not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bobrapet.api.core import PolicyRule


def refusal_of_template(rule: PolicyRule) -> str:
    """Why a rule of a template is not granted; empty when it is."""
    if rule.non_resource_urls:
        return "non-resource URLs are not possible in a Role"
    if not (rule.api_groups and rule.resources and rule.verbs):
        return "apiGroups, resources and verbs must not be empty"
    if "*" in rule.api_groups:
        return "every API group (*) is too much"
    if _is_open(rule.resources) or _is_open(rule.verbs) or _is_open(rule.resource_names):
        return "every resource, verb or name (*) is too much"
    return ""


def refusal_of_author(rule: PolicyRule, what: str) -> str:
    """Why a rule of an Engram or a step (`what`: "an Engram") is not granted: both may only get named ConfigMaps and
    Secrets."""
    if rule.non_resource_urls:
        return "non-resource URLs are not possible in a Role"
    if list(rule.api_groups) != [""]:
        return f"{what} may only ask for the core group"
    if not rule.resources or not set(rule.resources) <= {"configmaps", "secrets"}:
        return f"{what} may only ask for configmaps and secrets"
    if not rule.verbs or not set(rule.verbs) <= {"get"}:
        return f"{what} may only ask for get"
    if not rule.resource_names or _is_open(rule.resource_names):
        return f"{what} must name the objects (resourceNames)"
    return ""


def _is_open(words: Sequence[str]) -> bool:
    return any(word in ("", "*") for word in words)
