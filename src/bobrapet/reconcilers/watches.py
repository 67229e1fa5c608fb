"""Which events count: predicates of the watches, and the handler for events that only change counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from bobrapet.engine.steprun.observed import attempt_of, pod_of
from bobrapet.reconcilers import glance
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.handler import LOW_PRIORITY, EnqueueMapped, enqueue_requests_from_map_func
from bobrapet.runtime.predicate import Funcs
from bobrapet.runtime.reconcile import Request

if TYPE_CHECKING:
    from bobrapet.runtime.event import CreateEvent, DeleteEvent, GenericEvent, UpdateEvent
    from bobrapet.runtime.handler import RequestQueue

COUNTER_DELAY: Final = 5.0
"""Seconds that a definition waits before it is counted again: at most one write per object in this time."""

BACKLOG_PRIORITY: Final = 2 * LOW_PRIORITY
"""Of what has ended: looked at after everything that may have to go on.

Ended runs and steps are kept for days, and an operator that is killed soon after each start would otherwise come no
further than to them.
"""


class EnqueueLater:
    """Adds what a function maps an object to, after the delay for counters. The queue keeps a key once.

    What is there at the start is left out: every definition has a first pass of its own then.
    """

    def __init__(self, to_requests: Callable[[Any], Iterable[Request]], delay: float = COUNTER_DELAY) -> None:
        self._to_requests = to_requests
        self._delay = delay

    async def create(self, event: CreateEvent[Any], queue: RequestQueue) -> None:
        if not event.is_in_initial_list:
            self._add(event.object, queue)

    async def update(self, event: UpdateEvent[Any], queue: RequestQueue) -> None:
        for obj in (event.object_old, event.object_new):
            if obj is not None:
                self._add(obj, queue)

    async def delete(self, event: DeleteEvent[Any], queue: RequestQueue) -> None:
        self._add(event.object, queue)

    async def generic(self, event: GenericEvent[Any], queue: RequestQueue) -> None:
        self._add(event.object, queue)

    def _add(self, obj: Any, queue: RequestQueue) -> None:
        for request in self._to_requests(obj):
            queue.add_after(request, self._delay)


def backlog(to_requests: Callable[[Any], Any]) -> EnqueueMapped:
    """A handler for requests that may wait until everything else was looked at."""
    return enqueue_requests_from_map_func(to_requests, priority=BACKLOG_PRIORITY)


def itself(obj: Unstructured) -> list[Request]:
    return [Request(*ObjectKey.of(obj))]


def is_backlog(event: CreateEvent[Unstructured]) -> bool:
    """Whether an object that is there at the start has ended."""
    return event.is_in_initial_list and not glance.is_open(event.object)


def is_news(event: CreateEvent[Unstructured]) -> bool:
    return not is_backlog(event)


def run_changed(event: UpdateEvent[Unstructured]) -> bool:
    """Whatever a person, a parent or the deletion of a run changes; not what this operator writes about steps."""
    old, new = event.metadata_old, event.metadata_new
    if old is None or new is None:
        return True
    return (
        old.generation != new.generation
        or old.deletion_timestamp != new.deletion_timestamp
        or event.annotations_old != event.annotations_new
        or _differs(event, lambda run: (run.get("status", "phase"), run.get("status", "gates"), glance.topology(run)))
    )


def step_changed(event: UpdateEvent[Unstructured]) -> bool:
    """What a run looks at in its steps: how they ended, what they signal, and whether they are about to go."""
    return _differs(
        event,
        lambda step: (
            glance.final_mark(step),
            step.get("status", "signals"),
            step.metadata.deletion_timestamp,
        ),
    )


def attempt_changed(event: UpdateEvent[Unstructured]) -> bool:
    """What a step looks at in its Job: a Job counts pods several times before it ends."""
    return _differs(event, lambda job: attempt_of(job.object, ()))


def pod_changed(event: UpdateEvent[Unstructured]) -> bool:
    return _differs(event, lambda pod: pod_of(pod.object))


def pod_tells(event: CreateEvent[Unstructured]) -> bool:
    """A new pod that is not scheduled yet tells nothing, but one of a later attempt its name."""
    pod = pod_of(event.object.object)
    return pod.is_over or pod.trouble is not None or pod.attempt not in ("", "0")


def never(_event: object) -> bool:
    return False


def own_creation(_event: CreateEvent[Any]) -> bool:
    """Children are created by their owner's reconciler, which learns nothing from seeing them appear."""
    return False


def phase_changed(event: UpdateEvent[Unstructured]) -> bool:
    return _differs(event, glance.phase)


def tokens_changed(event: UpdateEvent[Unstructured]) -> bool:
    return _differs(event, lambda run: run.get("status", "triggerTokens"))


def _differs(event: UpdateEvent[Unstructured], look: Callable[[Unstructured], object]) -> bool:
    old, new = event.object_old, event.object_new
    return old is None or new is None or look(old) != look(new)


APPEARS: Final = Funcs(update=never, delete=never, generic=never)
"""Objects that come into being, or are there at the start."""

AT_THE_START: Final = Funcs(create=is_backlog, update=never, delete=never, generic=never)
"""Objects that have ended before the operator started."""
