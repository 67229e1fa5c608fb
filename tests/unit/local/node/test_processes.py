"""Containers are real processes here: the promises of `shim.py` are about what the kernel does."""

from __future__ import annotations

import asyncio
import glob
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from bobrapet.local.node import cgroups
from bobrapet.local.node.errors import StartFailed
from bobrapet.local.node.processes import Command, Launcher, Mount, Process, User

SOURCES = Path(__file__).parents[4] / "src"

# Leaves a grandchild that daemonised: own session, parent gone, standard streams closed. Writes its pid, then waits.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(sys.argv[1] + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.close(0), os.close(1), os.close(2)
        os.rename(sys.argv[1] + ".new", sys.argv[1])
        time.sleep(600)
    os._exit(0)
os.wait()
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
print("ready", flush=True)
"""


class Output:
    """A pipe whose lines can be awaited."""

    def __init__(self) -> None:
        reader, self.writer = os.pipe()
        self._stream = asyncio.StreamReader()
        self._file = os.fdopen(reader, "rb")

    async def open(self) -> Output:
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._stream), self._file)
        return self

    async def line(self) -> str:
        return (await asyncio.wait_for(self._stream.readline(), 90)).decode().strip()

    async def end(self) -> bytes:
        os.close(self.writer)
        return await asyncio.wait_for(self._stream.read(), 90)


@pytest.fixture
async def launcher() -> AsyncIterator[Launcher]:
    launcher = Launcher()
    yield launcher
    await launcher.aclose()


@pytest.fixture
async def output() -> Output:
    return await Output().open()


async def start(launcher: Launcher, output: Output, *argv: str, **env: str) -> Process:
    command = Command(argv, {"PATH": os.environ["PATH"], **env}, "/")
    return await launcher.run(command, output.writer, output.writer)


async def script(launcher: Launcher, output: Output, code: str, *args: str) -> Process:
    return await start(launcher, output, sys.executable, "-c", code, *args)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def gone(pid: int) -> None:
    """Returns when the process is dead; a pidfd of a process that is no child of ours tells it too."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 90)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def test_a_process_gets_its_environment_only_and_its_exit_code_comes_back(
    launcher: Launcher, output: Output
) -> None:
    process = await start(launcher, output, "sh", "-c", "env; exit 7", A="\udcff é", B="1\n2")
    end = await process.wait()
    assert (end.code, end.signal) == (7, 0)
    assert process.started_at <= end.at
    variables = await output.end()
    assert b"A=\xff \xc3\xa9\n" in variables
    assert b"HOME=" not in variables


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGSEGV, 139), (signal.SIGKILL, 137)])
async def test_a_signal_is_reported_as_128_plus_its_number(
    launcher: Launcher, output: Output, number: int, code: int
) -> None:
    process = await script(launcher, output, f"import os; os.kill(os.getpid(), {int(number)})")
    end = await process.wait()
    assert (end.code, end.signal) == (code, number)


async def test_the_main_process_is_asked_to_stop_and_may_finish_its_work(launcher: Launcher, output: Output) -> None:
    code = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"stopping\\n"), os._exit(0)))
os.write(1, b"ready\\n")
while True:
    signal.pause()
