"""Putting a pass into words: why every step is where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bobrapet.api.enums import Phase
from bobrapet.engine.graph import Block, Node
from bobrapet.engine.reasons import Ended, Reason, Retries, Runs, WaitsFor, WaitsForBlock
from bobrapet.engine.states import moment
from bobrapet.engine.work import Work

if TYPE_CHECKING:
    from bobrapet.api import StepRun


def explain(work: Work) -> None:
    """A reason for every step, in declaration order; branches stand behind their step."""
    ordered: dict[str, Reason] = {}
    for name, node in work.graph.nodes.items():
        ordered[name] = _reason(work, node)
        for branch in node.branches:
            key = f"{name}/{branch.name}"
            if key in work.reasons:
                ordered[key] = work.reasons[key]
    work.reasons = ordered


def _reason(work: Work, node: Node) -> Reason:
    state = work.states.get(node.name)
    if state is not None and state.is_terminal:
        return Ended(state.phase, state.message)
    if node.name in work.reasons:
        return work.reasons[node.name]
    if state is not None and not state.is_unstarted:
        return Runs(state.started_at)
    if node.block is not Block.MAIN:
        earlier = Block.MAIN if not work.is_done(Block.MAIN) else Block.COMPENSATIONS
        return WaitsForBlock(earlier.value, if_failed=node.block is Block.COMPENSATIONS)
    return WaitsFor(node.dependencies)


def running(steprun: StepRun) -> Reason:
    """What a StepRun that goes on is doing."""
    status = steprun.status
    attempt = status.retries or 0
    retry_at = moment(status.next_retry_at)
    if retry_at is not None and status.phase is Phase.PENDING:
        return Retries(retry_at, attempt, status.last_failure_msg or "")
    ready = next((condition for condition in status.conditions if condition.type == "Ready"), None)
    if ready is not None and ready.reason in ("ReferenceNotFound", "TemplateNotFound"):
        return Runs(note=ready.message)
    note = ""
    if ready is not None and ready.reason not in ("Scheduled", "Running", "Pending", "RetryScheduled"):
        note = ready.message
    return Runs(moment(status.started_at), attempt, note)


def told(steprun: StepRun, phase: Phase) -> tuple[str, str]:
    """Message and reason of a step's end, as its StepRun tells them."""
    ready = next((condition for condition in steprun.status.conditions if condition.type == "Ready"), None)
    if phase is Phase.SUCCEEDED or ready is None:
        return ("", "")
    return steprun.status.last_failure_msg or ready.message, ready.reason
