"""Children of an earlier attempt of a run, which a cache may still show after a redrive deleted them.

A redrive ends only when the API server says that the old children are gone. But another manager may take over then,
whose cache is further behind, and names come again: the old success would be taken for that of the new attempt. So
what is made after a redrive bears the number of the attempt, and so does the state of its step; a step that was not run
again keeps both. Rules: spec runs 20.1, 20.2, 24.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from bobrapet.api import labels
from bobrapet.api.enums import StepType
from bobrapet.engine.launch import steprun_name
from bobrapet.engine.primitives.stories import child_name

if TYPE_CHECKING:
    from bobrapet.api import StepRun, StoryRun
    from bobrapet.engine.graph import Graph, Node
    from bobrapet.engine.states import State

T = TypeVar("T", "StepRun", "StoryRun")


def of_child(child: StepRun | StoryRun) -> int:
    """The attempt of its run that a child was made in."""
    text = child.metadata.annotations.get(labels.ANNOTATION_RUN_ATTEMPT, "")
    return int(text) if text.isdecimal() else 1


def mark(child: T, attempt: int) -> T:
    """The child as one of this attempt; of the first, nothing says so."""
    if attempt > 1:
        child.metadata.annotations = {**child.metadata.annotations, labels.ANNOTATION_RUN_ATTEMPT: str(attempt)}
    return child


def current(
    run: StoryRun, graph: Graph, states: Mapping[str, State], children: Mapping[str, T], attempt: int
) -> Mapping[str, T]:
    """The children without those that are left from an attempt before their step's.

    Args:
        states: those that the run records; a step without one has not begun in this attempt.
        attempt: the attempt that the run is in.
    """
    if attempt == 1:
        return children
    expected = {
        child: states[node.name].attempt if node.name in states else attempt
        for node in graph.nodes.values()
        for child in _names(run, node)
    }
    return {name: child for name, child in children.items() if of_child(child) >= expected.get(name, 1)}


def _names(run: StoryRun, node: Node) -> Iterator[str]:
    if node.step.type is StepType.EXECUTE_STORY:
        yield child_name(run, node.name)
    elif node.branches:
        yield from (steprun_name(run, branch.name, node.name) for branch in node.branches)
    elif node.step.ref is not None:
        yield steprun_name(run, node.name)