"""
    process = await script(launcher, output, code)
    assert await output.line() == "ready"
    process.send_signal(signal.SIGTERM)
    assert (await process.wait()).code == 0
    assert await output.line() == "stopping"


async def test_the_python_defaults_for_signals_do_not_leak_into_the_process(launcher: Launcher, output: Output) -> None:
    process = await start(launcher, output, "sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status")
    await process.wait()
    masks = (await output.end()).decode().split()
    standard = (1 << 31) - 1  # signals 1 to 31; 32 and 33 belong to the C library, which lets nobody change them
    assert int(masks[1], 16) & standard == 0
    assert int(masks[3], 16) & standard == 0


async def test_no_descriptor_but_the_three_standard_ones_is_inherited(launcher: Launcher, output: Output) -> None:
    process = await script(launcher, output, "import os; print(sorted(os.listdir('/proc/self/fd'))[:-1])")
    await process.wait()
    assert await output.line() == "['0', '1', '2']"


async def test_killing_takes_the_whole_tree_also_what_daemonised(
    launcher: Launcher, output: Output, tmp_path: Path
) -> None:
    process = await script(launcher, output, DAEMON + "time.sleep(600)", str(tmp_path / "pid"))
    assert await output.line() == "ready"
    daemon = int((tmp_path / "pid").read_text())
    process.kill()
    assert (await process.wait()).code == 137
    await gone(daemon)


async def test_the_end_of_the_main_process_ends_what_it_left_behind_before_it_is_reported(
    launcher: Launcher, output: Output, tmp_path: Path
) -> None:
    process = await script(launcher, output, DAEMON, str(tmp_path / "pid"))
    end = await process.wait()
    assert end.code == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_killed_shim_takes_its_container_along(launcher: Launcher, output: Output, tmp_path: Path) -> None:
    process = await script(launcher, output, DAEMON + "time.sleep(600)", str(tmp_path / "pid"))
    assert await output.line() == "ready"
    daemon = int((tmp_path / "pid").read_text())
    os.kill(parent(process.pid), signal.SIGKILL)
    end = await process.wait()
    assert end.code == 137
    await gone(process.pid)
    await gone(daemon)


async def test_new_containers_start_after_the_launcher_was_killed(launcher: Launcher, output: Output) -> None:
    await launcher.start()
    assert launcher._launcher is not None
    os.kill(launcher._launcher.pid, signal.SIGKILL)
    await gone(launcher._launcher.pid)
    process = await start(launcher, output, "true")
    assert (await process.wait()).code == 0


NODE = """
import asyncio, os, sys
from bobrapet.local.node.processes import Command, Launcher
async def main():
    launcher = Launcher()
    await launcher.run(Command([sys.executable, "-c", sys.argv[1], sys.argv[2]], dict(os.environ), "/"), 1, 2)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_node_that_is_killed_leaves_no_process_behind(output: Output, tmp_path: Path) -> None:
    node = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", NODE, DAEMON + "print(os.getpid(), flush=True); time.sleep(600)", str(tmp_path / "pid")],
        stdout=output.writer,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )
    try:
        assert await output.line() == "ready"
        main = int(await output.line())
        daemon = int((tmp_path / "pid").read_text())
    finally:
        node.kill()
        node.wait()
    await gone(main)
    await gone(daemon)


async def test_closing_the_launcher_kills_what_still_runs(output: Output) -> None:
    launcher = Launcher()
    process = await start(launcher, output, "sleep", "600")
    await launcher.aclose()
    assert (await process.wait()).code == 137


@pytest.mark.parametrize(
    ("kills_before", "kills_after", "by_us", "starved"),
    [(3, 4, False, True), (3, 3, False, False), (3, 4, True, False)],
)
async def test_a_kill_by_the_kernel_for_lack_of_memory_is_told_from_others(
    output: Output, kills_before: int, kills_after: int, by_us: bool, starved: bool
) -> None:
    counts = iter((kills_before, kills_after))
    launcher = Launcher(oom_kills=lambda: next(counts))
    process = await start(launcher, output, "sh", "-c", "sleep 600" if by_us else "kill -9 $$")
    if by_us:
        process.kill()
    assert (await process.wait()).out_of_memory is starved
    await launcher.aclose()


@pytest.mark.parametrize(
    ("argv", "cwd", "message"),
    [
        (["no-such-program"], "/", "No such file or directory"),
        (["/proc/self/status"], "/", "Permission denied"),
        (["true"], "/no/such/folder", "'/no/such/folder': No such file or directory"),
    ],
)
async def test_a_command_that_cannot_be_executed_says_which_path_and_why(
    launcher: Launcher, argv: list[str], cwd: str, message: str
) -> None:
    with pytest.raises(StartFailed, match=message):
        await launcher.run(Command(argv, {"PATH": os.environ["PATH"]}, cwd), 1, 2)


async def test_an_environment_that_the_kernel_refuses_is_a_start_failure(launcher: Launcher, output: Output) -> None:
    with pytest.raises(StartFailed, match="Argument list too long"):
        await start(launcher, output, "true", BIG="x" * (200 << 10))


