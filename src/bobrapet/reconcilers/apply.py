"""Writing what a plan says: every call here may be repeated after "error, but it happened".

Patches of the planned object carry the resourceVersion that the plan was made for; the runtime's `Conflict` then ends
the pass, and the next one plans on what is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from bobrapet.api import EffectClaim, StepRun, StoryRun, labels
from bobrapet.api.names import label
from bobrapet.engine.plans import Annotate, Delete, Event, RunPlan, StepPlan
from bobrapet.engine.trigger import TriggerPlan
from bobrapet.reconcilers.builtin import Job
from bobrapet.reconcilers.echoes import Echoes
from bobrapet.runtime.client.interfaces import Client, SubResourceClient, ignore_not_found
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.client.options import Preconditions
from bobrapet.runtime.client.patch import Patch, raw_patch
from bobrapet.runtime.errors import AlreadyExists, Conflict, NotFound
from bobrapet.runtime.reconcile import Result
from bobrapet.runtime.rest.interface import MERGE_PATCH

T = TypeVar("T")

KINDS: Final[dict[str, type[Any]]] = {"StoryRun": StoryRun, "StepRun": StepRun, "Job": Job, "EffectClaim": EffectClaim}
AGAIN: Final = Result(requeue_after=0.05)  # after a conflict: by then the cache has usually seen the other write
SOON: Final = 0.001
_EVENT_LABELS: Final = (labels.STORYRUN, labels.STORY_NAME, labels.CORRELATION_ID)
PARALLEL_WRITES: Final = 16  # enough to hide the latency of a wide fan-out, few enough to leave others their turn


def merge_patch(body: Mapping[str, Any], resource_version: str | None = None) -> Patch:
    """A merge patch; with a version it only goes through while the object is still at it."""
    if resource_version:
        body = {**body, "metadata": {**body.get("metadata", {}), "resourceVersion": resource_version}}
    return raw_patch(MERGE_PATCH, msgspec.json.encode(body))


def woken(plan: RunPlan | StepPlan | TriggerPlan, now: datetime) -> Result:
    """When to look again. A deadline that passed while the plan was applied is due at once, not never."""
    wait = plan.wait_seconds(now)
    return Result() if wait is None else Result(requeue_after=max(wait, SOON))


class Fence:
    """The planned object, as patch after patch moves it on. Raises `Conflict` when another writer was there."""

    def __init__(self, client: Client, obj: Any, echoes: Echoes | None = None) -> None:
        """`echoes` hears of what is written to a run or step that goes on."""
        self._client = client
        self._obj = obj
        self._echoes = echoes

    @property
    def obj(self) -> Any:
        """The object as the last patch left it."""
        return self._obj

    @property
    def current(self) -> Any:
        """The object as the last patch left it."""
        return self._obj

    async def patch(self, body: Mapping[str, Any] | None) -> None:
        """Labels, annotations, finalizers."""
        await self._patch(self._client, body)

    async def patch_status(self, body: Mapping[str, Any] | None) -> None:
        await self._patch(self._client.status(), body)

    async def _patch(self, writer: Client | SubResourceClient, body: Mapping[str, Any] | None) -> None:
        if body is None:
            return
        try:
            self._obj = await writer.patch(self._obj, merge_patch(body, self._obj.metadata.resource_version))
        except NotFound as error:
            raise Conflict(f"{self._obj.kind} {self._obj.metadata.name} is gone") from error
        if self._echoes is not None:
            phase = self._obj.status.phase
            if phase is not None and not phase.is_terminal:  # what follows an end is another plan
                self._echoes.note(self._obj)


async def create(client: Client, obj: T) -> bool:
    """Says whether this call created it; a name that is taken is no error."""
    try:
        await client.create(obj)
    except AlreadyExists:
        return False
    return True


async def delete(client: Client, namespace: str, target: Delete) -> None:
    """Deletes in the background what still has the uid; gone, or another of the same name, is success."""
    obj = _named(KINDS[target.kind], namespace, target.name)
    preconditions = Preconditions(uid=target.uid) if target.uid else None
    try:
        with ignore_not_found():
            await client.delete(obj, preconditions=preconditions, propagation_policy="Background")
    except Conflict:
        return


async def annotate(client: Client, namespace: str, change: Annotate) -> None:
    """Patches a child, if it is still the same object."""
    body: dict[str, Any] = dict(change.patch)
    if change.uid:
        body["metadata"] = {**body.get("metadata", {}), "uid": change.uid}
    try:
        with ignore_not_found():
            await client.patch(_named(KINDS[change.kind], namespace, change.name), merge_patch(body))
    except Conflict:
        return


def record(recorder: Any, obj: Any, events: Iterable[Event]) -> None:
    """Hands the events to the recorder, which sends them in its own time."""
    found = _event_labels(obj)
    for event in events:
        recorder.event(obj, None, event.type, event.reason, "Reconcile", event.message, labels=found)


def _event_labels(obj: Any) -> dict[str, str]:
    """What Events of a run and of its steps are found by (spec workloads 4, admission D5)."""
    metadata = obj.metadata
    own = {key: value for key in _EVENT_LABELS if (value := (metadata.labels or {}).get(key))}
    if isinstance(obj, StoryRun):
        return own | {labels.STORYRUN: label(metadata.name or "")}
    if not isinstance(obj, StepRun):
        return {}
    own |= {labels.STEPRUN: label(metadata.name or ""), labels.STEP: label(obj.spec.step_id)}
    engram = obj.spec.engram_ref
    return own | ({labels.ENGRAM: label(engram.name)} if engram is not None else {})


async def each(items: Iterable[T], write: Callable[[T], Awaitable[object]]) -> None:
    """Writes all of them, several at a time; the first failure is raised after the others have had their chance."""
    places = asyncio.Semaphore(PARALLEL_WRITES)

    async def one(item: T) -> None:
        async with places:
            await write(item)

    outcomes = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


def _named(kind: type[Any], namespace: str, name: str) -> Unstructured:
    """Enough of an object to address it."""
    metadata = {"name": name, "namespace": namespace}
    return Unstructured({"apiVersion": kind.API_VERSION, "kind": kind.KIND, "metadata": metadata})
