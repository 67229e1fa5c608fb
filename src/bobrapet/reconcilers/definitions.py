"""What definitions have in common: they are examined, and their status says what was found (spec workloads 23)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from bobrapet.api import (
    KINDS,
    Engram,
    EngramTemplate,
    Impulse,
    ImpulseTemplate,
    KubernetesObject,
    ReferenceGrant,
    StepRun,
    Story,
    StoryRun,
    Transport,
)
from bobrapet.api.conditions import ConditionType, Reason, set_condition
from bobrapet.reconcilers.operator import Operator
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey, to_dict
from bobrapet.validation.faults import Findings
from bobrapet.validation.objects import check_object
from bobrapet.validation.scene import Absent, Objects, Scene, Wanted

_BY_NAME: Final = {kind.KIND: kind for kind in KINDS}
_CACHED: Final = (Engram, EngramTemplate, Impulse, ImpulseTemplate, StepRun, Story, StoryRun, Transport)


async def examine(operator: Operator, obj: KubernetesObject) -> Findings:
    """Checks an object against everything that it refers to. What it names and is not there is a fault here."""
    lookup = Objects()
    while True:
        scene = Scene(lookup=lookup, config=operator.config(), absent=Absent.REFUSES)
        findings = check_object(obj, scene)
        if not lookup.wanted:
            return findings
        for wanted in sorted(lookup.wanted, key=str):
            await _look_up(operator, wanted, lookup)


async def _look_up(operator: Operator, wanted: Wanted, lookup: Objects) -> None:
    lookup.settle(wanted)
    if wanted.kind == "Secret":
        # Nobody would wake us when the Secret appears; the pod that needs it says when it is missing.
        lookup.add_secret(wanted.namespace, wanted.name)
        return
    if wanted.kind == ReferenceGrant.KIND:
        for grant in await operator.live.list(ReferenceGrant, namespace=wanted.namespace):
            lookup.add(grant)
        return
    kind = _BY_NAME[wanted.kind]
    reader = operator.client if kind in _CACHED else operator.live
    found = await get_or_none(reader, kind, ObjectKey(wanted.namespace, wanted.name))
    if found is not None:
        lookup.add(found)


@dataclass(frozen=True, slots=True)
class Observation:
    """A further condition of the object."""

    type: ConditionType
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What a pass saw of a definition."""

    faults: Sequence[str] = ()
    warnings: Sequence[str] = ()
    observations: Sequence[Observation] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further members of the status, wire names, as they are."""

    totals: Mapping[str, int] = field(default_factory=dict)
    """Counters that only grow: what was counted once stays counted when its object is deleted."""

    ready: Observation | None = None
    """The condition Ready. None: whether there are faults decides."""


def status_patch(obj: Any, seen: Observed, now: datetime) -> dict[str, Any] | None:
    """`{"status": {...}}` with what changed; None when the status says all of it already."""
    current: dict[str, Any] = to_dict(obj).get("status") or {}
    wanted: dict[str, Any] = {"observedGeneration": obj.metadata.generation}
    if not isinstance(obj, Impulse):  # whose validation has conditions, but no fields of its own
        wanted["validationStatus"] = "invalid" if seen.faults else "valid"
        wanted["validationErrors"] = list(seen.faults) or None
    wanted |= {
        **seen.facts,
        **{name: max(count, current.get(name) or 0) for name, count in seen.totals.items()},
        "conditions": _conditions(obj, seen, now),
    }
    if isinstance(obj, Story):
        wanted["validationWarnings"] = list(seen.warnings) or None
    changed = {name: value for name, value in wanted.items() if current.get(name) != value}
    return {"status": changed} if changed else None


def _conditions(obj: Any, seen: Observed, now: datetime) -> list[dict[str, Any]]:
    generation = obj.metadata.generation
    conditions = list(obj.status.conditions)
    for one in _observations(seen):
        conditions = set_condition(
            conditions, one.type, one.status, one.reason, one.message, now=now, generation=generation
        )
    return [condition.to_wire() for condition in conditions]


def _observations(seen: Observed) -> Iterable[Observation]:
    yield from seen.observations
    if seen.ready is not None:
        yield seen.ready
    elif seen.faults:
        yield Observation(ConditionType.READY, "False", Reason.VALIDATION_FAILED, "; ".join(seen.faults))
    else:
        yield Observation(ConditionType.READY, "True", Reason.VALIDATION_PASSED, "everything it needs is there")
