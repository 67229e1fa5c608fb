"""Containers are real processes here: the promises of `shim.py` are about what the kernel does."""

from __future__ import annotations

import asyncio
import glob
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bobrapet.local.node.errors import StartFailed
from bobrapet.local.node.processes import Command, Launcher, Mount, Process

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
        return (await asyncio.wait_for(self._stream.readline(), 10)).decode().strip()

    async def end(self) -> bytes:
        os.close(self.writer)
        return await asyncio.wait_for(self._stream.read(), 10)


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
        await asyncio.wait_for(ended.wait(), 10)
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
    assert process.unmounted == ""
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
    assert process.unmounted
    assert await output.line() == "ran"
    assert (await process.wait()).code == 0


async def test_no_new_privileges_is_kept(launcher: Launcher, output: Output) -> None:
    argv = ("grep", "NoNewPrivs", "/proc/self/status")
    command = Command(argv, {"PATH": os.environ["PATH"]}, "/", no_new_privileges=True)
    process = await launcher.run(command, output.writer, output.writer)
    assert await output.line() == "NoNewPrivs:\t1"
    await process.wait()
