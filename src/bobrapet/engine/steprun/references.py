"""What a StepRun names: whether it may, and what a pod cannot start without (spec workloads R-3.8, R-3.12, 9, 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bobrapet.api.enums import SecretMountType, WorkloadMode
from bobrapet.config.tls import tls_secret
from bobrapet.validation.references import CORE, RUNS, Referrer, Target, refusal

if TYPE_CHECKING:
    from bobrapet.api import Engram, StepRun
    from bobrapet.api.story import Step
    from bobrapet.config.policy import StepPolicy
    from bobrapet.engine.snapshot import StepSnapshot


def engram_name(step: StepRun) -> str:
    """`<namespace>/<name>` of the Engram; empty without one."""
    reference = step.spec.engram_ref
    return reference.key(step.metadata.namespace) if reference is not None else ""


def refused(snapshot: StepSnapshot) -> tuple[str, str] | None:
    """Reason and message when the namespace policy forbids what the StepRun names, seen from its Story and itself."""
    step, config = snapshot.step, snapshot.config
    namespace = step.metadata.namespace or ""
    run = step.spec.story_run_ref
    if run.namespace and run.namespace.strip() != namespace:
        return "StoryReferenceInvalid", f'storyRunRef names namespace "{run.namespace}"; it must be {namespace}'
    target_namespace, _, target = engram_name(step).rpartition("/")
    policy = config.references.cross_namespace_policy
    refusals = [
        refusal(referrer, Target(CORE, "Engram", target_namespace, target), policy, snapshot.grants)
        for referrer in _referrers(snapshot, namespace)
    ]
    first = refusals[0]
    return ("EngramReferenceInvalid", str(first)) if first is not None and all(refusals) else None


TLS: Final = "the Engram's spec.transport.tls or its annotation"


def needed_secrets(engram: Engram, policy: StepPolicy) -> dict[str, str]:
    """Secrets that must be there before the Job is made, each with what names it."""
    required = policy.required_secrets
    needed = {name: f"security.requiredSecrets of {required.source}" for name in required.value if name.strip()}
    return {tls: TLS, **needed} if (tls := tls_secret(engram)) else needed


def mounted_secrets(snapshot: StepSnapshot, definition: Step | None) -> list[str]:
    """Secrets without which the volumes of the pod cannot be mounted."""
    engram, template = snapshot.engram, snapshot.template
    if engram is None or template is None:
        return []
    bound = {**engram.spec.secrets, **(definition.secrets if definition is not None else {})}
    names = {
        bound[logical]
        for logical, secret in template.spec.secret_schema.items()
        if secret.mount_type in (SecretMountType.FILE, SecretMountType.BOTH) and bound.get(logical)
    }
    if tls := tls_secret(engram):
        names.add(tls)
    return sorted(names)


def default_mode(supported: Sequence[WorkloadMode]) -> WorkloadMode:
    """What an Engram without `mode` is: a Job when its template can be one (R-3.12)."""
    return WorkloadMode.JOB if not supported or WorkloadMode.JOB in supported else supported[0]


def _referrers(snapshot: StepSnapshot, namespace: str) -> list[Referrer]:
    found = [Referrer(RUNS, "StepRun", namespace)]
    if snapshot.story is not None:
        found.insert(0, Referrer(CORE, "Story", snapshot.story.metadata.namespace or ""))
    return found
