"""Running again: the whole run, or from one step on (spec runs 20.1, 20.2; B-16, B-32, B-36).

Three plans in a row, each safe to repeat: the children of what is run again go; then the status forgets it; then the
request is marked as done, and the run goes on like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api import labels
from bobrapet.api.enums import Phase
from bobrapet.api.names import label
from bobrapet.engine import settings
from bobrapet.engine.graph import Block, Graph, graph_of
from bobrapet.engine.launch import is_owned, steprun_name
from bobrapet.engine.merge import merge_patch
from bobrapet.engine.outcome import has_succeeded
from bobrapet.engine.plans import Delete, Event, RunPlan
from bobrapet.engine.reasons import Wake
from bobrapet.engine.states import moment

if TYPE_CHECKING:
    from bobrapet.api import StepRun, StoryRun
    from bobrapet.engine.snapshot import RunSnapshot

CACHE_WAIT: Final = timedelta(milliseconds=100)

_KEPT: Final = frozenset({"attempts", "triggerTokens", "inputSchemaRef", "outputSchemaRef", "trace"})
"""What a full redrive leaves of the status."""

_CLEARED: Final = frozenset(
    {
        "phase",
        "message",
        "active",
        "completed",
        "error",
        "output",
        "childrenCleanedAt",
        "startedAt",
        "finishedAt",
        "duration",
        "conditions",
        "observedGeneration",
        "storyGeneration",
    }
)
"""What a redrive from a step forgets besides the states of its steps."""

_NOT_REACHED: Final = frozenset({"FailFast", "DependencyFailed", "Stop", "Cancel", "Timeout", "NotNeeded"})
"""Reasons of skips that the end of an attempt brought, not the step's own `if`."""


def plan(snapshot: RunSnapshot, now: datetime) -> RunPlan | None:
    """What a redrive request asks for next; None when there is no open request."""
    annotations = snapshot.run.metadata.annotations
    from_step = annotations.get(labels.ANNOTATION_REDRIVE_FROM_STEP, "").strip()
    if from_step and from_step != annotations.get(labels.ANNOTATION_REDRIVE_FROM_STEP_OBSERVED, "").strip():
        return _from_step(snapshot, from_step, now)
    token = annotations.get(labels.ANNOTATION_REDRIVE_TOKEN, "").strip()
    if token and token != annotations.get(labels.ANNOTATION_REDRIVE_OBSERVED, "").strip():
        return _whole(snapshot, token, now)
    return None


def _whole(snapshot: RunSnapshot, token: str, now: datetime) -> RunPlan:
    run = snapshot.run
    if run.spec.cancel_requested:
        return _ignored(labels.ANNOTATION_REDRIVE_OBSERVED, token, _CANCELED, now)
    if not snapshot.authoritative:
        return RunPlan(confirm=True, summary="is being redriven")
    if deletes := _deletes(_owned(snapshot)):
        return RunPlan(deletes=deletes, summary="is being redriven")
    if any(True for _ in _owned(snapshot)):
        return RunPlan(summary="is being redriven: waits for its children to go")
    if snapshot.lagging:
        return _waits_for_the_cache(now)
    old = run.status.to_wire()
    new = {name: value for name, value in old.items() if name in _KEPT}
    if patch := merge_patch(old, new):
        return RunPlan(status={"status": patch}, summary="is being redriven")
    return RunPlan(
        metadata=_observed(labels.ANNOTATION_REDRIVE_OBSERVED, token),
        events=(Event("Normal", "StoryRunRedrive", "runs again from the beginning"),),
        summary="is being redriven",
    )


def _from_step(snapshot: RunSnapshot, request: str, now: datetime) -> RunPlan | None:
    run, story = snapshot.run, snapshot.story
    observed = labels.ANNOTATION_REDRIVE_FROM_STEP_OBSERVED
    if run.spec.cancel_requested:
        return _ignored(observed, request, _CANCELED, now)
    if story is None:
        return None
    graph = graph_of(story)
    step, _, token = request.partition(":")
    step = step.strip()
    if not step or not token.strip() or step not in graph.nodes:
        known = "" if step in graph.nodes else f'; Story "{story.metadata.name}" has no step "{step}"'
        why = f'redrive-from-step must be "<step>:<token>", not "{request}"{known}'
        return _ignored(observed, request, why, now)
    if not snapshot.authoritative:
        return RunPlan(confirm=True, summary=f"is being redriven from step {step}")
    names = _affected(run, graph, step)
    while lost := _lost_upstream(snapshot, graph, names):
        if _is_cleaned_up(snapshot, now):
            why = f"step {lost} above {step} has no StepRun any more, so its output is gone; redrive whole"
            return _ignored(observed, request, why, now)
        # An earlier request has deleted it, and this one came before the status forgot the step.
        names |= _affected(run, graph, lost)
    children = list(_of_steps(snapshot, graph, names))
    if deletes := _deletes(children):
        return RunPlan(deletes=deletes, summary=f"is being redriven from step {step}")
    if children:
        return RunPlan(summary=f"is being redriven from step {step}: waits for children to go")
    if snapshot.lagging:
        return _waits_for_the_cache(now)
    old = run.status.to_wire()
    new: dict[str, Any] = {name: value for name, value in old.items() if name not in _CLEARED}
    for field in ("stepStates", "gates", "primitiveChildren"):
        kept = {name: value for name, value in (old.get(field) or {}).items() if name not in names}
        new.pop(field, None)
        if kept:
            new[field] = kept
    if patch := merge_patch(old, new):
        return RunPlan(status={"status": patch}, summary=f"is being redriven from step {step}")
    return RunPlan(
        metadata=_observed(observed, request),
        events=(Event("Normal", "StoryRunRedriveFromStep", f"runs again from step {step}"),),
        summary=f"is being redriven from step {step}",
    )


