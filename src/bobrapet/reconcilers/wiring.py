"""Which events wake which reconciler: the watches of all controllers.

A definition's counters are no reason to hurry: what only changes them wakes the definition after `COUNTER_DELAY`, and
all that happens meanwhile is counted in one write.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from bobrapet.api import (
    EffectClaim,
    Engram,
    EngramTemplate,
    Impulse,
    ImpulseTemplate,
    Story,
    StoryTrigger,
    Transport,
)
from bobrapet.config.operator import OperatorConfig, Rate
from bobrapet.reconcilers import (
    effectclaim,
    engram,
    engramtemplate,
    identity,
    impulse,
    impulsetemplate,
    operatorconfig,
    rbac,
    steprun,
    stores,
    story,
    storyrun,
    storytrigger,
    transport,
    waiting,
    wakeups,
    watches,
)
from bobrapet.reconcilers.builtin import ConfigMap, Job, Pod
from bobrapet.reconcilers.glance import RawStepRun, RawStoryRun
from bobrapet.reconcilers.metrics import Meter
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.operatorconfig import ConfigSource
from bobrapet.runtime.builder import controller_managed_by
from bobrapet.runtime.controller.controller import Options
from bobrapet.runtime.handler import enqueue_requests_from_map_func
from bobrapet.runtime.predicate import Funcs, GenerationChanged
from bobrapet.runtime.reconcile import Reconciler, Request
from bobrapet.runtime.source import Channel
from bobrapet.runtime.workqueue import ItemExponentialFailureRateLimiter

if TYPE_CHECKING:
    from bobrapet.runtime.manager import ControllerManager

RBAC: Final = (
    *storyrun.RBAC,
    *storytrigger.RBAC,
    *steprun.RBAC,
    *identity.RBAC,
    *stores.RBAC,
    *story.RBAC,
    *engram.RBAC,
    *engramtemplate.RBAC,
    *impulse.RBAC,
    *impulsetemplate.RBAC,
    *transport.RBAC,
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


REQUESTS: Final = Rate(base_delay=timedelta(milliseconds=200), max_delay=timedelta(minutes=1))
"""Back-off for StoryTriggers and EffectClaims, which no key of the configuration names (spec runs 1.8)."""


def without_keys(config: OperatorConfig, built_in: Rate) -> Rate:
    """The rate of a controller that has no keys of its own: back-off is that of all controllers, where it is set."""
    base = config.controller.requeue_base_delay or built_in.base_delay
    maximum = config.controller.requeue_max_delay or built_in.max_delay
    if base is not None and maximum is not None:
        maximum = max(base, maximum)  # a long first pause is not cut because nobody named the longest
    return dataclasses.replace(built_in, base_delay=base, max_delay=maximum)


async def add_controllers(manager: ControllerManager, operator: Operator, source: ConfigSource) -> None:
    """Adds a controller for each kind, and the one that follows the configuration."""
    await _add_storytrigger(manager, operator)
    await _add_storyrun(manager, operator, source)
    await _add_steprun(manager, operator)
    await _add_story(manager, operator)
    await _add_engram(manager, operator)
    await _add_engramtemplate(manager, operator)
    await _add_impulse(manager, operator)
    await _add_impulsetemplate(manager, operator)
    await _add_transport(manager, operator)
    await _add_effectclaim(manager, operator)
    await (
        controller_managed_by(manager)
        .named("operator-config-manager")
        .for_(ConfigMap)
        .with_options(Options(need_leader_election=False))  # every replica answers webhooks by it
        .complete(operatorconfig.OperatorConfigReconciler(source, operator.client))
    )


async def _add_storytrigger(manager: ControllerManager, operator: Operator) -> None:
    wake = wakeups.WakeUps(operator.client)
    is_gone = Funcs(create=watches.never, update=watches.never, generic=watches.never)
    await (
        controller_managed_by(manager)
        .for_(StoryTrigger, GenerationChanged())
        .watches(RawStoryRun, enqueue_requests_from_map_func(wake.triggers_of_run), is_gone)
        .with_options(_options(operator, without_keys(operator.config(), REQUESTS)))
        .complete(_metered(operator, "storytrigger", storytrigger.StoryTriggerReconciler(operator)))
    )


async def _add_storyrun(manager: ControllerManager, operator: Operator, source: ConfigSource) -> None:
    wake, lines = wakeups.WakeUps(operator.client), waiting.Lines(operator)
    spec_changed = GenerationChanged()
    await (
        controller_managed_by(manager)
        .for_(RawStoryRun, Funcs(create=watches.is_news, update=lambda event: not operator.echoes.is_echo(event)))
        .watches(RawStoryRun, watches.backlog(watches.itself), watches.AT_THE_START)
        .owns(RawStepRun, Funcs(create=watches.own_creation, update=watches.step_changed))
        .owns(RawStoryRun, Funcs(create=watches.own_creation, update=watches.run_changed))
        .watches(RawStepRun, enqueue_requests_from_map_func(wake.ended_run_of_child), watches.APPEARS)
        .watches(RawStoryRun, enqueue_requests_from_map_func(wake.ended_run_of_child), watches.APPEARS)
        .watches(Story, enqueue_requests_from_map_func(wake.runs_of_story), spec_changed)
        .watches(Story, watches.backlog(wake.ended_runs_of_story), spec_changed)
        .watches(Engram, enqueue_requests_from_map_func(wake.runs_of_engram), spec_changed)
        .watches(EngramTemplate, enqueue_requests_from_map_func(wake.runs_of_template), spec_changed)
        .watches(RawStepRun, waiting.WhenSlotsAreFree(lines))
        .watches(RawStoryRun, waiting.WhenLinesMove(lines))
        .watches_raw_source(Channel(source.changes(), waiting.WhenLimitsChange(lines)))
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
        .for_(RawStepRun, Funcs(create=watches.is_news, update=lambda event: not operator.echoes.is_echo(event)))
        .watches(RawStepRun, watches.backlog(watches.itself), watches.AT_THE_START)
        .owns(Job, Funcs(create=watches.own_creation, update=watches.attempt_changed))
        .watches(Job, enqueue_requests_from_map_func(wake.step_of_new_job), watches.APPEARS)
        .watches(
            Pod,
            enqueue_requests_from_map_func(wakeups.step_of_pod),
            Funcs(create=watches.pod_tells, update=watches.pod_changed),
        )
        .watches(RawStepRun, enqueue_requests_from_map_func(wakeups.step_of_answer), Funcs(update=watches.step_changed))
        .watches(RawStoryRun, enqueue_requests_from_map_func(wake.steps_of_run), watches.APPEARS)
        .watches(Story, enqueue_requests_from_map_func(wake.steps_of_story), watches.APPEARS)
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
        .watches(Transport, enqueue_requests_from_map_func(wake.stories_of_transport), GenerationChanged())
        .watches(Impulse, watches.EnqueueLater(wakeups.story_of_impulse), GenerationChanged())
        .watches(RawStoryRun, watches.EnqueueLater(wakeups.story_of_run), GenerationChanged())
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
        .watches(Story, watches.EnqueueLater(wakeups.engrams_of_story), GenerationChanged())
        .watches(RawStepRun, watches.EnqueueLater(wakeups.engram_of_step), Funcs(update=watches.phase_changed))
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
        .watches(Engram, watches.EnqueueLater(wakeups.template_of_engram), GenerationChanged())
        .with_options(_options(operator, operator.config().rates.template))
        .complete(_metered(operator, "engramtemplate", engramtemplate.EngramTemplateReconciler(operator)))
    )


async def _add_impulse(manager: ControllerManager, operator: Operator) -> None:
    wake = wakeups.WakeUps(operator.client)
    recorder = manager.get_event_recorder("impulse-controller")
    await (
        controller_managed_by(manager)
        .for_(Impulse, GenerationChanged())
        .watches(ImpulseTemplate, enqueue_requests_from_map_func(wake.impulses_of_template), GenerationChanged())
        .watches(Story, enqueue_requests_from_map_func(wake.impulses_of_story), GenerationChanged())
        .watches(RawStoryRun, watches.EnqueueLater(wakeups.impulse_of_run), Funcs(update=watches.tokens_changed))
        .with_options(_options(operator, operator.config().rates.impulse))
        .complete(_metered(operator, "impulse", impulse.ImpulseReconciler(operator, recorder)))
    )


async def _add_impulsetemplate(manager: ControllerManager, operator: Operator) -> None:
    await (
        controller_managed_by(manager)
        .for_(ImpulseTemplate, GenerationChanged())
        .watches(Impulse, watches.EnqueueLater(wakeups.template_of_impulse), GenerationChanged())
        .with_options(_options(operator, operator.config().rates.template))
        .complete(_metered(operator, "impulsetemplate", impulsetemplate.ImpulseTemplateReconciler(operator)))
    )


async def _add_transport(manager: ControllerManager, operator: Operator) -> None:
    recorder = manager.get_event_recorder("transport-controller")
    await (
        controller_managed_by(manager)
        .for_(Transport, GenerationChanged())
        .watches(Story, watches.EnqueueLater(wakeups.transports_of_story), GenerationChanged())
        .with_options(_options(operator, without_keys(operator.config(), operator.config().rates.transport)))
        .complete(_metered(operator, "transport", transport.TransportReconciler(operator, recorder)))
    )


async def _add_effectclaim(manager: ControllerManager, operator: Operator) -> None:
    recorder = manager.get_event_recorder("effectclaim-controller")
    await (
        controller_managed_by(manager)
        .for_(EffectClaim, GenerationChanged())
        .with_options(_options(operator, without_keys(operator.config(), REQUESTS)))
        .complete(_metered(operator, "effectclaim", effectclaim.EffectClaimReconciler(operator, recorder)))
    )


def _metered(operator: Operator, controller: str, reconciler: Reconciler[Request]) -> Reconciler[Request]:
    if operator.tracer is not None:
        reconciler = operator.tracer.traced(controller, reconciler)
    return Meter(operator.config).metered(controller, reconciler)


def _options(operator: Operator, rate: Rate) -> Options[Request]:
    """Workers and back-off as they are configured when the manager starts, the time limit as it is at each pass."""
    controller = operator.config().controller
    base = rate.base_delay.total_seconds() if rate.base_delay is not None else 0.005
    maximum = rate.max_delay.total_seconds() if rate.max_delay is not None else 1000.0
    return Options(
        max_concurrent_reconciles=rate.max_concurrent_reconciles or controller.max_concurrent_reconciles,
        rate_limiter=lambda: ItemExponentialFailureRateLimiter(base, maximum),
        reconciliation_timeout=lambda: operator.config().controller.reconcile_timeout.total_seconds(),
    )
