"""The Job of one attempt of a step (spec workloads 5 and 6).

Byte-stable: equal arguments give equal objects, down to the order of variables. The Job bears the StepRun's name;
what tells the attempts apart is an annotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api import env, labels
from bobrapet.api.names import compose_suffix, label
from bobrapet.config.tls import tls_secret
from bobrapet.workloads.environment import component_environment, encode, step_environment
from bobrapet.workloads.identity import runner_name
from bobrapet.workloads.secrets import bind_secrets
from bobrapet.workloads.storage import storage_environment, storage_volume
from bobrapet.workloads.tls import tls_wiring

if TYPE_CHECKING:
    from bobrapet.api import Engram, EngramTemplate, StepRun, Story, StoryRun
    from bobrapet.config.operator import OperatorConfig
    from bobrapet.config.policy import StepPolicy

CONTAINER: Final = "engram"
DEADLINE_MARGIN_SECONDS: Final = 120  # the controller ends a hung step itself; this is for when it is down
MAX_INLINE_TRIGGER_DATA: Final = 32 * 1024
TRIGGER_DATA_KEY: Final = "triggerData"


@dataclass(frozen=True, slots=True)
class Workload:
    """The objects of one attempt, in the order in which they must be created."""

    secret: dict[str, Any] | None
    """Holds inputs that are too large for the Job; controlled by the StepRun. None: not needed."""
    job: dict[str, Any]


def build_job(
    *,
    step: StepRun,
    run: StoryRun,
    story: Story,
    engram: Engram,
    template: EngramTemplate,
    config: OperatorConfig,
    policy: StepPolicy,
    inputs: Mapping[str, Any],
    configuration: Mapping[str, Any],
    context: Mapping[str, Any] | None,
    skip_templating: bool,
    attempt: int,
    started_at: datetime,
    step_secrets: Mapping[str, str] | None = None,
) -> Workload:
    """Builds the Job of `attempt` of `step`, and the Secret for its inputs when they are large.

    Args:
        inputs: the resolved inputs, delivered as BUBU_TRIGGER_DATA.
        configuration: the resolved configuration, delivered as BUBU_STEP_CONFIG.
        context: the template context for the component; None for materialize steps.
        skip_templating: whether no template is left for the component to evaluate.
        step_secrets: `secrets` of the Story's step: logical name -> Secret, over those of the Engram.
    """
    name, namespace = step.metadata.name or "", step.metadata.namespace or ""
    trigger_data, secret = _trigger_data(step, encode(inputs))
    bindings = bind_secrets(template.spec.secret_schema, {**engram.spec.secrets, **(step_secrets or {})})
    variables = step_environment(
        step=step,
        run=run,
        story=story,
        policy=policy,
        config=config,
        trigger_data=trigger_data,
        skip_templating=skip_templating,
        attempt=attempt,
    )
    variables += bindings.env
    variables += component_environment(
        engram=engram, started_at=started_at, configuration=configuration, context=context
    )
    volumes, mounts = list(bindings.volumes), list(bindings.mounts)
    if tls := tls_secret(engram):
        wiring = tls_wiring(tls)
        volumes.append(wiring.volume)
        mounts.append(wiring.mount)
        variables += wiring.env
    storage = policy.storage.value
    if storage is not None:
        variables = _upsert(variables, storage_environment(storage))
        if (attached := storage_volume(storage)) is not None:
            volumes.append(attached[0])
            mounts.append(attached[1])
    # The root file system is read-only by default; a component needs a place for temporary files.
    volumes.append({"name": "tmp", "emptyDir": {}})
    mounts.append({"name": "tmp", "mountPath": "/tmp"})

    object_labels = _labels(step, run, story, engram)
    attempt_mark = {labels.ANNOTATION_ATTEMPT: str(attempt)}
    pod_spec: dict[str, Any] = {
        "serviceAccountName": policy.service_account_name.value or runner_name(story.metadata.name or ""),
        "automountServiceAccountToken": True,  # the component reports through the API, whatever the policy says
        "restartPolicy": policy.restart_policy.value,
        "securityContext": _pod_security(policy),
        "containers": [_container(template, policy, variables, bindings.env_from, mounts)],
        "volumes": volumes,
    }
    if (grace := config.engram.termination_grace_period_seconds) > 0:
        pod_spec["terminationGracePeriodSeconds"] = grace
    if policy.node_selector:
        pod_spec["nodeSelector"] = {key: setting.value for key, setting in sorted(policy.node_selector.items())}
    if policy.tolerations.value:
        pod_spec["tolerations"] = [toleration.to_wire() for toleration in policy.tolerations.value]
    if policy.affinity.value is not None:
        pod_spec["affinity"] = policy.affinity.value.to_wire()
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                labels.APP_NAME: "bobrapet",
                labels.APP_COMPONENT: "engram",
                **object_labels,
            },
            "annotations": attempt_mark,
            "ownerReferences": [_owner(step)],
        },
        "spec": {
            "activeDeadlineSeconds": _deadline_seconds(policy),
            "backoffLimit": policy.backoff_limit.value,
            "ttlSecondsAfterFinished": policy.ttl_seconds_after_finished.value,
            "template": {"metadata": {"labels": object_labels, "annotations": attempt_mark}, "spec": pod_spec},
        },
    }
    return Workload(secret, job)


def _trigger_data(step: StepRun, text: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    if len(text.encode()) <= MAX_INLINE_TRIGGER_DATA:
        return {"name": env.TRIGGER_DATA, "value": text}, None
    name = compose_suffix(step.metadata.name or "", "trigger-data")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": step.metadata.namespace or "",
            "labels": {labels.STEPRUN: label(step.metadata.name or "")},
            "annotations": {labels.ANNOTATION_TRIGGER_DATA_HASH: sha256(text.encode()).hexdigest()[:16]},
            "ownerReferences": [_owner(step)],
        },
        "type": "Opaque",
        "stringData": {TRIGGER_DATA_KEY: text},
    }
    reference = {"secretKeyRef": {"name": name, "key": TRIGGER_DATA_KEY}}
    return {"name": env.TRIGGER_DATA, "valueFrom": reference}, secret


def _container(
    template: EngramTemplate,
    policy: StepPolicy,
    variables: list[dict[str, Any]],
    env_from: list[dict[str, Any]],
    mounts: list[dict[str, Any]],
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": template.spec.image or "",
        "imagePullPolicy": policy.image_pull_policy.value,
        "env": variables,
        "resources": _resources(policy),
        "securityContext": {
            "readOnlyRootFilesystem": policy.read_only_root_filesystem.value,
            "allowPrivilegeEscalation": policy.allow_privilege_escalation.value,
            "capabilities": {"drop": list(policy.drop_capabilities.value)},
        },
        "volumeMounts": mounts,
    }
    if env_from:
        container["envFrom"] = env_from
    for kind, probe in policy.probes.items():
        if probe.value is not None:
            container[f"{kind}Probe"] = probe.value.to_wire()
    return container


def _resources(policy: StepPolicy) -> dict[str, Any]:
    requests = {"cpu": policy.cpu_request.value, "memory": policy.memory_request.value}
    limits = {"cpu": policy.cpu_limit.value, "memory": policy.memory_limit.value}
    return {
        kind: found
        for kind, quantities in (("requests", requests), ("limits", limits))
        if (found := {name: quantity for name, quantity in quantities.items() if quantity})
    }


def _pod_security(policy: StepPolicy) -> dict[str, Any]:
    context: dict[str, Any] = {
        "runAsNonRoot": policy.run_as_non_root.value,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if policy.run_as_user.value:
        context["runAsUser"] = policy.run_as_user.value
    return context


def _deadline_seconds(policy: StepPolicy) -> int:
    timeout = policy.timeout.value
    whole = timeout.days * 86_400 + timeout.seconds + (timeout.microseconds > 0)
    return whole + DEADLINE_MARGIN_SECONDS


def _labels(step: StepRun, run: StoryRun, story: Story, engram: Engram) -> dict[str, str]:
    found = {
        labels.STEPRUN: label(step.metadata.name or ""),
        labels.STORYRUN: label(run.metadata.name or ""),
        labels.STORY: label(story.metadata.name or ""),
        labels.STEP: label(step.spec.step_id),
        labels.ENGRAM: label(engram.metadata.name or ""),
    }
    correlation = step.metadata.annotations.get(labels.ANNOTATION_CORRELATION_ID)
    if correlation:
        found[labels.CORRELATION_ID] = label(correlation)
    return found


def _owner(step: StepRun) -> dict[str, Any]:
    return {
        "apiVersion": step.API_VERSION,
        "kind": step.KIND,
        "name": step.metadata.name or "",
        "uid": step.metadata.uid or "",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _upsert(variables: list[dict[str, Any]], additions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`variables` with entries of the same name replaced in place and new ones at the end."""
    replaced = {entry["name"]: entry for entry in additions}
    kept = [replaced.pop(entry["name"], entry) for entry in variables]
    return [*kept, *(entry for entry in additions if entry["name"] in replaced)]
