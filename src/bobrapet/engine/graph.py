"""The graph of a Story: which step needs which, in what order, and what is wrong with it.

Pure and built once per Story generation. Edges are the `needs` of a step and every step that its templates read.
Rules: spec runs 10.1, decision 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from bobrapet.api.enums import StepType
from bobrapet.api.names import label
from bobrapet.api.story import Step
from bobrapet.engine.evaluation import alias_of, references_in

if TYPE_CHECKING:
    from bobrapet.api import Story


class Block(StrEnum):
    """The three lists of steps, in the order in which they run."""

    MAIN = "steps"
    COMPENSATIONS = "compensations"
    FINALLY = "finally"


_RANK: Final = {Block.MAIN: 0, Block.COMPENSATIONS: 1, Block.FINALLY: 2}


@dataclass(frozen=True, slots=True)
class Node:
    """One step with its place in the graph."""

    step: Step
    block: Block
    index: int
    """Position over all blocks, in declaration order."""
    dependencies: tuple[str, ...]
    """Steps that it needs or reads, in declaration order."""
    branches: tuple[Step, ...] = ()
    """Branches of a parallel step."""

    @property
    def name(self) -> str:
        return self.step.name


@dataclass(frozen=True, slots=True)
class Graph:
    """All steps of a Story."""

    nodes: Mapping[str, Node]
    """In declaration order."""
    order: tuple[str, ...]
    """Every step after its dependencies, block by block; steps of a cycle are missing."""
    dependents: Mapping[str, tuple[str, ...]]
    parents: Mapping[str, str]
    """Branch of a parallel step -> that step, for names that no other step has."""
    aliases: Mapping[str, str]
    """Name as templates may write it -> step or branch."""
    problems: tuple[str, ...]
    """Why the graph cannot be run; empty when it can."""

    def block(self, block: Block) -> Iterator[Node]:
        """The steps of a block, dependencies first."""
        return (node for name in self.order if (node := self.nodes[name]).block is block)

    def has(self, block: Block) -> bool:
        return any(node.block is block for node in self.nodes.values())

    def step_of(self, name: str) -> str:
        """The step that a template means by a name: its own name, its alias, or a branch of it; empty: none."""
        real = name if name in self.nodes or name in self.parents else self.aliases.get(name, "")
        return self.parents.get(real, real)

    def downstream(self, name: str) -> set[str]:
        """A step and everything that depends on it within its block, at any distance."""
        found, open_ = {name}, [name]
        block = self.nodes[name].block
        while open_:
            for dependent in self.dependents.get(open_.pop(), ()):
                if dependent not in found and self.nodes[dependent].block is block:
                    found.add(dependent)
                    open_.append(dependent)
        return found


_CACHE_SIZE: Final = 512
_cache: dict[tuple[str, int], Graph] = {}


def graph_of(story: Story) -> Graph:
    """The graph of a Story; remembered by uid and generation, which never mean two different specs."""
    uid, generation = story.metadata.uid, story.metadata.generation
    if not uid or generation is None:
        return build(story)
    key = (uid, generation)
    if (known := _cache.get(key)) is None:
        if len(_cache) >= _CACHE_SIZE:
            _cache.pop(next(iter(_cache)), None)
        known = _cache[key] = build(story)
    return known


def build(story: Story) -> Graph:
    """Builds the graph in time linear in steps and edges."""
    spec = story.spec
    declared = [
        *((step, Block.MAIN) for step in spec.steps),
        *((step, Block.COMPENSATIONS) for step in spec.compensations),
        *((step, Block.FINALLY) for step in spec.finally_),
    ]
    positions = {step.name: index for index, (step, _) in reversed(list(enumerate(declared)))}
    aliases = {alias_of(name): name for name in reversed(positions)}
    branches = {step.name: branches_of(step) for step, _ in declared if step.type is StepType.PARALLEL}
    parents = {
        branch.name: parent for parent, found in branches.items() for branch in found if branch.name not in positions
    }
    branch_aliases = {alias_of(branch): branch for branch in parents}
    problems: list[str] = []
    nodes: dict[str, Node] = {}
    unknown: list[str] = []
    for index, (step, block) in enumerate(declared):
        if step.name in nodes:
            problems.append(f'two steps are named "{step.name}"')
            continue
        needed: set[str] = set()
        for name in (*step.needs, *_read_by(step, branches.get(step.name, ()))):
            target = name if name in positions else aliases.get(name)
            if target is None:
                branch = name if name in parents else branch_aliases.get(name)
                target = parents.get(branch) if branch is not None else None
                if target == step.name:
                    continue  # a branch that reads its sibling is told by validation; it is no edge of the step
            if target is None:
                unknown.append(f"{step.name}->{name}")
            else:
                needed.add(target)
        unknown += [
            f"{step.name}->{name}"
            for name in _watched_by(step)
            if name not in positions and name not in aliases and name not in parents and name not in branch_aliases
        ]
        dependencies = tuple(sorted(needed, key=positions.__getitem__))
        nodes[step.name] = Node(step, block, index, dependencies, branches.get(step.name, ()))
    if unknown:
        problems.append(f"unknown steps: {', '.join(sorted(set(unknown)))}")
    problems += _wrong_blocks(nodes)
    order, cyclic = _sorted(nodes)
    if cyclic:
        problems.append(f"steps need each other in a circle: {', '.join(sorted(cyclic))}")
    dependents: dict[str, list[str]] = {}
    for node in nodes.values():
        for name in node.dependencies:
            dependents.setdefault(name, []).append(node.name)
    return Graph(
        nodes,
        order,
        {name: tuple(found) for name, found in dependents.items()},
        parents,
        branch_aliases | aliases,
        tuple(problems),
    )


def branches_of(step: Step) -> tuple[Step, ...]:
    """The branches of a parallel step, as far as they can be read; `parallel_fault` tells about the others."""
    found = (step.with_ or {}).get("steps")
    if not isinstance(found, list):
        return ()
    read = (branch_of(entry) for entry in found)
    return tuple(branch for branch in read if isinstance(branch, Step))


def branch_of(entry: Any) -> Step | str:
    """A branch as its author wrote it, or why it is none."""
    if not isinstance(entry, Mapping):
        return "must be a step, with a name and a ref"
    try:
        branch = Step.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return branch if branch.name else "needs a name"


def _read_by(step: Step, branches: Iterable[Step]) -> Iterator[str]:
    """Names of steps that the templates of a step read, apart from those it waits for while they still run."""
    texts: list[Any] = [step.if_, step.idempotency_key_template]
    if step.ref is not None or step.type is StepType.EXECUTE_STORY:
        texts.append(step.with_)
    for branch in branches:
        texts += [branch.if_, branch.with_, branch.idempotency_key_template]
    for text in texts:
        if text:
            yield from sorted(references_in(text))
    for path in step.requires:
        parts = path.split(".")
        if len(parts) > 1 and parts[0] == "steps":
            yield parts[1]


def _watched_by(step: Step) -> Iterable[str]:
    """Names of steps that the condition of a wait step reads: they must exist, but need not have ended (B-17)."""
    until = (step.with_ or {}).get("until") if step.type is StepType.WAIT else None
    return sorted(references_in(until)) if isinstance(until, str) else ()


def _wrong_blocks(nodes: Mapping[str, Node]) -> list[str]:
    wrong = [
        f"{node.name}->{name}"
        for node in nodes.values()
        for name in node.dependencies
        if name in nodes and _RANK[nodes[name].block] > _RANK[node.block]
    ]
    return [f"steps need others that run after them: {', '.join(sorted(wrong))}"] if wrong else []


def _sorted(nodes: Mapping[str, Node]) -> tuple[tuple[str, ...], list[str]]:
    """Kahn's algorithm; among steps that are free, the one declared first. Returns the order and what is left over."""
    missing = {name: len(node.dependencies) for name, node in nodes.items()}
    dependents: dict[str, list[str]] = {}
    for node in nodes.values():
        for name in node.dependencies:
            dependents.setdefault(name, []).append(node.name)
    free = [(_RANK[node.block], node.index, name) for name, node in nodes.items() if not missing[name]]
    free.sort()
    order: list[str] = []
    while free:
        _, _, name = heappop(free)
        order.append(name)
        for dependent in dependents.get(name, ()):
            missing[dependent] -= 1
            if not missing[dependent]:
                node = nodes[dependent]
                heappush(free, (_RANK[node.block], node.index, dependent))
    return tuple(order), [name for name in nodes if missing[name] > 0]


def find_step(story: Story, name: str, parent_label: str) -> Step | None:
    """The step or branch that a StepRun was made from; None when the Story no longer has it.

    Args:
        parent_label: the StepRun's parent-step label; empty for a step that is no branch.
    """
    for step in (*story.spec.steps, *story.spec.compensations, *story.spec.finally_):
        if not parent_label:
            if step.name == name:
                return step
        elif step.type is StepType.PARALLEL and label(step.name) == parent_label:
            return next((branch for branch in branches_of(step) if branch.name == name), None)
    return None
