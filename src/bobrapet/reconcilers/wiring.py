"""Which events wake which reconciler: the watches of all controllers.

A definition's counters are no reason to hurry: what only changes them wakes the definition after `COUNTER_DELAY`, and
all that happens meanwhile is counted in one write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api import EffectClaim, Engram, EngramTemplate, Story, StoryTrigger
from bobrapet.config.operator import Rate
from bobrapet.reconcilers import (
    effectclaim,
    engram,
    engramtemplate,
    glance,
    identity,
    operatorconfig,
    rbac,
    steprun,
    story,
    storyrun,
    storytrigger,
    wakeups,
)
from bobrapet.reconcilers.builtin import ConfigMap, Job, Pod
from bobrapet.reconcilers.glance import RawStepRun, RawStoryRun
from bobrapet.reconcilers.metrics import Meter
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.operatorconfig import ConfigSource
from bobrapet.runtime.builder import controller_managed_by
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.controller.controller import Options
from bobrapet.runtime.handler import RequestQueue, enqueue_requests_from_map_func
from bobrapet.runtime.predicate import Funcs, GenerationChanged
from bobrapet.runtime.reconcile import Reconciler, Request
from bobrapet.runtime.workqueue import ItemExponentialFailureRateLimiter

if TYPE_CHECKING:
    from bobrapet.runtime.event import CreateEvent, DeleteEvent, GenericEvent, UpdateEvent
    from bobrapet.runtime.manager import ControllerManager

RBAC: Final = (
    *storyrun.RBAC,
    *storytrigger.RBAC,
    *steprun.RBAC,
    *identity.RBAC,
    *story.RBAC,
    *engram.RBAC,
    *engramtemplate.RBAC,
    *effectclaim.RBAC,
    *operatorconfig.RBAC,
    rbac.Rule("", ("events",), ("create", "patch", "update")),
    rbac.Rule("events.k8s.io", ("events",), ("create", "patch", "update")),
)
"""Everything that the manager may do: `rbac.merge` makes the rules of its ClusterRole."""

LEADER_ELECTION_RBAC: Final = (
    rbac.Rule("coordination.k8s.io", ("leases",), (*rbac.READ, "create", "update", "patch", "delete")),
    rbac.Rule("", ("events",), ("create", "patch")),
)
"""What election needs besides, in the namespace of the Lease only."""

METRICS_RBAC: Final = (
    rbac.Rule("authentication.k8s.io", ("tokenreviews",), ("create",)),
    rbac.Rule("authorization.k8s.io", ("subjectaccessreviews",), ("create",)),
)
"""What serving metrics to authorized callers needs besides."""

COUNTER_DELAY: Final = 10.0

REQUESTS: Final = Rate(base_delay=timedelta(milliseconds=200), max_delay=timedelta(minutes=1))
"""Back-off for StoryTriggers, which no key of the configuration names (spec runs 1.8)."""


async def add_controllers(manager: ControllerManager, operator: Operator, source: ConfigSource) -> None:
    """Adds a controller for each kind, and the one that follows the configuration."""
    await _add_storytrigger(manager, operator)
    await _add_storyrun(manager, operator)
    await _add_steprun(manager, operator)
    await _add_story(manager, operator)
    await _add_engram(manager, operator)
    await _add_engramtemplate(manager, operator)
    await _add_effectclaim(manager, operator)
    await (
        controller_managed_by(manager)
        .named("operator-config-manager")
        .for_(ConfigMap)
        .complete(operatorconfig.OperatorConfigReconciler(source, operator.client))
    )


async def _add_storytrigger(manager: ControllerManager, operator: Operator) -> None:
    wake = wakeups.WakeUps(operator.client)
    is_gone = Funcs(create=_never, update=_never, generic=_never)
    await (
        controller_managed_by(manager)
        .for_(StoryTrigger, GenerationChanged())
        .watches(RawStoryRun, enqueue_requests_from_map_func(wake.triggers_of_run), is_gone)
        .with_options(_options(operator, REQUESTS))
        .complete(_metered(operator, "storytrigger", storytrigger.StoryTriggerReconciler(operator)))
    )


async def _add_storyrun(manager: ControllerManager, operator: Operator) -> None:
    wake = wakeups.WakeUps(operator.client)
    spec_changed = GenerationChanged()
    await (
        controller_managed_by(manager)
        .for_(RawStoryRun, Funcs(update=_run_changed))
        .owns(RawStepRun, Funcs(create=_own_creation, update=_step_changed))
        .owns(RawStoryRun, Funcs(create=_own_creation, update=_run_changed))
        .watches(Story, enqueue_requests_from_map_func(wake.runs_of_story), spec_changed)
        .watches(Engram, enqueue_requests_from_map_func(wake.runs_of_engram), spec_changed)
        .watches(EngramTemplate, enqueue_requests_from_map_func(wake.runs_of_template), spec_changed)
        .watches(
            RawStepRun, enqueue_requests_from_map_func(wake.runs_that_wait_for_a_slot), Funcs(update=_phase_changed)
        )
        .with_options(_options(operator, operator.config().rates.storyrun))
        .complete(
            _metered(
                operator,
                "storyrun",
                storyrun.StoryRunReconciler(operator, manager.get_event_recorder("storyrun-controller")),
            )
        )
    )


async def _add_steprun(manager: ControllerManager, operator: Operator) -> None:
    wake = wakeups.WakeUps(operator.client)
    spec_changed = GenerationChanged()
    await (
        controller_managed_by(manager)
        .for_(RawStepRun)
        .owns(Job, Funcs(create=_own_creation))
        .watches(Pod, enqueue_requests_from_map_func(wakeups.step_of_pod))
        .watches(Engram, enqueue_requests_from_map_func(wake.steps_of_engram), spec_changed)
        .watches(EngramTemplate, enqueue_requests_from_map_func(wake.steps_of_template), spec_changed)
        .with_options(_options(operator, operator.config().rates.steprun))
        .complete(
            _metered(
                operator,
                "steprun",
                steprun.StepRunReconciler(operator, manager.get_event_recorder("steprun-controller")),
            )
        )
    )


async def _add_story(manager: ControllerManager, operator: Operator) -> None:
    wake = wakeups.WakeUps(operator.client)
    await (
        controller_managed_by(manager)
        .for_(Story, GenerationChanged())
        .watches(Engram, enqueue_requests_from_map_func(wake.stories_of_engram), GenerationChanged())
        .watches(EngramTemplate, enqueue_requests_from_map_func(wake.stories_of_template), GenerationChanged())
        .watches(Story, enqueue_requests_from_map_func(wake.stories_of_story), GenerationChanged())
        .watches(RawStoryRun, EnqueueLater(wakeups.story_of_run), GenerationChanged())
        .with_options(_options(operator, operator.config().rates.story))
        .complete(
            _metered(operator, "story", story.StoryReconciler(operator, manager.get_event_recorder("story-controller")))
        )
    )


async def _add_engram(manager: ControllerManager, operator: Operator) -> None:
    wake = wakeups.WakeUps(operator.client)
    await (
        controller_managed_by(manager)
        .for_(Engram, GenerationChanged())
        .watches(EngramTemplate, enqueue_requests_from_map_func(wake.engrams_of_template), GenerationChanged())
        .watches(Story, EnqueueLater(wakeups.engrams_of_story), GenerationChanged())
        .watches(RawStepRun, EnqueueLater(wakeups.engram_of_step), Funcs(update=_phase_changed))
        .with_options(_options(operator, operator.config().rates.engram))
        .complete(
            _metered(
                operator, "engram", engram.EngramReconciler(operator, manager.get_event_recorder("engram-controller"))
            )
        )
    )


async def _add_engramtemplate(manager: ControllerManager, operator: Operator) -> None:
    await (
        controller_managed_by(manager)
        .for_(EngramTemplate, GenerationChanged())
        .watches(Engram, EnqueueLater(wakeups.template_of_engram), GenerationChanged())
        .with_options(_options(operator, operator.config().rates.template))
        .complete(_metered(operator, "engramtemplate", engramtemplate.EngramTemplateReconciler(operator)))
    )


async def _add_effectclaim(manager: ControllerManager, operator: Operator) -> None:
    recorder = manager.get_event_recorder("effectclaim-controller")
    await (
        controller_managed_by(manager)
        .for_(EffectClaim, GenerationChanged())
        .with_options(_options(operator, operator.config().rates.steprun))
        .complete(_metered(operator, "effectclaim", effectclaim.EffectClaimReconciler(operator, recorder)))
    )


def _metered(operator: Operator, controller: str, reconciler: Reconciler[Request]) -> Reconciler[Request]:
    return Meter(operator.config).metered(controller, reconciler)


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


def _run_changed(event: UpdateEvent[Unstructured]) -> bool:
    """Whatever a person, a parent or the deletion of a run changes; not what this operator writes about steps."""
    old, new = event.metadata_old, event.metadata_new
    if old is None or new is None:
        return True
    return (
        old.generation != new.generation
        or old.deletion_timestamp != new.deletion_timestamp
        or event.annotations_old != event.annotations_new
        or _differs(event, lambda run: (run.get("status", "phase"), run.get("status", "gates")))
    )


def _step_changed(event: UpdateEvent[Unstructured]) -> bool:
    """What a run looks at in its steps: how they ended, what they signal, and whether they are about to go."""
    return _differs(
        event,
        lambda step: (
            glance.final_mark(step),
            step.get("status", "signals"),
            step.metadata.deletion_timestamp,
        ),
    )


def _never(_event: object) -> bool:
    return False


def _own_creation(_event: CreateEvent[Any]) -> bool:
    """Children are created by their owner's reconciler, which learns nothing from seeing them appear."""
    return False


def _phase_changed(event: UpdateEvent[Unstructured]) -> bool:
    return _differs(event, glance.phase)


def _differs(event: UpdateEvent[Unstructured], look: Callable[[Unstructured], object]) -> bool:
    old, new = event.object_old, event.object_new
    return old is None or new is None or look(old) != look(new)


def _options(operator: Operator, rate: Rate) -> Options[Request]:
    """Workers, back-off and time limit, as they are configured when the manager starts."""
    controller = operator.config().controller
    base = rate.base_delay.total_seconds() if rate.base_delay is not None else 0.005
    maximum = rate.max_delay.total_seconds() if rate.max_delay is not None else 1000.0
    return Options(
        max_concurrent_reconciles=rate.max_concurrent_reconciles or controller.max_concurrent_reconciles,
        rate_limiter=lambda: ItemExponentialFailureRateLimiter(base, maximum),
        reconciliation_timeout=controller.reconcile_timeout.total_seconds(),
    )
