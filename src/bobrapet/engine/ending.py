"""Ending a run early: by a stop step, by request, or because its time is over (spec runs 12.5, 16.3, 19; decision 14).

What has not begun is skipped. What runs is asked to end; what does not end in its time is deleted.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from bobrapet.api import labels
from bobrapet.api.conditions import ConditionType, Reason, find_condition
from bobrapet.api.enums import Phase, StepType
from bobrapet.engine.graph import Block, Node
from bobrapet.engine.plans import Annotate, Delete
from bobrapet.engine.primitives import stories, timed
from bobrapet.engine.reasons import Stops, Wake
from bobrapet.engine.states import State
from bobrapet.engine.work import Cause, Ending, Work

if TYPE_CHECKING:
    from bobrapet.api import StepRun, StoryRun


def stopped(work: Work) -> Ending | None:
    """The stop step that was reached first, if any."""
    reached = [
        (state.finished_at or work.now, node)
        for node in work.graph.block(Block.MAIN)
        if node.step.type is StepType.STOP
        and (state := work.states.get(node.name)) is not None
        and state.phase is Phase.SUCCEEDED
    ]
    if not reached:
        return None
    since, node = min(reached, key=lambda entry: (entry[0], entry[1].index))
    phase = timed.stop_phase(node.step) or Phase.SUCCEEDED
    message = (node.step.with_ or {}).get("message") or f"stopped by step {node.name}"
    return Ending(Cause.STOP, since, phase, str(message), f"stopped by step {node.name}")


def end_topology(work: Work) -> None:
    """Fails the main steps of a stream whose hub says that it is over: they would go on for ever (12.9)."""
    degraded = find_condition(work.run_object.status.conditions, ConditionType.DEGRADED)
    if degraded is None or degraded.status != "True" or degraded.reason != Reason.TOPOLOGY_TERMINATED:
        return
    for node in work.graph.block(Block.MAIN):
        state = work.states.get(node.name)
        if state is not None and not state.is_terminal:
            work.finish(node.name, Phase.FAILED, "the topology was terminated", "TopologyTerminated")
            work.cut.add(node.name)
    work.skip_unstarted(Block.MAIN, "TopologyTerminated", "not started: the topology was terminated")


def is_compensation_due(work: Work) -> bool:
    """Whether compensations run. Those that have begun go on, whatever happens."""
    begun = (work.states.get(node.name) for node in work.graph.block(Block.COMPENSATIONS))
    if any(state is not None and state.phase is not Phase.SKIPPED for state in begun):
        return True
    match work.ending:
        case None:
            return work.has_failed
        case Ending(cause=Cause.STOP, phase=phase):
            return phase is Phase.FAILED
        case Ending(cause=Cause.TIMEOUT):
            return True
        case _:
            return False


def cleanup_deadline(work: Work) -> datetime | None:
    """When compensations and finally of a run that is being ended must be over."""
    match work.ending:
        case Ending(cause=Cause.TIMEOUT, since=since):
            return since + work.grace
        case Ending(cause=Cause.CANCEL, since=since):
            return since + 2 * work.grace  # one for the drain, one for the cleanup
        case _:
            return None


def end_main(work: Work, ending: Ending) -> None:
    """Leaves unstarted main steps unstarted, and drains or cuts off those that run."""
    work.skip_unstarted(Block.MAIN, ending.cause.name.title(), ending.skip_reason)
    until = ending.since + work.grace
    for node in work.graph.block(Block.MAIN):
        state = work.states.get(node.name)
        if state is None or state.is_terminal:
            continue
        if ending.cause is Cause.TIMEOUT:
            work.finish(node.name, Phase.TIMEOUT, ending.message, "TimedOut")
        elif not _is_drained(work, node, state):
            _request_end(work, node, state, delete=False)
            if work.now >= until:
                work.finish(node.name, Phase.CANCELED, "did not end in time", "Canceled")
                work.cut.add(node.name)
            else:
                work.reasons[node.name] = Stops(until)
                work.wakes.append(Wake(until, f"step {node.name} is cut off"))


def cut_off(work: Work, block: Block) -> None:
    work.skip_unstarted(block, "TimedOut", "not started: the time for cleaning up is over")
    for node in work.graph.block(block):
        state = work.states.get(node.name)
        if state is not None and not state.is_terminal:
            work.finish(node.name, Phase.TIMEOUT, "the time for cleaning up is over", "TimedOut")
            work.cut.add(node.name)


def follow_up(work: Work) -> None:
    """Deletes what still runs of steps that were cut off, when it had its time."""
    for node in work.graph.nodes.values():
        state = work.states.get(node.name)
        if state is None or not state.is_terminal or not work.has_children(node):
            continue
        if node.step.type is StepType.EXECUTE_STORY and not stories.waits(node.step):
            continue
        had_its_time = node.name in work.cut
        until = work.now if had_its_time else (state.finished_at or work.now) + work.grace
        if any(work.live_children(node, state)):
            _request_end(work, node, state, delete=work.now >= until)
            if until > work.now:
                work.wakes.append(Wake(until, f"what step {node.name} started is cut off"))


def _is_drained(work: Work, node: Node, state: State) -> bool:
    """Whether nothing of a step runs any more; then it has its end."""
    if work.has_children(node) and (any(work.live_children(node, state)) or not _is_known_gone(work, node, state)):
        return False
    work.finish(node.name, Phase.CANCELED, "canceled", "Canceled")
    return True


def _is_known_gone(work: Work, node: Node, state: State) -> bool:
    """For a step without a visible child: whether there really is none."""
    if node.step.ref is not None and work.steprun(node.name) is None:
        return work.is_certainly_gone(state)
    if node.step.type is StepType.EXECUTE_STORY:
        name = state.child or stories.child_name(work.run_object, node.name)
        return name in work.snapshot.children or work.is_certainly_gone(state)
    return True


def _request_end(work: Work, node: Node, state: State, *, delete: bool) -> None:
    for child in work.live_children(node, state):
        request_end(work, child, delete=delete)


def request_end(work: Work, child: StepRun | StoryRun, *, delete: bool) -> None:
    """Asks a child to end, once; or deletes it when it had its time."""
    end = ending_of(child, delete=delete)
    if isinstance(end, Delete):
        work.deletes.append(end)
    elif end is not None:
        work.cancels.append(end)


def ending_of(child: StepRun | StoryRun, *, delete: bool) -> Annotate | Delete | None:
    """What asks a child to end: a request, its deletion when it had its time, or nothing when that is under way."""
    kind: Any = child.KIND
    name, uid = child.metadata.name or "", child.metadata.uid
    if child.metadata.deletion_timestamp:
        return None
    if delete:
        return Delete(kind, name, uid)
    if kind == "StoryRun":
        if getattr(child.spec, "cancel_requested", None):
            return None
        return Annotate(kind, name, uid, {"spec": {"cancelRequested": True}})
    if child.metadata.annotations.get(labels.ANNOTATION_CANCEL_REQUESTED) == "true":
        return None
    return Annotate(kind, name, uid, {"metadata": {"annotations": {labels.ANNOTATION_CANCEL_REQUESTED: "true"}}})
