"""Deployment, StatefulSet, ReplicaSet, DaemonSet, Job, CronJob."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from bobrapet.local.apiserver import selectors
from bobrapet.local.apiserver.builtin.pods import default_pod_spec, pod_spec_errors
from bobrapet.local.apiserver.errors import FieldError
from bobrapet.local.apiserver.strategy import Strategy, Writing
from bobrapet.local.apiserver.types import Object

_JOB_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
_JOB_NAMES = ("batch.kubernetes.io/job-name", "job-name")
_MISSING = "FieldValueRequired"


class _Workload(Strategy):
    """A kind with a pod template."""

    has_status = True
    has_generation = True
    defaults: ClassVar[Object] = {}

    def default(self, obj: Object) -> None:
        """The defaults of the kind and of its pods."""
        spec = obj.setdefault("spec", {})
        for name, value in self.defaults.items():
            spec.setdefault(name, value)
        _default_template(spec)


class _Replicated(_Workload):
    """A kind that keeps pods running and finds them by selector."""

    defaults: ClassVar[Object] = {"replicas": 1}

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """The selector selects the template, and never changes."""
        spec = obj["spec"]
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        faults = []
        if not spec.get("selector"):
            faults.append(FieldError("spec.selector", "Required value", _MISSING))
        match = selectors.from_label_selector(spec.get("selector"))
        if match is None or not match(labels):
            shown = _shown(labels)
            text = f"Invalid value: {shown}: `selector` does not match template `labels`"
            faults.append(FieldError("spec.template.metadata.labels", text))
        faults += pod_spec_errors(spec["template"].get("spec") or {}, "spec.template.spec")
        if old is not None and spec.get("selector") != old["spec"].get("selector"):
            text = f"Invalid value: {_shown(spec.get('selector') or {})}: field is immutable"
            faults.append(FieldError("spec.selector", text))
        return faults


class DeploymentStrategy(_Replicated):
    """Deployment."""

    defaults: ClassVar[Object] = {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}

    def default(self, obj: Object) -> None:
        """Rolling updates by a quarter."""
        super().default(obj)
        strategy = obj["spec"].setdefault("strategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")


class StatefulSetStrategy(_Replicated):
    """StatefulSet."""

    defaults: ClassVar[Object] = {"replicas": 1, "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10}

    def default(self, obj: Object) -> None:
        """One pod after the other."""
        super().default(obj)
        spec = obj["spec"]
        spec.setdefault("persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"})
        strategy = spec.setdefault("updateStrategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)


class ReplicaSetStrategy(_Replicated):
    """ReplicaSet."""


class DaemonSetStrategy(_Replicated):
    """DaemonSet."""

    defaults: ClassVar[Object] = {"revisionHistoryLimit": 10}


class JobStrategy(_Workload):
    """Job: its pods are found by a label with its uid; a deleter who does not say keeps them."""

    default_propagation = "Orphan"

    defaults: ClassVar[Object] = {
        "suspend": False,
        "completionMode": "NonIndexed",
        "podReplacementPolicy": "TerminatingOrFailed",
    }

    def default(self, obj: Object) -> None:
        """One completion, one at a time."""
        super().default(obj)
        spec = obj["spec"]
        if "completions" not in spec and "parallelism" not in spec:
            spec["completions"] = 1
        spec.setdefault("parallelism", 1)
        if "backoffLimitPerIndex" in spec:
            spec.setdefault("backoffLimit", 2**31 - 1)
        spec.setdefault("backoffLimit", 6)
        spec.setdefault("manualSelector", False)

    def prepare_create(self, obj: Object, writing: Writing) -> None:
        """Generates the selector."""
        super().prepare_create(obj, writing)
        spec, metadata = obj["spec"], obj["metadata"]
        if spec.get("manualSelector"):
            return
        uid = metadata["uid"]
        labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
        for key in _JOB_LABELS:
            labels[key] = uid
        for key in _JOB_NAMES:
            labels[key] = metadata["name"]
        metadata.setdefault("labels", {}).update(
            {key: labels[key] for key in (*_JOB_LABELS, *_JOB_NAMES) if key not in metadata.get("labels", {})}
        )
        spec["selector"] = {"matchLabels": {_JOB_LABELS[0]: uid}}

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """A Job's pods end; its template and completions are fixed."""
        spec = obj["spec"]
        template = spec["template"].get("spec") or {}
        faults = pod_spec_errors(template, "spec.template.spec")
        if template.get("restartPolicy") == "Always":
            text = 'Required value: valid values: "OnFailure", "Never"'
            faults.append(FieldError("spec.template.spec.restartPolicy", text, _MISSING))
        for name in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
            value = spec.get(name)
            if isinstance(value, int) and value < 0:
                faults.append(FieldError(f"spec.{name}", f"Invalid value: {value}: must be greater than or equal to 0"))
        if old is not None:
            faults += [
                FieldError(f"spec.{name}", f"Invalid value: {_shown(spec.get(name))}: field is immutable")
                for name in ("selector", "template", "completionMode", "completions", "podFailurePolicy")
                if spec.get(name) != old["spec"].get(name) and not (name == "template" and old["spec"].get("suspend"))
            ]
        return faults


class CronJobStrategy(Strategy):
    """CronJob."""

    has_status = True
    has_generation = True

    def default(self, obj: Object) -> None:
        """History limits, and the defaults of the pods."""
        spec = obj.setdefault("spec", {})
        defaults: Object = {
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
        }
        for name, value in defaults.items():
            spec.setdefault(name, value)
        _default_template(spec.setdefault("jobTemplate", {}).setdefault("spec", {}))

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """A schedule and pods."""
        spec = obj["spec"]
        faults = []
        if not spec.get("schedule"):
            faults.append(FieldError("spec.schedule", "Required value", _MISSING))
        template = spec["jobTemplate"]["spec"]["template"].get("spec") or {}
        return faults + pod_spec_errors(template, "spec.jobTemplate.spec.template.spec")


def _default_template(spec: Object) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def _shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) if value else "null"
