"""The checks of every kind under one roof: create, update with its short cuts, raw manifests.

Rules: spec admission A2.1 for what an update may skip, A6 to A9 for what it may not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from bobrapet.api import (
    KINDS,
    EffectClaim,
    Engram,
    EngramTemplate,
    Impulse,
    ImpulseTemplate,
    KubernetesObject,
    StepRun,
    Story,
    StoryRun,
    StoryTrigger,
    Transport,
    TransportBinding,
)
from bobrapet.api.limits import MAX_OBJECT_BYTES
from bobrapet.validation.catalog import check_engram_template, check_impulse_template
from bobrapet.validation.claims import (
    check_effect_claim,
    check_effect_claim_update,
    check_story_trigger,
    check_story_trigger_update,
)
from bobrapet.validation.engram import check_engram, check_impulse
from bobrapet.validation.faults import FaultReason, Findings
from bobrapet.validation.runs import check_step_run, check_step_run_status, check_story_run, check_story_run_update
from bobrapet.validation.scene import Scene
from bobrapet.validation.story import check_story
from bobrapet.validation.structure import MAX_NESTING, check_structure, is_shallow, without_nulls
from bobrapet.validation.transport import check_transport, check_transport_binding, check_transport_binding_update
from bobrapet.validation.values import json_size, same_json

_MAX_LEVELS: Final = MAX_NESTING + 16
"""Levels of a whole object: a free one with the fields that lead to it."""

_OF: Final = {(kind.API_VERSION, kind.KIND): kind for kind in KINDS}
_CHECKS: Final[dict[type[KubernetesObject], Callable[[Any, Scene, Findings], None]]] = {
    Engram: check_engram,
    Impulse: check_impulse,
    EngramTemplate: check_engram_template,
    ImpulseTemplate: check_impulse_template,
    StoryRun: check_story_run,
    StepRun: check_step_run,
    StoryTrigger: check_story_trigger,
    EffectClaim: check_effect_claim,
    Transport: check_transport,
    TransportBinding: check_transport_binding,
}


def kind_of(manifest: Mapping[str, Any]) -> type[KubernetesObject] | None:
    """The model of a manifest; None when its kind is not ours."""
    return _OF.get((str(manifest.get("apiVersion", "")), str(manifest.get("kind", ""))))


def check_manifest(
    manifest: Mapping[str, Any],
    scene: Scene,
    *,
    old: Mapping[str, Any] | None = None,
    unknown_fields: bool = True,
) -> Findings:
    """Every fault of an object as it was written: structure first, meaning as far as it can be read.

    `unknown_fields` makes fields that the kind does not have faults, as `fieldValidation: Strict` does.
    An object of a kind that is not ours has no findings.
    """
    findings = check_structure(manifest, unknown_fields=unknown_fields)
    kind = kind_of(manifest)
    if kind is None:
        return findings
    try:
        typed = kind.model_validate(without_nulls(manifest))
        before = kind.model_validate(old) if old is not None else None
    except ValidationError as error:
        if findings.is_valid:
            for problem in error.errors():
                findings.invalid(".".join(str(part) for part in problem["loc"]), problem["msg"])
        return findings
    meaning = check_object(typed, scene, old=before)
    # The structure may have said it already, from the CRD: `ref and type together` and the like.
    told = {fault.field for fault in findings.faults}
    findings.faults += [fault for fault in meaning.faults if fault.field not in told]
    findings.warnings += meaning.warnings
    return findings


def check_object(
    object: KubernetesObject,
    scene: Scene,
    *,
    old: KubernetesObject | None = None,
    wire: Mapping[str, Any] | None = None,
) -> Findings:
    """Every fault of an object that satisfies its CRD: what the webhook refuses, and what a controller reports.

    `wire` is the JSON form of `object`, for a caller that has it at hand.
    """
    findings = Findings()
    try:
        given = object.to_wire() if wire is None else wire
        too_deep = not is_shallow(given, _MAX_LEVELS)
    except (ValueError, RecursionError):
        too_deep = True
    if too_deep:
        findings.invalid("", f"is nested too deeply; a free object has at most {MAX_NESTING} levels")
    elif old is None:
        _create(object, given, scene, findings)
    else:
        _update(object, old, given, scene, findings)
    return findings


def _create(object: KubernetesObject, wire: Mapping[str, Any], scene: Scene, findings: Findings) -> None:
    _judge(object, wire, scene, findings)
    if isinstance(object, StepRun):
        check_step_run_status(object, None, findings)


def _judge(object: KubernetesObject, wire: Mapping[str, Any], scene: Scene, findings: Findings) -> None:
    size = json_size(wire) if isinstance(object, Story | StepRun) else 0
    if size > MAX_OBJECT_BYTES:
        what = "story" if isinstance(object, Story) else object.KIND
        text = f"{what} size of {size} bytes exceeds maximum allowed size of {MAX_OBJECT_BYTES}"
        findings.add("", FaultReason.TOO_LONG, text)
    elif isinstance(object, Story):
        check_story(object, scene, findings, size)
    elif (check := _CHECKS.get(type(object))) is not None:
        check(object, scene, findings)


def _update(
    new: KubernetesObject, old: KubernetesObject, wire: Mapping[str, Any], scene: Scene, findings: Findings
) -> None:
    deleting = new.metadata.deletion_timestamp is not None
    unchanged = same_json(wire.get("spec"), old.to_wire().get("spec"))
    match new, old:
        case Engram(), _ if deleting:
            if not unchanged:
                findings.forbidden("spec", "spec updates are not permitted while deletion is in progress")
            return
        case ((StoryTrigger() | EffectClaim()), _) if deleting and unchanged:
            return  # or a missing Story or StepRun would keep the finalizer from going
        case (StoryTrigger(), StoryTrigger()):
            check_story_trigger_update(new, old, findings)
        case (EffectClaim(), EffectClaim()):
            check_effect_claim_update(new, old, findings)
        case _ if deleting:
            return
        case (StoryRun(), StoryRun()):
            check_story_run_update(new, old, scene, findings)
            return
        case (StepRun(), StepRun()):
            check_step_run_status(new, old, findings)
        case (TransportBinding(), TransportBinding()):
            check_transport_binding_update(new, old, findings)
    if unchanged and not isinstance(new, StoryTrigger | EffectClaim):
        return
    _judge(new, wire, scene, findings)