def _waits_for_the_cache(now: datetime) -> RunPlan:
    """Children that ended well are gone, but the cache has not heard of it: the next pass would take their success for
    that of the new attempt."""
    return RunPlan(
        wakes=(Wake(now + CACHE_WAIT, "the cache is looked at again"),),
        summary="is being redriven: waits for the cache to forget the old children",
    )


_CANCELED: Final = "a run whose cancel was requested is not redriven; create a new StoryRun"


def _affected(run: StoryRun, graph: Graph, step: str) -> set[str]:
    """The step, what depends on it, what the last attempt did not reach, and the blocks behind."""
    names = graph.downstream(step)
    if graph.nodes[step].block is Block.MAIN:
        names |= {name for name, node in graph.nodes.items() if node.block is not Block.MAIN}
        for name, state in run.status.step_states.items():
            if name in graph.nodes and state.phase is Phase.SKIPPED and state.reason in _NOT_REACHED:
                names |= graph.downstream(name)
    elif graph.nodes[step].block is Block.COMPENSATIONS:
        names |= {name for name, node in graph.nodes.items() if node.block is Block.FINALLY}
    return names


def _lost_upstream(snapshot: RunSnapshot, graph: Graph, names: set[str]) -> str:
    """A step that succeeded and is read by what runs again, but whose StepRun was cleaned up; empty: none."""
    needed = {name for affected in names for name in graph.nodes[affected].dependencies} - names
    for name in graph.nodes:
        state = snapshot.run.status.step_states.get(name)
        if name not in needed or graph.nodes[name].step.ref is None or state is None:
            continue
        steprun = snapshot.steps.get(steprun_name(snapshot.run, name))
        if state.phase is Phase.SUCCEEDED and (steprun is None or not has_succeeded(steprun)):
            return name
    return ""


def _is_cleaned_up(snapshot: RunSnapshot, now: datetime) -> bool:
    """Whether the children's time to live is over, so that a StepRun may be gone without anybody having asked."""
    finished = moment(snapshot.run.status.finished_at)
    expired = finished is not None and now >= finished + settings.child_ttl(snapshot.config, snapshot.story)
    return expired or snapshot.run.status.children_cleaned_at is not None


def _owned(snapshot: RunSnapshot) -> Iterable[StepRun | StoryRun]:
    yield from (steprun for steprun in snapshot.steps.values() if is_owned(steprun, snapshot.run))
    yield from (child for child in snapshot.children.values() if is_owned(child, snapshot.run))


def _of_steps(snapshot: RunSnapshot, graph: Graph, names: set[str]) -> Iterable[StepRun | StoryRun]:
    parents = {label(name) for name in names}
    steps = {steprun_name(snapshot.run, name) for name in names}
    for child in _owned(snapshot):
        parent = child.metadata.labels.get(labels.PARENT_STEP, "")
        if (parent and parent in parents) or (not parent and child.metadata.name in steps):
            yield child


def _deletes(children: Iterable[StepRun | StoryRun]) -> tuple[Delete, ...]:
    return tuple(
        Delete(child.KIND, child.metadata.name or "", child.metadata.uid)
        for child in children
        if not child.metadata.deletion_timestamp
    )


def _observed(annotation: str, value: str) -> dict[str, Any]:
    return {
        "metadata": {
            "annotations": {
                annotation: value,
                labels.ANNOTATION_GRACEFUL_CANCEL_OBSERVED_AT: None,
                labels.ANNOTATION_STEP_TIMERS: None,
            }
        }
    }


def _ignored(annotation: str, value: str, why: str, now: datetime) -> RunPlan:
    """The run goes on as if nobody had asked: a pass that tells so did not look at it, so another one follows."""
    return RunPlan(
        wakes=(Wake(now, "the redrive was ignored, and the run goes on"),),
        metadata={"metadata": {"annotations": {annotation: value}}},
        events=(Event("Warning", "RedriveIgnored", why),),
        summary=why,
    )
