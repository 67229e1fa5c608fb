"""Which stored objects nobody can need any more. Pure: the caller lists the store and the cluster.

An object belongs to the StepRun or StoryRun that its path names; as long as the run is there, all of it is kept, and
so is what any object of the cluster refers to. Paths that we do not write are not ours to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from bobrapet.api.names import compose
from bobrapet.storage.layout import CACHE, INPUTS, LOGS, OUTPUTS
from bobrapet.storage.store import ObjectInfo

_CUT: Final = 50  # characters that a composed name keeps of its text when it is too long (runs 1.3)


class Verdict(Enum):
    KEPT = "kept"
    """Its run is there, or something refers to it."""
    YOUNG = "young"
    """Nobody refers to it, but it is too young to judge: its run may be about to be created."""
    GARBAGE = "garbage"
    UNKNOWN = "unknown"
    """Not a path of ours, or of a namespace that this cluster knows nothing of."""


@dataclass(frozen=True, kw_only=True)
class Living:
    """What the cluster holds."""

    runs: Mapping[str, frozenset[str]]
    """Namespace -> names of its StoryRuns and StepRuns. A namespace that is missing here is not known."""
    engrams: Mapping[str, frozenset[str]] = field(default_factory=dict)
    referred: frozenset[str] = frozenset()
    """Paths that objects of the cluster refer to."""

    def has_run(self, namespace: str, name: str) -> bool:
        """Whether the StoryRun or StepRun of this name, or the StoryRun of a StepRun of this name, is there."""
        found = self.runs.get(namespace, frozenset())
        return name in found or any(_is_of(name, run) for run in found)


def judge(
    info: ObjectInfo, living: Living, now: float, *, older_than: float, cache_older_than: float | None = None
) -> Verdict:
    """Says what becomes of an object.

    Args:
        older_than: seconds; younger objects are never garbage.
        cache_older_than: seconds after which entries of the output cache are garbage; None: never, while their Engram
            is there.
    """
    if info.path in living.referred:
        return Verdict.KEPT
    parts = info.path.split("/")
    age = now - info.modified
    if len(parts) >= 5 and parts[0] == CACHE:
        namespace, engram = parts[1], parts[2]
        if namespace not in living.runs:
            return Verdict.UNKNOWN
        has_engram = engram in living.engrams.get(namespace, frozenset())
        if has_engram and (cache_older_than is None or age <= cache_older_than):
            return Verdict.KEPT
    elif len(parts) >= 4 and parts[0] in (OUTPUTS, INPUTS):
        namespace, name = parts[1], parts[2]
        if namespace not in living.runs:
            return Verdict.UNKNOWN
        if living.has_run(namespace, name):
            return Verdict.KEPT
    elif len(parts) == 3 and parts[0] == INPUTS:  # as the Go operator writes them, without a namespace
        if any(living.has_run(namespace, parts[1]) for namespace in living.runs):
            return Verdict.KEPT
    elif len(parts) == 6 and parts[1] == LOGS and parts[5].endswith(".log"):
        if parts[0] not in living.runs:
            return Verdict.UNKNOWN
        if living.has_run(parts[0], parts[2]):
            return Verdict.KEPT
    else:
        return Verdict.UNKNOWN
    return Verdict.GARBAGE if age > older_than else Verdict.YOUNG


def owner_namespace(path: str) -> str:
    """The namespace that a path of ours belongs to; empty: it names none."""
    parts = path.split("/")
    if parts[0] in (OUTPUTS, CACHE, INPUTS):
        return parts[1] if len(parts) > 3 else ""
    return parts[0] if parts[1:2] == [LOGS] else ""


def namespaces(living: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """Pairs of namespace and name, by namespace."""
    found: dict[str, set[str]] = {}
    for namespace, name in living:
        names = found.setdefault(namespace, set())
        if name:
            names.add(name)
    return {namespace: frozenset(names) for namespace, names in found.items()}


def _is_of(steprun: str, run: str) -> bool:
    """Whether `steprun` may be the name of a StepRun of `run`. Long names are cut, so this may say yes too often."""
    prefix = f"{compose(run)}-"
    if steprun.startswith(prefix):
        return True
    return len(steprun) > _CUT and (prefix.startswith(steprun[:_CUT]) or steprun[: _CUT - 1] == prefix[: _CUT - 1])
