"""What templates of a run may read: `inputs` and `steps` (spec runs 15.1, expressions 10; decisions 3 and 9).

A step that succeeded shows its output; any other finished step reads as null at any depth. Signals show whatever the
phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bobrapet.api.enums import Phase, StepType
from bobrapet.api.names import compose
from bobrapet.engine.evaluation import absent_step, alias_of, finished_step, unfinished_step
from bobrapet.engine.launch import is_owned, steprun_name
from bobrapet.engine.outcome import final_phase, has_succeeded
from bobrapet.engine.states import State

if TYPE_CHECKING:
    from bobrapet.api import StepRun, StoryRun
    from bobrapet.engine.graph import Graph, Node


class StepsContext:
    """The `steps` root over states that may still change: entries are made when asked for, and again when invalid.

    So a pass over a large Story costs time in proportion to its steps, however many templates it evaluates.
    """

    def __init__(
        self,
        run: StoryRun,
        graph: Graph,
        states: Mapping[str, State],
        stepruns: Mapping[str, StepRun],
        children: Mapping[str, StoryRun],
    ) -> None:
        self._run, self._graph, self._states = run, graph, states
        self._stepruns, self._children = stepruns, children
        self._entries: dict[str, Any] = {}
        self._invalid = dict.fromkeys(graph.nodes)

    def invalidate(self, name: str) -> None:
        """The state of a step has changed."""
        self._invalid[name] = None

    def entries(self) -> dict[str, Any]:
        """An entry for every step that has begun, under its name and its alias; branches under theirs. Only read it."""
        for name in self._invalid:
            self._make(self._graph.nodes[name])
        self._invalid.clear()
        return self._entries

    def _make(self, node: Node) -> None:
        state = self._states.get(node.name)
        entry = _entry(self._run, node.name, node.step.type, state, self._stepruns, self._children)
        if node.branches:
            is_done = state is not None and state.is_terminal
            for name, found in _branches(self._run, self._graph, node, self._stepruns, is_done=is_done).items():
                self._put(name, found)
            if state is not None and state.phase is Phase.SUCCEEDED:
                outputs = {
                    branch.name: _output(self._stepruns.get(steprun_name(self._run, branch.name, node.name)))
                    for branch in node.branches
                }
                entry = finished_step({name: output for name, output in outputs.items() if output is not None})
        if entry is not None:
            self._put(node.name, entry)

    def _put(self, name: str, entry: Any) -> None:
        self._entries[name] = entry
        other = alias_of(name)
        if other not in self._graph.nodes and other not in self._graph.parents:
            self._entries[other] = entry


def steps_context(
    run: StoryRun,
    graph: Graph,
    states: Mapping[str, State],
    stepruns: Mapping[str, StepRun],
    children: Mapping[str, StoryRun],
) -> dict[str, Any]:
    """The `steps` root over states that do not change."""
    return StepsContext(run, graph, states, stepruns, children).entries()


def _entry(
    run: StoryRun,
    name: str,
    type: StepType | None,
    state: State | None,
    stepruns: Mapping[str, StepRun],
    children: Mapping[str, StoryRun],
) -> Any:
    steprun = stepruns.get(steprun_name(run, name)) if type is None else None
    if steprun is not None and not is_owned(steprun, run):
        steprun = None
    signals = nested_signals(steprun)
    if steprun is not None and has_succeeded(steprun):
        return finished_step(steprun.status.output or {}, signals)
    if state is None or not state.is_terminal:
        if steprun is None or final_phase(steprun) is None:
            return unfinished_step(signals) if signals else None
        return absent_step(signals)
    if state.phase is not Phase.SUCCEEDED:
        return absent_step(signals)
    if type is StepType.EXECUTE_STORY:
        child = children.get(state.child or compose(run.metadata.name or "", name))
        if child is not None and is_owned(child, run):
            return finished_step(child.status.output or {})
    return finished_step({}, signals)


def _branches(
    run: StoryRun, graph: Graph, node: Node, stepruns: Mapping[str, StepRun], *, is_done: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for branch in node.branches:
        if graph.parents.get(branch.name) != node.name:
            continue
        steprun = stepruns.get(steprun_name(run, branch.name, node.name))
        signals = nested_signals(steprun)
        if steprun is not None and is_owned(steprun, run) and has_succeeded(steprun):
            found[branch.name] = finished_step(steprun.status.output or {}, signals)
        elif is_done:
            found[branch.name] = absent_step(signals)
    return found


def _output(steprun: StepRun | None) -> dict[str, Any] | None:
    return (steprun.status.output or {}) if steprun is not None and has_succeeded(steprun) else None


def nested_signals(steprun: StepRun | None) -> dict[str, Any]:
    """`status.signals` with dotted keys as nested objects."""
    nested: dict[str, Any] = {}
    if steprun is None:
        return nested
    for key in sorted(steprun.status.signals):
        target = nested
        *path, last = key.split(".")
        for part in path:
            below = target.get(part)
            if not isinstance(below, dict):
                below = target[part] = {}
            target = below
        value = steprun.status.signals[key]
        before = target.get(last)
        target[last] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return nested
