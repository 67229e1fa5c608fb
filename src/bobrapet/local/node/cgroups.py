"""Memory and CPU of containers, held by the kernel's control groups where this process may make some.

Each start of a container that has a limit gets a group of its own. Both versions of control groups are known, and the
mixed form in which each controller is in one of them:

    v1  below the group of this process, one folder for each controller
    v2  beside the group of this process: a group with processes cannot hand controllers on to its children

Nothing that others made is changed, so where the parent does not hand a controller on, there is no limit. A group holds
processes only as long as its container runs; the folders are removed with the node, or by the launcher when the node is
killed, or by the next node.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from . import quantity

log = logging.getLogger(__name__)

PERIOD = 100_000  # microseconds over which CPU time is granted, as a kubelet has it
MIN_QUOTA = 1_000  # what the kernel takes at least
PREFIX = "bobrapet-"
CONTROLLERS = ("memory", "cpu")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use. None: no limit."""

    memory: int | None = None
    """Bytes."""

    cpu: Fraction | None = None
    """Cores."""

    weight: Fraction | None = None
    """Cores that it asks for: its share when there are not enough."""

    @property
    def controllers(self) -> tuple[str, ...]:
        cpu = self.cpu is not None or self.weight is not None
        return tuple(name for name, used in zip(CONTROLLERS, (self.memory is not None, cpu), strict=True) if used)


def limits_of(container: Mapping[str, Any], *, cpu: bool) -> Limits:
    """The limits of a container; `cpu`: those of CPU as well. What is no quantity limits nothing."""
    resources = container.get("resources") or {}
    memory = _amount(resources, "limits", "memory")
    if not cpu:
        return Limits(None if memory is None else int(memory))
    limit = _amount(resources, "limits", "cpu")
    asked = _amount(resources, "requests", "cpu")
    return Limits(None if memory is None else int(memory), limit, limit if asked is None else asked)


def _amount(resources: Mapping[str, Any], kind: str, name: str) -> Fraction | None:
    with contextlib.suppress(ValueError):
        return quantity.parse(str((resources.get(kind) or {}).get(name) or "")) or None
    return None


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in which groups of a controller can be made."""

    version: int
    folder: Path


class Group:
    """The groups of one start of a container, one for each hierarchy."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders

    @property
    def joins(self) -> tuple[str, ...]:
        """The files that a process writes 0 to, to become a member."""
        return tuple(str(folder / "cgroup.procs") for folder in dict.fromkeys(self._folders.values()))

    def oom_kills(self) -> int:
        """How often the kernel killed a member because the group reached its limit of memory."""
        folder = self._folders.get("memory")
        if folder is not None:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    for line in (folder / name).read_text().splitlines():
                        key, _, count = line.partition(" ")
                        if key == "oom_kill":
                            return int(count)
        return 0

    def remove(self) -> None:
        """To be called when no member is left; what cannot be removed yet goes with the node."""
        for folder in dict.fromkeys(self._folders.values()):
            with contextlib.suppress(OSError):
                folder.rmdir()


