"""Every check of a StoryRun and a StepRun beyond their CRDs (spec admission A6, A7; api 6.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from bobrapet.api import Engram, StepRun, Story, StoryRun, labels, names
from bobrapet.api.env import STORAGE_REF
from bobrapet.api.run_types import DownstreamTarget
from bobrapet.validation.execution import check_retry, check_step_overrides
from bobrapet.validation.faults import Findings, quoted
from bobrapet.validation.json_schema import Stands
from bobrapet.validation.references import CORE, RUNS, Referrer, Target
from bobrapet.validation.scene import Scene
from bobrapet.validation.templates import check_denied_functions
from bobrapet.validation.values import (
    check_against,
    check_duration,
    check_reference_maps,
    check_size,
    inline_limit,
    same_json,
)

_INPUTS_HINT: Final = "Put large values into storage and refer to them (storyrun.max-inline-inputs-size)"
_INPUT_HINT: Final = "Put large values into storage and refer to them (engram.default-max-inline-size)"
_SCHEME: Final = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://")
_HOST_PORT: Final = re.compile(r"^(\[[0-9a-fA-F:.%]+\]|[^:\[\]/\s]+):([0-9]{1,5})$")
_ERROR_FIELDS: Final = frozenset(
    {"version", "type", "message", "retryable", "exitCode", "exitClass", "code", "details"}
)


def check_story_run(run: StoryRun, scene: Scene, findings: Findings) -> None:
    """Adds to `findings` what is wrong with a new StoryRun."""
    story = _story_of(run, scene, findings)
    if run.spec.inputs is not None:
        limit = scene.config.storyruns.max_inline_inputs_size
        check_size(findings, "spec.inputs", run.spec.inputs, limit, _INPUTS_HINT)
        check_reference_maps(findings, "spec.inputs", run.spec.inputs)
    if story is not None and story.spec.inputs_schema:
        inputs = run.spec.inputs or {}
        # Inputs are data: text that looks like a template is text (A11.5).
        owner = f"Story '{story.metadata.name}'"
        check_against(findings, "spec.inputs", inputs, story.spec.inputs_schema, owner, Stands.REFERENCES)
        if holds_storage_reference(inputs):
            findings.warn("spec.inputs", "the schema only checks reference shape of values that are kept in storage")
    check_trigger_token(run, scene, findings)


def check_story_run_update(new: StoryRun, old: StoryRun, scene: Scene, findings: Findings) -> None:
    """What may not change in a StoryRun."""
    before, after = old.status.observed_generation or 0, new.status.observed_generation or 0
    if before > 0 and after < before:
        findings.invalid("status.observedGeneration", f"must not fall from {before} to {after}", after)
    key = labels.ANNOTATION_TRIGGER_TOKEN
    if (new.metadata.annotations.get(key) or "").strip() != (old.metadata.annotations.get(key) or "").strip():
        findings.forbidden(f"metadata.annotations[{key}]", "the trigger token is immutable once set")
    check_trigger_token(new, scene, findings)
    wanted, present = dict(new.to_wire()["spec"]), dict(old.to_wire()["spec"])
    asked, asked_before = wanted.pop("cancelRequested", False), present.pop("cancelRequested", False)
    if asked_before and not asked:
        findings.forbidden("spec.cancelRequested", "a cancel request cannot be taken back")
    if not same_json(wanted, present):
        findings.forbidden("spec", "spec is immutable for StoryRun; start a new run instead")


def check_trigger_token(run: StoryRun, scene: Scene, findings: Findings) -> None:
    """A run that was started for a token has the token's name and the hash of its inputs."""
    annotations = run.metadata.annotations
    token = (annotations.get(labels.ANNOTATION_TRIGGER_TOKEN) or "").strip()
    if not token:
        return
    if run.metadata.generate_name:
        findings.forbidden("metadata.generateName", "a run with a trigger token has the name that follows from it")
    reference = run.spec.story_ref
    namespace = (reference.namespace or "").strip() or (run.metadata.namespace or "")
    name = names.storyrun_name(namespace, reference.name.strip(), token)
    if run.metadata.name != name:
        findings.invalid("metadata.name", f"metadata.name must be {quoted(name)}, which follows from the trigger token")
    key = labels.ANNOTATION_TRIGGER_INPUT_HASH
    at = f"metadata.annotations[{key}]"
    given = (annotations.get(key) or "").strip()
    if not given:
        findings.required(at, "required with a trigger token: the hash of the inputs")
        return
    check_input_hash(findings, at, given, run.spec.inputs, scene)