async def test_many_containers_start_and_end_at_the_same_time(launcher: Launcher, output: Output) -> None:
    processes = await asyncio.gather(*(start(launcher, output, "sh", "-c", f"exit {code}") for code in range(40)))
    ends = await asyncio.gather(*(process.wait() for process in processes))
    assert [end.code for end in ends] == list(range(40))


def can_mount() -> bool:
    probe = "import sys; sys.path.insert(0, sys.argv[1]); import mounting; mounting.enter([], '/')"
    folder = str(SOURCES / "bobrapet/local/node")
    return subprocess.run([sys.executable, "-c", probe, folder], capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="this machine permits no mount namespace")


async def mounted(launcher: Launcher, output: Output, folder: Path, code: str, *mounts: Mount) -> Process:
    scratch = folder / "scratch"
    scratch.mkdir()
    argv = ("sh", "-c", code)
    command = Command(argv, {"PATH": os.environ["PATH"]}, "/", mounts, str(scratch))
    return await launcher.run(command, output.writer, output.writer)


@needs_mounts
async def test_a_mount_is_where_it_was_asked_for_and_nowhere_else(
    launcher: Launcher, output: Output, tmp_path: Path
) -> None:
    source, file = tmp_path / "source", tmp_path / "file"
    source.mkdir()
    (source / "key").write_text("value")
    file.write_text("content")
    missing = tmp_path / "a/b/c"
    code = (
        f"cat {missing}/key /etc/bobrapet-test/x /bobrapet-test/deep/key; echo; test -e /etc/passwd && "
        f"test -e {file} && ls -d /proc/self /dev/null"
    )
    process = await mounted(
        launcher,
        output,
        tmp_path,
        code,
        Mount(str(source), str(missing)),
        Mount(str(file), "/etc/bobrapet-test/x"),
        Mount(str(source), "/bobrapet-test/deep"),
    )
    assert process.without == {}
    assert await output.line() == "valuecontentvalue"
    assert (await process.wait()).code == 0
    assert not (tmp_path / "a").exists()
    assert not {"/etc/bobrapet-test", "/bobrapet-test"} & {*glob.glob("/etc/*"), *glob.glob("/*")}


