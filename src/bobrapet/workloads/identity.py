"""The account that the step pods of a Story run under, and what it may do (spec workloads 12, decision 19).

ServiceAccount, Role and RoleBinding share one name and belong to the Story, so that a run costs no writes for them.
The rights are those of the table in 12.1 for the namespace, plus rules that templates, Engrams and steps ask for as
far as they are harmless; the others are dropped and told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api import labels
from bobrapet.api.names import compose_suffix
from bobrapet.config.rights import refusal_of_author, refusal_of_template
from bobrapet.config.storage import policy_storage

if TYPE_CHECKING:
    from bobrapet.api import Engram, EngramTemplate, Story
    from bobrapet.api.core import PolicyRule
    from bobrapet.api.story import Step

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
    story: Story,
    namespace: str,
    engrams: Iterable[Engram] = (),
    templates: Mapping[str, EngramTemplate] | None = None,
    steps: Iterable[Step] = (),
) -> Identity:
    """Builds the runner identity of `story` for runs in `namespace`.

    Args:
        engrams: those that any step of the Story names, branches of parallel steps included; missing ones are left
            out, their rules follow when they appear.
        templates: EngramTemplates by name.
        steps: all steps of the Story, branches of parallel steps included.
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
    granted, dropped = _extra_rules(engrams, templates or {})
    _add_rules_of_steps(steps, story, namespace, granted, dropped)
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
        "rules": [*(dict(rule) for rule in BASE_RULES), *(granted[key] for key in sorted(granted))],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": dict(metadata),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    return Identity(account, role, binding, tuple(sorted(dropped)))


def _storage_annotations(story: Story) -> dict[str, str]:
    storage = policy_storage(story.spec.policy.storage) if story.spec.policy is not None else None
    return dict(sorted(storage.service_account_annotations.items())) if storage is not None else {}


def _extra_rules(
    engrams: Iterable[Engram], templates: Mapping[str, EngramTemplate]
) -> tuple[dict[str, dict[str, Any]], set[str]]:
    granted: dict[str, dict[str, Any]] = {}
    dropped: set[str] = set()
    for engram in engrams:
        template = templates.get(engram.spec.template_ref.name)
        execution = template.spec.execution if template is not None else None
        if template is not None and execution is not None and execution.rbac is not None:
            source = f"EngramTemplate {template.metadata.name}"
            _collect(execution.rbac.rules, refusal_of_template, source, granted, dropped)
        overrides = engram.spec.overrides
        if overrides is not None and overrides.rbac is not None:
            source = f"Engram {engram.metadata.name}"
            _collect(overrides.rbac.rules, lambda rule: refusal_of_author(rule, "an Engram"), source, granted, dropped)
    return granted, dropped


def _add_rules_of_steps(
    steps: Iterable[Step], story: Story, namespace: str, granted: dict[str, dict[str, Any]], dropped: set[str]
) -> None:
    """What steps ask for (seed "ExecutionOverrides": rbac), which the reference does not read."""
    is_home = namespace == story.metadata.namespace

    def refusal(rule: PolicyRule) -> str:
        # Names mean other objects there, and who may write Stories here need not have any rights there.
        return refusal_of_author(rule, "a step") if is_home else "the Story is of another namespace than the run"

    for step in steps:
        if step.execution is not None and step.execution.rbac is not None:
            _collect(step.execution.rbac.rules, refusal, f"step {step.name}", granted, dropped)


def _collect(
    rules: Sequence[PolicyRule],
    refusal: Callable[[PolicyRule], str],
    source: str,
    granted: dict[str, dict[str, Any]],
    dropped: set[str],
) -> None:
    for rule in rules:
        if reason := refusal(rule):
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