def check_input_hash(findings: Findings, path: str, given: str, inputs: Mapping[str, Any] | None, scene: Scene) -> None:
    """`given` is the hash of `inputs`."""
    resolved: Any = inputs or {}
    if holds_storage_reference(resolved):
        if scene.hydrate is None:
            findings.invalid(path, "cannot be checked: the inputs refer to storage, and no storage is configured")
            return
        resolved = scene.hydrate(resolved)
    try:
        actual = names.input_hash(resolved)
    except ValueError as error:
        findings.invalid(path, f"cannot be checked: {error}")
        return
    if given != actual:
        findings.invalid(path, f"does not match the inputs, whose hash is {actual}", given)


def _story_of(run: StoryRun, scene: Scene, findings: Findings) -> Story | None:
    reference = run.spec.story_ref
    name = reference.name.strip()
    if not name:
        findings.required("spec.storyRef.name", "required; the name of a Story")
        return None
    return existing_story(
        findings,
        scene,
        "spec.storyRef",
        Referrer(RUNS, "StoryRun", run.metadata.namespace or ""),
        Target(CORE, "Story", (reference.namespace or "").strip() or (run.metadata.namespace or ""), name),
        reference.version,
    )


def existing_story(
    findings: Findings, scene: Scene, path: str, referrer: Referrer, target: Target, pinned: str | None
) -> Story | None:
    """The Story that a run or trigger names; it has to exist, in the version that is asked for."""
    if not scene.may_refer(findings, path, referrer, target):
        return None
    story = scene.lookup.find(Story, target.namespace, target.name)
    if story is None:
        findings.not_found(f"{path}.name", f"referenced story '{target.namespace}/{target.name}' not found")
        return None
    check_pin(findings, f"{path}.version", f"Story '{target.name}'", pinned, story.spec.version)
    return story


def check_pin(findings: Findings, path: str, what: str, pinned: str | None, actual: str | None) -> None:
    """A pinned version is the one that the target has."""
    wanted, present = (pinned or "").strip(), (actual or "").strip()
    if wanted and wanted != present:
        findings.invalid(path, f"version {quoted(wanted)} does not match {what}, which has {quoted(present)}", wanted)


