"""What admission fills in before an object is checked (spec admission A3, A7; api 6.4).

Works on the object as it was written: one that cannot be read is given back unchanged, so that the API server's own
error, with its path, reaches the user (A11.3). Every function is idempotent and leaves its input alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from bobrapet.api import names
from bobrapet.api.enums import BackoffStrategy
from bobrapet.config.operator import OperatorConfig
from bobrapet.validation.structure import schema_of, without_nulls

_DELAY: Final = "1s"


def with_defaults(manifest: Mapping[str, Any], config: OperatorConfig) -> dict[str, Any]:
    """The object with everything that the mutating webhooks set; kinds without one come back as they are."""
    fill = _FILL.get((str(manifest.get("apiVersion")), str(manifest.get("kind"))))
    copied = dict(manifest)
    spec = copied.get("spec")
    if fill is not None and isinstance(spec, dict):
        copied["spec"] = fill(spec, copied.get("metadata"), config)
    return copied


def with_schema_defaults(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The object without nulls and with the defaults of its CRD, as the API server makes it before anyone sees it."""
    schema = schema_of(manifest)
    filled = _filled(without_nulls(manifest), schema) if schema is not None else dict(manifest)
    assert isinstance(filled, dict)
    return filled


def _filled(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [_filled(child, schema["items"]) for child in value]
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for name, member in schema.get("properties", {}).items():
        if name not in filled and "default" in member:
            filled[name] = member["default"]
        elif name in filled:
            filled[name] = _filled(filled[name], member)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for name, child in filled.items():
            filled[name] = _filled(child, extra)
    return filled


def _story(spec: dict[str, Any], metadata: Any, config: OperatorConfig) -> dict[str, Any]:
    filled = dict(spec)
    if isinstance(policy := spec.get("policy"), dict):
        filled["policy"] = _policy(policy, config)
    if isinstance(steps := spec.get("steps"), list):
        filled["steps"] = [_step(step, config) for step in steps]
    return filled


def _policy(policy: dict[str, Any], config: OperatorConfig) -> dict[str, Any]:
    retries = policy.get("retries", {})
    if not isinstance(retries, dict):
        return policy
    filled = dict(retries)
    filled["stepRetryPolicy"] = _retry(retries.get("stepRetryPolicy"), config)
    filled.setdefault("continueOnStepFailure", False)
    return {**policy, "retries": filled}


def _step(step: Any, config: OperatorConfig) -> Any:
    if not isinstance(step, dict):
        return step
    execution = step.get("execution")
    if execution is not None and not isinstance(execution, dict):
        return step
    retry = (execution or {}).get("retry")
    if step.get("sideEffects") is True and retry is None:
        retry = {"maxRetries": 0}
    elif execution is None:
        return step
    return {**step, "execution": {**(execution or {}), "retry": _retry(retry, config)}}


def _retry(retry: Any, config: OperatorConfig) -> Any:
    if retry is not None and not isinstance(retry, dict):
        return retry
    filled = dict(retry or {})
    filled.setdefault("maxRetries", config.max_retries)
    if not filled.get("delay"):
        filled["delay"] = _DELAY
    if not filled.get("backoff"):
        filled["backoff"] = BackoffStrategy.EXPONENTIAL.value
    return filled


def _step_run(spec: dict[str, Any], metadata: Any, config: OperatorConfig) -> dict[str, Any]:
    filled = {**spec, "retry": _retry(spec.get("retry"), config)}
    key = spec.get("idempotencyKey")
    if key is not None and not isinstance(key, str):
        return filled
    if not (key or "").strip():
        reference = spec.get("storyRunRef")
        run = reference.get("name") if isinstance(reference, dict) else None
        step = spec.get("stepId")
        namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
        if isinstance(run, str) and isinstance(step, str):
            own = namespace if isinstance(namespace, str) else ""
            filled["idempotencyKey"] = names.idempotency_key(own, run, step)
    return filled


_FILL: Final[dict[tuple[Any, Any], Callable[[dict[str, Any], Any, OperatorConfig], dict[str, Any]]]] = {
    ("bubustack.io/v1alpha1", "Story"): _story,
    ("runs.bubustack.io/v1alpha1", "StepRun"): _step_run,
}
