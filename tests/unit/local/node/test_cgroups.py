"""Control groups on trees as the kernel lays them out, and with the kernel itself where it lets us."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from bobrapet.local.node import cgroups
from bobrapet.local.node.cgroups import ControlGroups, Limits, Place, find, limits_of

from .pods import container

V2 = "30 23 0:26 / {top} rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "31 23 0:27 / {top}/{names} rw,relatime shared:10 - cgroup cgroup rw,{names}\n"


class Tree:
    """The files of /proc and of /sys/fs/cgroup."""

    def __init__(self, folder: Path, mounts: str, own: str) -> None:
        self.top = folder / "cgroup"
        self.top.mkdir()
        self._mounts, self._own = folder / "mountinfo", folder / "own"
        self._mounts.write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mounts.replace("{top}", str(self.top)))
        self._own.write_text(own)

    def group(self, path: str, hands_on: str = "") -> Path:
        folder = self.top / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.subtree_control").write_text(hands_on)
        (folder / "cgroup.procs").touch()
        return folder

    def find(self) -> dict[str, Place]:
        return find(self._mounts, self._own)


def test_in_version_2_groups_are_made_beside_the_one_of_the_node(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V2, "0::/user.slice/app.slice/shell.scope\n")
    parent = tree.group("user.slice/app.slice", "memory pids")
    tree.group("user.slice/app.slice/shell.scope")
    assert tree.find() == {"memory": Place(2, parent)}, "cpu is not handed on, so it cannot be limited"


@pytest.mark.parametrize("own", ["0::/\n", "0::/../elsewhere\n", "0::/user.slice/app.slice/shell.scope\n"])
def test_where_no_parent_hands_a_controller_on_nothing_is_made(tmp_path: Path, own: str) -> None:
    tree = Tree(tmp_path, V2, own)
    tree.group("")
    tree.group("user.slice/app.slice/shell.scope")
    tree.group("user.slice/app.slice")
    assert tree.find() == {}


def test_the_root_of_version_2_hands_on_although_it_has_processes(tmp_path: Path) -> None:
    tree = Tree(tmp_path, V2, "0::/\n")
    top = tree.group("", "cpu memory")
    assert tree.find() == {"memory": Place(2, top), "cpu": Place(2, top)}


def test_in_version_1_groups_are_made_below_the_one_of_the_node_whatever_version_2_has(tmp_path: Path) -> None:
    mounts = (V1.format(top="{top}", names="memory") + V1.format(top="{top}", names="cpu,cpuacct")).replace(
        "{top}/cpu,cpuacct", "{top}/cpu\\040both"
    ) + V2.replace("{top}", "{top}/unified")
    tree = Tree(tmp_path, mounts, "4:memory:/box\n1:cpu,cpuacct:/\n0::/\n")
    memory, cpu = tree.group("memory/box"), tree.group("cpu both")
    tree.group("unified")
    assert tree.find() == {"memory": Place(1, memory), "cpu": Place(1, cpu)}


def test_a_mount_of_a_part_of_the_hierarchy_is_understood(tmp_path: Path) -> None:
    mounts = V1.format(top="{top}", names="memory").replace(" / {top}", " /box {top}")
    tree = Tree(tmp_path, mounts, "4:memory:/box\n")
    memory = tree.group("memory")
    assert tree.find() == {"memory": Place(1, memory)}


def test_a_machine_without_control_groups_has_none(tmp_path: Path) -> None:
    assert Tree(tmp_path, "", "").find() == {}
    assert find(tmp_path / "absent", tmp_path / "absent") == {}


def test_the_limits_of_a_container_in_the_files_of_version_2(tmp_path: Path) -> None:
    groups = ControlGroups({name: Place(2, tmp_path) for name in ("memory", "cpu")})
    (base,) = map(Path, groups.folders)
    assert (base / "cgroup.subtree_control").read_text() == "+cpu"
    (base / "1").mkdir()
    (base / "1/memory.swap.max").touch()  # not every kernel counts swap
    group = groups.make(Limits(64 << 20, Fraction(1, 2), Fraction(1, 4)))
    assert group is not None
    assert group.joins == (str(base / "1/cgroup.procs"),)
    files = {file.name: file.read_text() for file in (base / "1").iterdir()}
    assert files == {
        "memory.max": "67108864",
        "memory.swap.max": "0",
        "cpu.weight": "10",
        "cpu.max": "50000 100000",
    }


def test_the_limits_of_a_container_in_the_files_of_version_1(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "c").mkdir()
    groups = ControlGroups({"memory": Place(1, tmp_path / "m"), "cpu": Place(1, tmp_path / "c")})
    group = groups.make(Limits(1000, Fraction(1, 1000), None))
    assert group is not None
    memory, cpu = (Path(file).parent for file in group.joins)
    assert {file.name: file.read_text() for file in memory.iterdir()} == {"memory.limit_in_bytes": "1000"}
    assert {file.name: file.read_text() for file in cpu.iterdir()} == {
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "1000",
    }


def test_a_container_without_limits_needs_no_group(tmp_path: Path) -> None:
    groups = ControlGroups({"memory": Place(2, tmp_path)})
    assert groups.make(Limits()) is None
    assert groups.missing(Limits()) == ()
    assert groups.missing(Limits(1, Fraction(1))) == ("cpu",)


def test_a_place_that_turns_out_to_be_closed_is_told_and_not_used(tmp_path: Path) -> None:
    groups = ControlGroups({"memory": Place(2, tmp_path / "absent")})
    assert groups.missing(Limits(1)) == ("memory",)
    assert "No such file" in groups.why_not
    assert groups.make(Limits(1)) is None


@pytest.mark.parametrize(
    ("file", "text"),
    [("memory.events", "max 7\noom 3\noom_kill 2\n"), ("memory.oom_control", "oom_kill_disable 0\noom_kill 2\n")],
)
def test_both_versions_say_how_often_the_limit_of_memory_killed(tmp_path: Path, file: str, text: str) -> None:
    groups = ControlGroups({"memory": Place(2, tmp_path)})
    group = groups.make(Limits(1))
    assert group is not None
    assert group.oom_kills() == 0
    (Path(group.joins[0]).parent / file).write_text(text)
    assert group.oom_kills() == 2


def test_groups_of_a_node_that_was_killed_are_removed_by_the_next(tmp_path: Path) -> None:
    gone, alive = tmp_path / "bobrapet-4194305-1", tmp_path / f"bobrapet-{os.getpid()}-1"
    for base in (gone, alive):
        (base / "1").mkdir(parents=True)
    groups = ControlGroups({"memory": Place(1, tmp_path)})
    assert not gone.exists()
    assert alive.exists()
    groups.close()
    assert [*tmp_path.iterdir()] == [alive]


@pytest.mark.parametrize(
    ("resources", "cpu", "limits"),
    [
        ({}, True, Limits()),
        ({"limits": {"memory": "1Ki", "cpu": "500m"}}, False, Limits(1024)),
        ({"limits": {"memory": "1Ki", "cpu": "500m"}}, True, Limits(1024, Fraction(1, 2), Fraction(1, 2))),
        ({"requests": {"cpu": "2"}, "limits": {"memory": "0"}}, True, Limits(None, None, Fraction(2))),
        ({"limits": {"memory": "lots"}}, True, Limits()),
    ],
)
def test_limits_are_read_from_the_container(resources: dict[str, dict[str, str]], cpu: bool, limits: Limits) -> None:
    assert limits_of(container(resources=resources), cpu=cpu) == limits


def test_the_kernel_takes_what_is_written() -> None:
    places = cgroups.find()
    if not places:
        pytest.skip("this machine lets this process make no control groups")
    groups = ControlGroups(places)
    try:
        limits = Limits(64 << 20 if "memory" in places else None, Fraction(1, 2) if "cpu" in places else None)
        group = groups.make(limits)
        assert group is not None
        assert all(Path(file).exists() for file in group.joins)
        assert group.oom_kills() == 0
        group.remove()
    finally:
        groups.close()
    assert not any(Path(folder).exists() for folder in groups.folders)
