"""The shape of a Story's graph: unique names, known needs, no cycles, reachable requirements.

Three lists share one space of names: steps, compensations, finally. A step may need steps of its own list and of the
lists before it; only dependencies within a list can form a cycle. Rules: spec admission A3 rows 3, 5, 16 to 18.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bobrapet.api.enums import StepType
from bobrapet.api.story import Step, StorySpec
from bobrapet.validation.faults import Findings, did_you_mean, quoted


@dataclass(frozen=True, slots=True)
class StepList:
    """One of the three lists of a Story."""

    name: str
    """The word that messages use."""
    path: str
    steps: Sequence[Step]

    def placed(self) -> Iterator[tuple[str, Step]]:
        """Each step with its path."""
        for index, step in enumerate(self.steps):
            yield f"{self.path}[{index}]", step


def step_lists(spec: StorySpec) -> tuple[StepList, StepList, StepList]:
    """The lists in the order in which they run."""
    return (
        StepList("steps", "spec.steps", spec.steps),
        StepList("compensations", "spec.compensations", spec.compensations),
        StepList("finally", "spec.finally", spec.finally_),
    )


def branches(step: Step) -> list[Mapping[str, Any]]:
    """The branches of a parallel step that are objects; empty for every other step."""
    if step.type is not StepType.PARALLEL:
        return []
    found = (step.with_ or {}).get("steps")
    return [branch for branch in found if isinstance(branch, dict)] if isinstance(found, list) else []


def branch_names(steps: Sequence[Step]) -> dict[str, str]:
    """Branch name -> its parallel step, for branches that can be read as `steps.<branch>` (decision 9)."""
    own = {step.name for step in steps}
    return {
        name: step.name
        for step in steps
        for branch in branches(step)
        if isinstance(name := branch.get("name"), str) and name not in own
    }


def check_graph(findings: Findings, spec: StorySpec, read: Mapping[str, Iterable[str]]) -> None:
    """Checks names, needs, cycles and requires.

    `read` gives the steps that the templates of each main step read: they are dependencies as well.
    """
    lists = step_lists(spec)
    _check_names(findings, lists)
    _check_branch_names(findings, lists)
    known: dict[str, None] = {}
    for entry in lists:
        implicit = read if entry.name == "steps" else {}
        in_order = _is_in_order(entry.steps, implicit, known)
        known.update(dict.fromkeys(step.name for step in entry.steps))
        if not in_order:
            for path, step in entry.placed():
                if step.needs and (step.name in step.needs or not known.keys() >= set(step.needs)):
                    _check_needs(findings, path, step, known, lists)
            _check_cycle(findings, entry, implicit)
        _check_requires(findings, entry)


def _check_names(findings: Findings, lists: Sequence[StepList]) -> None:
    first: dict[str, str] = {}
    if len({step.name for entry in lists for step in entry.steps}) == sum(len(entry.steps) for entry in lists):
        return
    for entry in lists:
        for path, step in entry.placed():
            if step.name in first:
                findings.duplicate(
                    f"{path}.name",
                    f"duplicate step name {quoted(step.name)}; {first[step.name]} has it, and steps, compensations and "
                    f"finally share their names",
                    step.name,
                )
            else:
                first[step.name] = path


def _check_branch_names(findings: Findings, lists: Sequence[StepList]) -> None:
    """A branch is read as `steps.<branch>` like a step, so the two must not have one name (runs 26, case 34)."""
    if not any(step.type is StepType.PARALLEL for entry in lists for step in entry.steps):
        return
    paths = {step.name: path for entry in lists for path, step in entry.placed()}
    for entry in lists:
        for path, step in entry.placed():
            found = (step.with_ or {}).get("steps") if step.type is StepType.PARALLEL else None
            for index, branch in enumerate(found if isinstance(found, list) else ()):
                name = branch.get("name") if isinstance(branch, dict) else None
                if isinstance(name, str) and name in paths:
                    findings.duplicate(
                        f"{path}.with.steps[{index}].name",
                        f"branch {quoted(name)} has the name of a step ({paths[name]}); both are read as steps.{name}",
                        name,
                    )


def _check_needs(findings: Findings, path: str, step: Step, known: Collection[str], lists: Sequence[StepList]) -> None:
    for index, need in enumerate(step.needs):
        at = f"{path}.needs[{index}]"
        if need == step.name:
            findings.invalid(at, f"step {quoted(step.name)} cannot depend on itself in needs", need)
        elif need not in known:
            later = next((entry.name for entry in lists if any(other.name == need for other in entry.steps)), None)
            why = f"; it belongs to {later}, which run later" if later else did_you_mean(need, known)
            findings.invalid(at, f"lists unknown dependency {quoted(need)}: no step named {quoted(need)}{why}", need)


def _check_cycle(findings: Findings, entry: StepList, read: Mapping[str, Iterable[str]]) -> None:
    names = {step.name for step in entry.steps}
    edges: dict[str, Sequence[str]] = {}
    for step in entry.steps:
        needs = [need for need in step.needs if need in names and need != step.name]
        hidden = [other for other in read.get(step.name, ()) if other in names and other not in step.needs]
        edges[step.name] = needs + sorted(hidden)
    reported: set[str] = set()
    for cycle in find_cycles(edges):
        if reported & set(cycle):
            continue
        reported |= set(cycle)
        index = next(index for index, step in enumerate(entry.steps) if step.name == cycle[0])
        note = "" if all(_needs(entry, a, b) for a, b in _around(cycle)) else " (templates that read a step count)"
        findings.invalid(
            f"{entry.path}[{index}].needs" if entry.steps[index].needs else f"{entry.path}[{index}]",
            f"{entry.name} contains a dependency cycle involving step(s): {', '.join(sorted(cycle))}; "
            f"{' needs '.join([*cycle, cycle[0]])}{note}",
            cycle[0],
        )


def _is_in_order(steps: Sequence[Step], read: Mapping[str, Iterable[str]], before: Iterable[str]) -> bool:
    """Whether every step stands below those that it depends on, as authors mostly write them.

    Then every need is known, and there is no cycle. `before` are the names of the lists that run before.
    """
    above = set(before)
    for step in steps:
        name = step.name
        if not above.issuperset(step.needs) or (name in read and not above.issuperset(read[name])):
            return False
        above.add(name)
    return True


def _around(cycle: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield from zip(cycle, [*cycle[1:], cycle[0]], strict=True)


def _needs(entry: StepList, name: str, other: str) -> bool:
    return any(step.name == name and other in step.needs for step in entry.steps)


_NEW: Final = 0
_OPEN: Final = 1
_DONE: Final = 2


def find_cycles(edges: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """The cycles that a depth-first walk meets, each in the order of its edges; at least one if there is any."""
    state = dict.fromkeys(edges, _NEW)
    for root in edges:
        if state[root] != _NEW:
            continue
        trail = [root]
        pending = [iter(edges[root])]
        state[root] = _OPEN
        while pending:
            for other in pending[-1]:
                if state.get(other) == _OPEN:
                    yield trail[trail.index(other) :]
                elif state.get(other) == _NEW:
                    state[other] = _OPEN
                    trail.append(other)
                    pending.append(iter(edges[other]))
                    break
            else:
                pending.pop()
                state[trail.pop()] = _DONE


class Upstream:
    """Which steps of a list run before which, as their needs say. Asked for few steps, so computed when asked."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._needs: dict[str, Sequence[str]] = {step.name: step.needs for step in steps}
        self._before: dict[str, set[str]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._needs

    def runs_before(self, earlier: str, later: str) -> bool:
        """Whether `later` needs `earlier`, directly or not."""
        if earlier in self._needs[later]:
            return True
        if later not in self._before:
            reached: set[str] = set()
            pending = list(self._needs[later])
            while pending:
                name = pending.pop()
                if name not in reached and name in self._needs:
                    reached.add(name)
                    pending += self._needs[name]
            self._before[later] = reached
        return earlier in self._before[later]


def _check_requires(findings: Findings, entry: StepList) -> None:
    if not any(step.requires for step in entry.steps):
        return
    upstream = Upstream(entry.steps)
    in_branches = branch_names(entry.steps)
    names = [step.name for step in entry.steps] + list(in_branches)
    for path, step in entry.placed():
        for index, required in enumerate(step.requires):
            at = f"{path}.requires[{index}]"
            parts = required.split(".")
            if parts[0] != "steps" or len(parts) < 3 or not all(parts):
                findings.invalid(
                    at, f"{quoted(required)} is no path to an output; write steps.NAME.output.KEY", required
                )
                continue
            source = in_branches.get(parts[1], parts[1])
            if parts[1] not in names:
                findings.invalid(at, f"no step named {quoted(parts[1])}{did_you_mean(parts[1], names)}", required)
            elif not upstream.runs_before(source, step.name):
                findings.invalid(
                    at,
                    f"step {quoted(source)} is not upstream of {quoted(step.name)}; add it to needs",
                    required,
                )
