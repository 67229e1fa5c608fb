"""Judges an object together with the objects that it names.

A yes may come from the cache; a no, and a warning, is only said after reading live: an object that was applied a
moment ago must not be called missing because the cache has not heard of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

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
from bobrapet.config.operator import OperatorConfig
from bobrapet.runtime.client.interfaces import Reader, get_or_none
from bobrapet.runtime.client.object import ObjectKey, PartialObjectMetadata
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.validation import FaultReason, Findings, Objects, Scene, Wanted

RULES: Final = (
    ("", ("secrets",), ("get",)),
    ("bubustack.io", ("stories", "engrams"), ("get",)),
    ("catalog.bubustack.io", ("engramtemplates", "impulsetemplates"), ("get",)),
    ("runs.bubustack.io", ("storyruns", "stepruns"), ("get",)),
    ("transport.bubustack.io", ("transports",), ("get",)),
    ("policy.bubustack.io", ("referencegrants",), ("list",)),
)
"""Group, resources and verbs that lookups need, beyond what keeps the caches of reconcilers."""

DEADLINE: Final = 5.0
"""Seconds for all lookups of one request; the API server itself waits for 10."""

CONCURRENT: Final = 16
"""Live lookups of one request that are under way at once."""

_SECRET: Final = PartialObjectMetadata.of("v1", "Secret")  # its contents are none of our business
_BY_NAME: Final = {kind.KIND: kind for kind in KINDS}
_CACHED: Final = frozenset({Engram, EngramTemplate, ImpulseTemplate, StepRun, Story, StoryRun, Transport})
"""Kinds that the reconcilers keep in the cache anyway; others would cost a watch each."""


class LookupFailed(Exception):
    """It is unknown whether the object is good: something that it names could not be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Readers:
    """Two ways to the same objects."""

    cached: Reader
    live: Reader


@dataclass(slots=True)
class _Gathered:
    """The objects that were found so far."""

    reader: Reader
    live: Reader
    objects: Objects = field(default_factory=Objects)
    failed: dict[Wanted, Exception] = field(default_factory=dict)
    from_cache: bool = False
    """Whether an answer depends on the cache, and may be old."""

    async def look_up(self, wanted: Iterable[Wanted]) -> list[KubernetesObject]:
        ordered = sorted(set(wanted))
        near = [each for each in ordered if self._is_near(each)]
        far = [each for each in ordered if not self._is_near(each)]
        found = [await self._one(each) for each in near]  # answered from memory: tasks would cost more than they save
        if far:
            gate = asyncio.Semaphore(CONCURRENT)

            async def through(each: Wanted) -> list[KubernetesObject]:
                async with gate:
                    return await self._one(each)

            found += await asyncio.gather(*map(through, far))
        return [each for some in found for each in some]

    def _is_near(self, wanted: Wanted) -> bool:
        return self.reader is not self.live and _BY_NAME.get(wanted.kind) in _CACHED

    async def _one(self, wanted: Wanted) -> list[KubernetesObject]:
        self.objects.settle(wanted)
        try:
            found = await self._read(wanted)
        except (ControllerRuntimeError, TimeoutError, OSError) as error:
            self.failed[wanted] = error
            return []
        for each in found:
            self.objects.add(each)
        return found

    async def _read(self, wanted: Wanted) -> list[KubernetesObject]:
        key = ObjectKey(wanted.namespace, wanted.name)
        if wanted.kind == "Secret":
            if await get_or_none(self.live, _SECRET, key) is not None:
                self.objects.add_secret(wanted.namespace, wanted.name)
            return []
        if wanted.kind == ReferenceGrant.KIND:
            return [*await self.live.list(ReferenceGrant, namespace=wanted.namespace)]
        kind = _BY_NAME[wanted.kind]
        reader = self.reader if kind in _CACHED else self.live
        self.from_cache |= reader is not self.live
        found = await get_or_none(reader, kind, key)
        return [found] if found is not None else []


async def examine(
    check: Callable[[Scene], Findings], subject: KubernetesObject | None, config: OperatorConfig, readers: Readers
) -> Findings:
    """The findings of `check`, with everything at hand that it asks for. Nothing is read when it asks for nothing.

    `subject` is the object that is checked, to foresee what will be asked; None: it cannot be read. Raises
    `LookupFailed` when something that is decisive cannot be read.
    """
    try:
        async with asyncio.timeout(DEADLINE):
            findings, gathered = await _gather(check, subject, config, _Gathered(readers.cached, readers.live))
            if gathered.failed or (gathered.from_cache and (findings.faults or findings.warnings)):
                findings, gathered = await _gather(check, subject, config, _Gathered(readers.live, readers.live))
    except TimeoutError:
        raise LookupFailed(f"the objects that it names could not be read within {DEADLINE:g} s; try again") from None
    if gathered.failed:
        _settle(subject, findings, gathered.failed)
    return findings


async def _gather(
    check: Callable[[Scene], Findings],
    subject: KubernetesObject | None,
    config: OperatorConfig,
    gathered: _Gathered,
) -> tuple[Findings, _Gathered]:
    if isinstance(subject, Story):
        # Checking a large Story costs more than looking through it: what it names is found before the first check.
        engrams = await gathered.look_up(_engrams(subject))
        await gathered.look_up(_template(engram) for engram in engrams if isinstance(engram, Engram))
    while True:
        findings = check(Scene(lookup=gathered.objects, config=config))
        if not gathered.objects.wanted:
            return findings, gathered
        await gathered.look_up(gathered.objects.wanted)


def _engrams(story: Story) -> Iterator[Wanted]:
    """The Engrams that steps name, except in foreign namespaces, where the policy decides whether they are read."""
    own = story.metadata.namespace or ""
    names = {
        step.ref.name
        for step in (*story.spec.steps, *story.spec.compensations, *story.spec.finally_)
        if step.ref is not None and (step.ref.namespace or "").strip() in ("", own)
    }
    for name in names:
        yield Wanted(Engram.KIND, own, name.strip())


def _template(engram: Engram) -> Wanted:
    return Wanted(EngramTemplate.KIND, "", engram.spec.template_ref.name.strip())


def _settle(subject: KubernetesObject | None, findings: Findings, failed: dict[Wanted, Exception]) -> None:
    """Takes back what was only found because a lookup failed. Raises `LookupFailed` when no other fault is left."""
    for wanted, error in [*failed.items()]:
        if isinstance(subject, Impulse) and wanted.kind == Story.KIND:  # A5: a Story that cannot be read is a warning
            findings.warn("spec.storyRef", f"{_text(wanted)} cannot be read: {error}")
            del failed[wanted]
    if not failed:
        return
    unknown = {FaultReason.NOT_FOUND, FaultReason.FORBIDDEN} if _grants(failed) else {FaultReason.NOT_FOUND}
    findings.faults = [fault for fault in findings.faults if fault.reason not in unknown]
    findings.warnings = []
    if not findings.faults:
        wanted, error = next(iter(failed.items()))
        raise LookupFailed(f"{_text(wanted)} cannot be read, try again: {error}") from error


def _grants(failed: Iterable[Wanted]) -> bool:
    return any(wanted.kind == ReferenceGrant.KIND for wanted in failed)


def _text(wanted: Wanted) -> str:
    place = "/".join(filter(None, (wanted.namespace, wanted.name)))
    return f"{wanted.kind} {place}" if wanted.name else f"ReferenceGrants of namespace {wanted.namespace}"
