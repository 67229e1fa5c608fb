"""The status of a run or step as the engine wants it, and the patch that makes it so.

One routine sets a phase, whatever the phase, so that no end of a run misses its times, conditions or tokens
(spec runs 9.1, 18; B-30, B-47). `gates` belong to people and are never written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api import duration
from bobrapet.api.conditions import MAX_MESSAGE, REASON_OF_PHASE, ConditionType, set_condition, shorten
from bobrapet.api.enums import Phase
from bobrapet.api.names import compose
from bobrapet.api.timestamps import format_deadline
from bobrapet.engine.merge import merge_patch
from bobrapet.engine.states import State, from_api, moment

if TYPE_CHECKING:
    from bobrapet.api import StepRun, StoryRun
    from bobrapet.engine.graph import Graph
    from bobrapet.engine.plans import Patch

DEGRADED_PHASES: Final = frozenset({Phase.FAILED, Phase.TIMEOUT, Phase.ABORTED})

MESSAGES_BUDGET: Final = 48 * 1024  # of the 256 KiB that the status of a run may have
MIN_MESSAGE: Final = 48
_REMOVED: Final = "the Story has no such step any more"
MAX_FAILED_STEPS: Final = 50


class StatusWriter:
    """A status under construction, starting from the one that the snapshot shows."""

    def __init__(self, target: StoryRun | StepRun, now: datetime) -> None:
        self._target = target
        self._now = now
        self._old = target.status.to_wire()
        self._new: dict[str, Any] = dict(self._old)
        self._conditions = list(target.status.conditions)

    def set(self, name: str, value: Any) -> None:
        """Sets a field by its wire name; None and empty values remove it."""
        if value is None or value == "" or value == [] or value == {}:
            self._new.pop(name, None)
        else:
            self._new[name] = value

    def keep(self, name: str, value: Any) -> None:
        """Sets a field by its wire name, empty values included."""
        self._new[name] = value

    def get(self, name: str) -> Any:
        return self._new.get(name)

    def condition(self, type: str, status: bool, reason: str, message: str) -> None:
        generation = self._target.metadata.generation
        self._conditions = set_condition(
            self._conditions, type, status, reason, message, now=self._now, generation=generation
        )

    def patch(self) -> Patch | None:
        """The merge patch of the status subresource; None when nothing changed."""
        self.set("conditions", [condition.to_wire() for condition in self._conditions])
        difference = merge_patch(self._old, self._new)
        return {"status": difference} if difference else None

    def _lifecycle(self, phase: Phase, reason: str, message: str) -> None:
        """The fields that every phase write of a run or step has."""
        if self._target.metadata.generation is not None:
            self._new["observedGeneration"] = self._target.metadata.generation
        self._new["phase"] = phase.value
        if phase.is_terminal:
            self._new.setdefault("finishedAt", format_deadline(self._now))
            self.set("duration", self._duration())
        word = reason or REASON_OF_PHASE[phase].value
        self.condition(ConditionType.READY, phase is Phase.SUCCEEDED, word, message)
        self.condition(ConditionType.PROGRESSING, not phase.is_terminal, word, message)
        self.condition(ConditionType.DEGRADED, phase in DEGRADED_PHASES, word, message)

    def _duration(self) -> str:
        started, finished = moment(self._new.get("startedAt")), moment(self._new.get("finishedAt"))
        if started is None or finished is None:
            return ""
        return rounded_duration(finished - started)


class RunStatus(StatusWriter):
    """The status of a StoryRun."""

    def __init__(self, run: StoryRun, now: datetime) -> None:
        super().__init__(run, now)
        self._run = run

    def phase(self, phase: Phase, message: str, *, reason: str = "") -> None:
        """Sets phase, message, times, tokens and the three conditions that belong to a phase."""
        before = self._new.get("phase")
        self.set("message", message)
        if phase is Phase.RUNNING:
            if before != Phase.RUNNING:
                self._new["attempts"] = int(self._new.get("attempts") or 0) + 1
            self._new.setdefault("startedAt", format_deadline(self._now))
            self._add_tokens("story", "impulse")
        elif phase is Phase.SUCCEEDED:
            self._add_tokens("impulse-success")
        elif phase in (Phase.FAILED, Phase.TIMEOUT):
            self._add_tokens("impulse-failed")
        self._lifecycle(phase, reason, message)

    def steps(self, graph: Graph, states: Mapping[str, State]) -> None:
        """Writes the states, and what is counted from them over the declared steps.

        States of steps that the Story no longer has stay as they are while they run. What has not begun leaves its
        queue, or the run would stand in a line for nothing.
        """
        kept = dict(self._removed(graph))
        limit = message_limit(graph)
        self.set("stepStates", kept | {name: state.to_wire(limit) for name, state in states.items()})
        self.set("active", _sorted(name for name, state in states.items() if _is_active(state)))
        self.set("completed", _sorted(name for name, state in states.items() if _is_completed(graph, name, state)))
        allowed = _sorted(
            name for name, state in states.items() if state.is_failed and graph.nodes[name].step.allow_failure
        )
        self.set("allowedFailures", allowed)
        self._new["stepsTotal"] = len(graph.nodes)
        self._count("stepsComplete", sum(state.phase is Phase.SUCCEEDED for state in states.values()))
        self._count("stepsFailed", sum(state.is_failed for state in states.values()))
        self._count("stepsSkipped", sum(state.phase is Phase.SKIPPED for state in states.values()))
        run = self._target.metadata.name or ""
        children = {
            node.name: [compose(run, node.name, branch.name) for branch in node.branches]
            for node in graph.nodes.values()
            if node.branches and node.name in states and states[node.name].phase is not Phase.SKIPPED
        }
        self.set("primitiveChildren", children)

    def close_removed(self, graph: Graph) -> None:
        """Ends steps that the Story no longer has, when their run ends."""
        states = dict(self._new.get("stepStates") or {})
        for name, state in self._run.status.step_states.items():
            if name not in graph.nodes and not (known := from_api(state)).is_terminal and not known.is_unstarted:
                ended = known.ended(Phase.CANCELED, _REMOVED, "StepRemoved", at=self._now)
                states[name] = ended.to_wire(MAX_MESSAGE)
        self.set("stepStates", states)

    def _removed(self, graph: Graph) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, wire in (self._old.get("stepStates") or {}).items():
            if name in graph.nodes:
                continue
            state = from_api(self._run.status.step_states[name])
            if state.is_unstarted:
                wire = state.ended(Phase.SKIPPED, _REMOVED, "StepRemoved", at=self._now).to_wire(MAX_MESSAGE)
            yield name, wire

    def leave_queues(self, reason: str, message: str) -> None:
        """Takes queued steps out of the line: a run that cannot go on must not hold up those behind it."""
        states = dict(self._new.get("stepStates") or {})
        for name, state in self._run.status.step_states.items():
            if (known := from_api(state)).is_queued:
                states[name] = replace(known, reason=reason, message=message).to_wire(MAX_MESSAGE)
        self.set("stepStates", states)

    def close_steps(self, message: str, reason: str) -> None:
        """Ends every step of a run that ends without a look at its graph: what ran is canceled, the rest skipped."""
        states = {name: from_api(state) for name, state in self._run.status.step_states.items()}
        for name, state in states.items():
            if not state.is_terminal:
                phase = Phase.SKIPPED if state.is_unstarted else Phase.CANCELED
                states[name] = state.ended(phase, message, reason, at=self._now)
        self.set("stepStates", {name: state.to_wire(MAX_MESSAGE) for name, state in states.items()})
        self.set("active", [])
        self._count("stepsFailed", sum(state.is_failed for state in states.values()))
        self._count("stepsSkipped", sum(state.phase is Phase.SKIPPED for state in states.values()))

    def _count(self, name: str, number: int) -> None:
        if number or name in self._new:
            self._new[name] = number

    def _add_tokens(self, *tokens: str) -> None:
        have = list(self._new.get("triggerTokens") or ())
        self._new["triggerTokens"] = [*have, *(token for token in tokens if token not in have)]


def rounded_duration(span: timedelta) -> str:
    """A span of time in whole seconds, as a Go duration."""
    seconds = max(round(span.total_seconds()), 0)
    return duration.from_timedelta(timedelta(seconds=seconds))


def failed_steps(graph: Graph, states: Mapping[str, State], names: Iterable[str]) -> list[dict[str, Any]]:
    """The entries of `error.failedSteps`, in declaration order; the first 50 of very many."""
    wanted, limit = set(names), message_limit(graph)
    failed = [(name, states[name]) for name in graph.nodes if name in wanted and name in states]
    return [
        {"name": name, "phase": state.phase.value}
        | ({"message": shorten(state.message, limit)} if state.message else {})
        for name, state in failed[:MAX_FAILED_STEPS]
    ]


def message_limit(graph: Graph) -> int:
    """Characters that the message of one step may have, so that a run of any size stays small."""
    return min(max(MESSAGES_BUDGET // max(len(graph.nodes), 1), MIN_MESSAGE), MAX_MESSAGE)


def _is_active(state: State) -> bool:
    return not state.is_terminal and not state.is_unstarted


def _is_completed(graph: Graph, name: str, state: State) -> bool:
    if state.phase in (Phase.SUCCEEDED, Phase.SKIPPED):
        return True
    return state.is_failed and bool(graph.nodes[name].step.allow_failure)


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names)
