"""The account that the step pods of a Story run under, and what it may do (spec workloads 12, decision 19).

ServiceAccount, Role and RoleBinding share one name and belong to the Story, so that a run costs no writes for them.
The rights are those of the table in 12.1 for the namespace, plus rules that templates and Engrams ask for as far as
they are harmless; the others are dropped and told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api import labels
from bobrapet.api.names import compose_suffix
from bobrapet.config.storage import policy_storage

if TYPE_CHECKING:
    from bobrapet.api import Engram, EngramTemplate, Story
    from bobrapet.api.core import PolicyRule

SUFFIX: Final = "engram-runner"

BASE_RULES: Final[tuple[Mapping[str, Any], ...]] = (
    {"apiGroups": ["runs.bubustack.io"], "resources": ["stepruns"], "verbs": ["get", "watch"]},
    {"apiGroups": ["runs.bubustack.io"], "resources": ["stepruns/status"], "verbs": ["patch", "update"]},
    {"apiGroups": ["runs.bubustack.io"], "resources": ["effectclaims"], "verbs": ["get", "create", "update"]},
    {"apiGroups": ["transport.bubustack.io"], "resources": ["transportbindings"], "verbs": ["get", "list", "watch"]},
    {
        "apiGroups": ["transport.bubustack.io"],
        "resources": ["transportbindings/status"],
        "verbs": ["get", "patch", "update"],
    },
)


@dataclass(frozen=True, slots=True)
class Identity:
    """The three objects, and the rules that were asked for but not granted."""

    service_account: dict[str, Any]
    role: dict[str, Any]
    role_binding: dict[str, Any]
    dropped: tuple[str, ...] = ()

    @property
    def objects(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return self.service_account, self.role, self.role_binding


def runner_name(story: str) -> str:
    """The name of the Story's runner ServiceAccount, Role and RoleBinding."""
    return compose_suffix(story, SUFFIX)


def build_identity(
    story: Story, namespace: str, engrams: Iterable[Engram] = (), templates: Mapping[str, EngramTemplate] | None = None
) -> Identity:
    """Builds the runner identity of `story` for runs in `namespace`.

    Args:
        engrams: those that any step of the Story names, branches of parallel steps included; missing ones are left
            out, their rules follow when they appear.
        templates: EngramTemplates by name.
    """
    name = runner_name(story.metadata.name or "")
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": {labels.APP_NAME: "bobrapet"}}
    # An owner in another namespace is not allowed; there the account stays when the Story goes.
    if namespace == story.metadata.namespace:
        metadata["ownerReferences"] = [
            {
                "apiVersion": story.API_VERSION,
                "kind": story.KIND,
                "name": story.metadata.name or "",
                "uid": story.metadata.uid or "",
            }
        ]
    extra, dropped = _extra_rules(engrams, templates or {})
    account: dict[str, Any] = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": dict(metadata)}
    if annotations := _storage_annotations(story):
        account["metadata"]["annotations"] = {
            **annotations,
            labels.ANNOTATION_MANAGED_STORAGE_ANNOTATIONS: ",".join(sorted(annotations)),
        }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": dict(metadata),
        "rules": [*(dict(rule) for rule in BASE_RULES), *extra],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": dict(metadata),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    return Identity(account, role, binding, tuple(dropped))


def _storage_annotations(story: Story) -> dict[str, str]:
    storage = policy_storage(story.spec.policy.storage) if story.spec.policy is not None else None
    return dict(sorted(storage.service_account_annotations.items())) if storage is not None else {}


def _extra_rules(
    engrams: Iterable[Engram], templates: Mapping[str, EngramTemplate]
) -> tuple[list[dict[str, Any]], list[str]]:
    granted: dict[str, dict[str, Any]] = {}
    dropped: set[str] = set()
    for engram in engrams:
        template = templates.get(engram.spec.template_ref.name)
        execution = template.spec.execution if template is not None else None
        if template is not None and execution is not None and execution.rbac is not None:
            source = f"EngramTemplate {template.metadata.name}"
            _collect(execution.rbac.rules, _trusted_fault, source, granted, dropped)
        overrides = engram.spec.overrides
        if overrides is not None and overrides.rbac is not None:
            source = f"Engram {engram.metadata.name}"
            _collect(overrides.rbac.rules, _untrusted_fault, source, granted, dropped)
    return [granted[key] for key in sorted(granted)], sorted(dropped)


def _collect(
    rules: Sequence[PolicyRule],
    fault: Any,
    source: str,
    granted: dict[str, dict[str, Any]],
    dropped: set[str],
) -> None:
    for rule in rules:
        if reason := fault(rule):
            dropped.add(f"{source}: {', '.join(rule.verbs)} on {', '.join(rule.resources) or 'nothing'}: {reason}")
            continue
        found: dict[str, Any] = {
            "apiGroups": sorted(set(rule.api_groups)),
            "resources": sorted(set(rule.resources)),
            "verbs": sorted(set(rule.verbs)),
        }
        if rule.resource_names:
            found["resourceNames"] = sorted(set(rule.resource_names))
        granted.setdefault(repr(list(found.values())), found)


def _trusted_fault(rule: PolicyRule) -> str:
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


def _untrusted_fault(rule: PolicyRule) -> str:
    """Why a rule of an Engram is not granted: it may only get named ConfigMaps and Secrets."""
    if rule.non_resource_urls:
        return "non-resource URLs are not possible in a Role"
    if list(rule.api_groups) != [""]:
        return "an Engram may only ask for the core group"
    if not rule.resources or not set(rule.resources) <= {"configmaps", "secrets"}:
        return "an Engram may only ask for configmaps and secrets"
    if not rule.verbs or not set(rule.verbs) <= {"get"}:
        return "an Engram may only ask for get"
    if not rule.resource_names or _is_open(rule.resource_names):
        return "an Engram must name the objects (resourceNames)"
    return ""


def _is_open(words: Sequence[str]) -> bool:
    return any(word in ("", "*") for word in words)