def check_step_run(run: StepRun, scene: Scene, findings: Findings) -> None:
    """Adds to `findings` what is wrong with a StepRun's spec and the output that it carries."""
    spec, own = run.spec, run.metadata.namespace or ""
    referrer = Referrer(RUNS, "StepRun", own)
    if not spec.story_run_ref.name.strip():
        findings.required("spec.storyRunRef.name", "required; the name of a StoryRun")
    else:
        namespace = (spec.story_run_ref.namespace or "").strip() or own
        target = Target(RUNS, "StoryRun", namespace, spec.story_run_ref.name.strip())
        scene.may_refer(findings, "spec.storyRunRef", referrer, target)
    if not spec.step_id.strip():
        findings.required("spec.stepId", "required; the name of the step in the Story")
    if spec.engram_ref is not None and spec.engram_ref.name.strip():
        namespace = (spec.engram_ref.namespace or "").strip() or own
        target = Target(CORE, "Engram", namespace, spec.engram_ref.name.strip())
        if scene.may_refer(findings, "spec.engramRef", referrer, target):
            engram = scene.lookup.find(Engram, target.namespace, target.name)
            if engram is None:
                findings.not_found(
                    "spec.engramRef.name", f"referenced engram '{target.namespace}/{target.name}' not found"
                )
            else:
                what = f"Engram '{target.name}'"
                check_pin(findings, "spec.engramRef.version", what, spec.engram_ref.version, engram.spec.version)
    limit = inline_limit(scene.config.engram.max_inline_size)
    if spec.input is not None:
        materializes = (run.metadata.labels.get(labels.MATERIALIZE) or "").lower() == "true"
        if not materializes:
            check_size(findings, "spec.input", spec.input, limit, _INPUT_HINT)
        check_denied_functions(findings, "spec.input", spec.input)
        check_reference_maps(findings, "spec.input", spec.input)
    if run.status.output is not None:
        check_size(findings, "status.output", run.status.output, limit, _INPUT_HINT)
        check_reference_maps(findings, "status.output", run.status.output)
    check_duration(findings, "spec.timeout", spec.timeout)
    check_retry(findings, "spec.retry", spec.retry)
    check_step_overrides(findings, "spec.executionOverrides", spec.execution_overrides)
    for index, downstream in enumerate(spec.downstream_targets):
        _check_downstream(findings, f"spec.downstreamTargets[{index}]", downstream)


def check_step_run_status(run: StepRun, old: StepRun | None, findings: Findings) -> None:
    """What the webhook checks of the status on every write of the StepRun itself."""
    for index, need in enumerate(run.status.needs):
        if need == run.metadata.name:
            findings.invalid(f"status.needs[{index}]", "a StepRun cannot need itself", need)
    error = run.status.error
    if error is not None:
        path = "status.error"
        if error.version != "v1":
            findings.not_supported(f"{path}.version", error.version, ["v1"], "version of the error contract")
        if not error.message:
            findings.required(f"{path}.message", "required; what happened")
        if error.exit_code is not None and error.exit_code < 0:
            findings.invalid(f"{path}.exitCode", f"must be at least 0, is {error.exit_code}")
        for key in error.model_extra or {}:
            if key not in _ERROR_FIELDS:
                findings.invalid(f"{path}.{key}", f"the error contract has no {quoted(key)}; put it below details")
    if old is not None:
        before, after = old.status.observed_generation or 0, run.status.observed_generation or 0
        if after and before and after < before:
            findings.invalid("status.observedGeneration", f"must not fall from {before} to {after}", after)


def _check_downstream(findings: Findings, path: str, target: DownstreamTarget) -> None:
    if (target.grpc is None) == (target.terminate is None):
        both = "sets both grpc and terminate" if target.grpc is not None else "sets neither grpc nor terminate"
        findings.invalid(path, f"{both}; exactly one of them")
    if target.grpc is None:
        return
    endpoint, address = target.grpc.endpoint, target.grpc.address
    if endpoint is not None and address is not None and endpoint != address:
        findings.invalid(
            f"{path}.grpc.address",
            f"endpoint and address are two names of one field and differ ({quoted(endpoint)} and {quoted(address)})",
        )
    for name, value in (("endpoint", endpoint), ("address", address)):
        if value is not None and not is_host_port(value):
            findings.invalid(
                f"{path}.grpc.{name}", f"{quoted(value)} is not host:port with a port of 1 to 65535", value
            )


def is_host_port(text: str) -> bool:
    """`host:port`, a scheme in front allowed."""
    match = _HOST_PORT.match(_SCHEME.sub("", text.strip()))
    return match is not None and 1 <= int(match[2]) <= 65_535


def holds_storage_reference(value: Any) -> bool:
    """Whether a reference to storage is anywhere in `value`."""
    if isinstance(value, Mapping):
        return STORAGE_REF in value or any(holds_storage_reference(child) for child in value.values())
    return isinstance(value, list) and any(holds_storage_reference(child) for child in value)