@needs_mounts
async def test_what_is_written_into_a_mount_is_in_its_source(
    launcher: Launcher, output: Output, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    process = await mounted(
        launcher, output, tmp_path, "echo hi > /bobrapet-test/f", Mount(str(source), "/bobrapet-test")
    )
    assert (await process.wait()).code == 0
    assert (source / "f").read_text() == "hi\n"


@needs_mounts
async def test_a_read_only_mount_refuses_writes(launcher: Launcher, output: Output, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    mount = Mount(str(source), "/bobrapet-test", read_only=True)
    process = await mounted(launcher, output, tmp_path, "touch /bobrapet-test/f", mount)
    assert (await process.wait()).code != 0
    assert not list(source.iterdir())


async def test_a_command_whose_mounts_fail_runs_without_and_says_why(
    launcher: Launcher, output: Output, tmp_path: Path
) -> None:
    mount = Mount(str(tmp_path / "absent"), str(tmp_path / "target"))
    process = await mounted(launcher, output, tmp_path, "echo ran", mount)
    assert "mounts" in process.without
    assert await output.line() == "ran"
    assert (await process.wait()).code == 0


async def test_no_new_privileges_is_kept(launcher: Launcher, output: Output) -> None:
    argv = ("grep", "NoNewPrivs", "/proc/self/status")
    command = Command(argv, {"PATH": os.environ["PATH"]}, "/", no_new_privileges=True)
    process = await launcher.run(command, output.writer, output.writer)
    assert await output.line() == "NoNewPrivs:\t1"
    await process.wait()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")
USER = 4242


@needs_root
async def test_a_user_with_its_groups_and_without_capabilities(launcher: Launcher, output: Output) -> None:
    argv = ("sh", "-c", "id -u; id -g; id -G; grep -E '^Cap(Eff|Prm|Bnd)' /proc/self/status; echo out > /dev/stdout")
    command = Command(
        argv, {"PATH": os.environ["PATH"]}, "/", user=User(USER, 43, [44, 45]), drop_capabilities=range(41)
    )
    process = await launcher.run(command, output.writer, output.writer)
    assert process.without == {}
    assert [await output.line() for _ in range(3)] == [str(USER), "43", "43 44 45"]
    assert {(await output.line()).split()[1] for _ in range(3)} == {"0" * 16}
    assert await output.line() == "out", "its streams are its own"
    assert (await process.wait()).code == 0


@needs_root
async def test_a_capability_that_root_does_not_keep_is_gone_for_what_it_executes(
    launcher: Launcher, output: Output
) -> None:
    argv = ("sh", "-c", "chown 1 / 2>/dev/null || echo refused")
    command = Command(argv, {"PATH": os.environ["PATH"]}, "/", drop_capabilities=[0])
    process = await launcher.run(command, output.writer, output.writer)
    assert await output.line() == "refused"
    await process.wait()


@needs_root
async def test_who_stays_root_for_lack_of_readable_files_keeps_what_reads_those_of_the_other_user(
    launcher: Launcher, output: Output, tmp_path: Path
) -> None:
    closed, token = tmp_path / "closed", tmp_path / "token"
    closed.mkdir(mode=0o700)
    token.write_text("secret\n")
    os.chown(token, USER, USER)
    token.chmod(0o400)
    user = User(USER, USER, reads=[str(closed)])
    command = Command(("cat", str(token)), {"PATH": os.environ["PATH"]}, "/", user=user, drop_capabilities=range(41))
    process = await launcher.run(command, output.writer, output.writer)
    assert "user" in process.without
    assert await output.line() == "secret"
    await process.wait()


@needs_root
async def test_a_container_of_another_user_dies_with_its_shim_and_by_order(launcher: Launcher, output: Output) -> None:
    for end in ("shim", "order"):
        command = Command(("sleep", "600"), {"PATH": os.environ["PATH"]}, "/", user=User(USER, USER))
        process = await launcher.run(command, output.writer, output.writer)
        if end == "shim":
            os.kill(parent(process.pid), signal.SIGKILL)
        else:
            process.kill()
        await gone(process.pid)
        assert (await process.wait()).code == 137


@needs_root
@pytest.mark.parametrize("where", ["reads", "program"])
async def test_who_may_not_read_what_a_container_needs_does_not_run_it(
    launcher: Launcher, output: Output, tmp_path: Path, where: str
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.write_text("#!/bin/sh\nid -u\n")
    program.chmod(0o755)
    argv, reads = (("id", "-u"), [str(closed)]) if where == "reads" else ((str(program),), [])
    command = Command(argv, {"PATH": os.environ["PATH"]}, "/", user=User(USER, USER, reads=reads))
    process = await launcher.run(command, output.writer, output.writer)
    assert str(closed) in process.without["user"]
    assert await output.line() == "0"
    await process.wait()


@needs_root
@needs_mounts
async def test_a_user_reaches_its_own_folders_and_nothing_else_of_a_closed_one(
    launcher: Launcher, output: Output, tmp_path: Path
) -> None:
    closed, scratch = tmp_path / "closed", tmp_path / "scratch"
    for folder in (closed / "a/own", closed / "a/also", closed / "b", scratch):
        folder.mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "a/own/f").write_text("mine")
    code = f"cat {closed}/a/own/f; echo; cat /bobrapet-test/f; echo; echo {closed}/* {closed}/a/*"
    command = Command(
        ("sh", "-c", code),
        {"PATH": os.environ["PATH"]},
        "/",
        [Mount(str(closed / "a/own"), "/bobrapet-test")],
        str(scratch),
        user=User(USER, USER),
        own=[str(closed / "a/own"), str(closed / "a/also")],
    )
    process = await launcher.run(command, output.writer, output.writer)
    assert process.without == {}
    assert [await output.line(), await output.line()] == ["mine", "mine"]
    assert await output.line() == f"{closed}/a {closed}/a/also {closed}/a/own"
    assert (await process.wait()).code == 0
    assert (closed / "b").exists()


@needs_mounts
async def test_a_read_only_machine_is_writable_where_it_was_promised(
    launcher: Launcher, output: Output, tmp_path: Path
) -> None:
    volume, promised, scratch = tmp_path / "volume", tmp_path / "promised", tmp_path / "scratch"
    for folder in (volume, promised, scratch):
        folder.mkdir()
    code = f"""
        touch {tmp_path}/no /etc/bobrapet-test 2>/dev/null || echo refused
        echo x > {promised}/yes && echo x > /bobrapet-test/yes && echo x > /dev/null && echo written
        (echo x > {tmp_path}/no) 2>/dev/null || echo refused again
    """
    command = Command(
        ("sh", "-c", code),
        {"PATH": os.environ["PATH"]},
        "/",
        [Mount(str(volume), "/bobrapet-test")],
        str(scratch),
        read_only=True,
        writable=[str(promised), str(tmp_path / "absent")],
    )
    process = await launcher.run(command, output.writer, output.writer)
    assert process.without == {}
    assert [await output.line() for _ in range(3)] == ["refused", "written", "refused again"]
    assert (await process.wait()).code == 0
    assert (volume / "yes").exists()
    assert (promised / "yes").exists()
    assert not (tmp_path / "no").exists()


async def test_a_control_group_that_cannot_be_joined_is_told(
    launcher: Launcher, output: Output, tmp_path: Path
) -> None:
    command = Command(("echo", "ran"), {"PATH": os.environ["PATH"]}, "/", groups=[str(tmp_path / "no/cgroup.procs")])
    process = await launcher.run(command, output.writer, output.writer)
    assert "No such file" in process.without["limits"]
    assert await output.line() == "ran"
    await process.wait()


def existing(folders: Iterable[str]) -> list[str]:
    return [folder for folder in folders if os.path.exists(folder)]


EATER = "import sys; held = bytearray(300 << 20); print(len(held), flush=True)"


@pytest.mark.skipif("memory" not in cgroups.find(), reason="this machine lets this process limit no memory")
@pytest.mark.parametrize("whose", ["main", "child"])
async def test_who_exceeds_the_limit_of_memory_is_killed_and_that_is_told(
    launcher: Launcher, output: Output, whose: str
) -> None:
    groups = cgroups.ControlGroups(cgroups.find())
    try:
        group = groups.make(cgroups.Limits(memory=100 << 20))
        assert group is not None
        argv = (
            (sys.executable, "-c", EATER) if whose == "main" else ("sh", "-c", f"{sys.executable} -c '{EATER}'; exit 3")
        )
        command = Command(argv, {"PATH": os.environ["PATH"]}, "/", groups=group.joins)
        end = await (await launcher.run(command, output.writer, output.writer, group)).wait()
        assert end.out_of_memory
        if whose == "main":
            assert (end.code, end.signal) == (137, signal.SIGKILL)
        group.remove()
    finally:
        groups.close()
    assert not existing(groups.folders)


@pytest.mark.skipif("memory" not in cgroups.find(), reason="this machine lets this process limit no memory")
async def test_a_failure_below_the_limit_of_memory_is_none_of_it(launcher: Launcher, output: Output) -> None:
    groups = cgroups.ControlGroups(cgroups.find())
    try:
        group = groups.make(cgroups.Limits(memory=100 << 20))
        assert group is not None
        command = Command(("sh", "-c", "kill -9 $$"), {"PATH": os.environ["PATH"]}, "/", groups=group.joins)
        end = await (await launcher.run(command, output.writer, output.writer, group)).wait()
        assert (end.code, end.out_of_memory) == (137, False)
    finally:
        groups.close()


@pytest.mark.skipif(not cgroups.find(), reason="this machine lets this process make no control groups")
async def test_control_groups_go_with_the_launcher_when_the_node_is_killed(tmp_path: Path) -> None:
    code = """
import asyncio, os, sys
from bobrapet.local.node import cgroups
from bobrapet.local.node.processes import Command, Launcher

async def main():
    groups = cgroups.ControlGroups(cgroups.find())
    limits = cgroups.Limits(memory=64 << 20, cpu=1)
    group = groups.make(limits)
    launcher = Launcher(groups=groups.folders)
    command = Command(("sleep", "600"), {"PATH": os.environ["PATH"]}, "/", groups=group.joins)
    await launcher.run(command, 2, 2, group)
    print(launcher._launcher.pid, *groups.folders, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as node:  # noqa: ASYNC220
        assert node.stdout is not None
        pid, *folders = (await asyncio.to_thread(node.stdout.readline)).decode().split()
        assert existing(folders) == folders
        node.kill()
    await gone(int(pid))
    assert not existing(folders)