class ControlGroups:
    """Makes groups for the containers of one node."""

    def __init__(self, places: Mapping[str, Place], why_not: str = "") -> None:
        """`places`: where a controller can be used. `why_not`: what to tell about the others."""
        self.why_not = why_not
        self._bases: dict[str, Place] = {}
        self._made = 0
        for controller, place in places.items():
            _remove_abandoned(place.folder)
            base = place.folder / f"{PREFIX}{os.getpid()}-{id(self):x}"
            try:
                base.mkdir(exist_ok=True)
                if place.version == 2:
                    (base / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError as error:
                self.why_not = str(error)
                if not any(other.folder == base for other in self._bases.values()):
                    _remove(base)
            else:
                self._bases[controller] = Place(place.version, base)

    @property
    def folders(self) -> tuple[str, ...]:
        """What has to be removed in the end, with what is in it."""
        return tuple(str(folder) for folder in dict.fromkeys(base.folder for base in self._bases.values()))

    def missing(self, limits: Limits) -> tuple[str, ...]:
        """The controllers that these limits need and that cannot be used here."""
        return tuple(controller for controller in limits.controllers if controller not in self._bases)

    def make(self, limits: Limits) -> Group | None:
        """A group with those of the limits that can be set; None when there is none. Raises OSError."""
        bases = {name: base for name in limits.controllers if (base := self._bases.get(name)) is not None}
        if not bases:
            return None
        self._made += 1
        group = Group({name: base.folder / str(self._made) for name, base in bases.items()})
        try:
            for name, base in bases.items():
                folder = base.folder / str(self._made)
                folder.mkdir(exist_ok=True)
                for file, value in _settings(name, base.version, limits):
                    _set(folder / file, value)
        except OSError:
            group.remove()
            raise
        return group

    def close(self) -> None:
        """Removes everything; no container runs any more."""
        for folder in self.folders:
            _remove(Path(folder))


def find(mounts: Path = Path("/proc/self/mountinfo"), own: Path = Path("/proc/self/cgroup")) -> dict[str, Place]:
    """Where this process may make groups, by controller; the arguments are files of the kernel's forms."""
    try:
        hierarchies = list(_hierarchies(mounts.read_text(), own.read_text()))
    except OSError:
        return {}
    places: dict[str, Place] = {}
    for version, controllers, top, folder in hierarchies:
        for controller in CONTROLLERS:
            if version == 1 and controller in controllers and _is_writable(folder):
                places[controller] = Place(1, folder)
            if version == 2 and controller not in places and (parent := _handing_on(controller, top, folder)):
                places[controller] = Place(2, parent)
    return places


def _hierarchies(mounts: str, own: str) -> Iterator[tuple[int, Sequence[str], Path, Path]]:
    """Version, controllers, mount point and the folder of this process, of each hierarchy; those of version 1 first."""
    groups = {}
    for line in own.splitlines():
        _, controllers, group = line.split(":", 2)
        groups[controllers] = group
    found = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, point = (_unescape(word) for word in before.split()[3:5])
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            names, path = list[str](), groups.get("")
        elif kind == "cgroup":
            names = [name for name in options.split(",") if name in CONTROLLERS]
            path = next((group for listed, group in groups.items() if set(names) & set(listed.split(","))), None)
        else:
            continue
        if path is not None and ".." not in path.split("/") and f"{path}/".startswith(f"{root.rstrip('/')}/"):
            folder = Path(point) / path[len(root.rstrip("/")) :].lstrip("/")
            found.append((2 if kind == "cgroup2" else 1, names, Path(point), folder))
    return iter(sorted(found, key=lambda entry: entry[0]))


def _handing_on(controller: str, top: Path, folder: Path) -> Path | None:
    """The parent whose children have the controller, where this process may move processes between these."""
    parent = folder if folder == top else folder.parent
    try:
        handed_on = (parent / "cgroup.subtree_control").read_text().split()
    except OSError:
        return None
    if controller in handed_on and _is_writable(parent) and os.access(parent / "cgroup.procs", os.W_OK):
        return parent
    return None


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _settings(controller: str, version: int, limits: Limits) -> Iterator[tuple[str, str]]:
    """Files and values, in the order in which they have to be written; a `?` marks what not every kernel has."""
    if controller == "memory":
        assert limits.memory is not None
        if version == 1:
            yield "memory.limit_in_bytes", str(limits.memory)
            yield "memory.memsw.limit_in_bytes?", str(limits.memory)  # memory and swap together
        else:
            yield "memory.max", str(limits.memory)
            yield "memory.swap.max?", "0"
            yield "memory.oom.group?", "1"
        return
    if limits.weight is not None:
        shares = min(max(int(limits.weight * 1024), 2), 262_144)
        # The scale of version 2, as Kubernetes converts it.
        yield ("cpu.shares", str(shares)) if version == 1 else ("cpu.weight", str(1 + (shares - 2) * 9999 // 262_142))
    if limits.cpu is not None:
        quota = max(int(limits.cpu * PERIOD), MIN_QUOTA)
        if version == 1:
            yield "cpu.cfs_period_us", str(PERIOD)
            yield "cpu.cfs_quota_us", str(quota)
        else:
            yield "cpu.max", f"{quota} {PERIOD}"


def _set(file: Path, value: str) -> None:
    optional = file.name.endswith("?")
    path = file.with_name(file.name.rstrip("?"))
    if optional and not path.exists():
        return
    path.write_text(value)


def _remove_abandoned(parent: Path) -> None:
    """Groups of nodes whose process is gone, with everybody who could have removed them."""
    for folder in parent.glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            _remove(folder)


def _remove(folder: Path) -> None:
    for member in (*folder.glob("*/"), folder):
        with contextlib.suppress(OSError):
            member.rmdir()


def _unescape(word: str) -> str:
    r"""A path of mountinfo, in which a blank is written `\040`."""
    return word.encode().decode("unicode_escape") if "\\" in word else word
