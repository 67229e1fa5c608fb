"""Containers as processes, seen from the node: start one, signal it, wait for its end.

The work is done by `shim.py`; this is its other side of the wire. Nothing polls: starts and ends arrive as packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .cgroups import Group
from .errors import StartFailed

SHIM = Path(__file__).with_name("shim.py")
PACKET = 4096
UNKNOWN_EXIT_CODE = 137  # what a kubelet reports for a container whose end nobody saw


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of this machine at another path of a container."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """Who runs a container."""

    user: int
    group: int
    groups: Sequence[int] = ()
    """Supplementary ones."""

    reads: Sequence[str] = ()
    """What the user must be able to read; otherwise the container starts as the user of the node."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute: `argv[0]` is looked up in the PATH of `env`, which is the whole environment."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    mounts: Sequence[Mount] = ()
    """What is at other places than on the machine; `scratch` is an empty folder to build that in."""

    scratch: str = ""
    no_new_privileges: bool = False
    """Programs with set-user-ID or capabilities of their own get nothing from them."""

    groups: Sequence[str] = ()
    """The `cgroup.procs` files of the control groups to join."""

    user: User | None = None
    """None: the user of the node."""

    own: Sequence[str] = ()
    """Folders that `user` must reach, whatever is on the way."""

    drop_capabilities: Sequence[int] = ()
    """Numbers of those that neither the container nor what it executes can have."""

    read_only: bool = False
    """Nothing can be written but below `writable` and into mounts that are not read-only."""

    writable: Sequence[str] = ()

    def encode(self) -> bytes:
        """As the shim reads it."""
        mounts = [
            {"source": mount.source, "target": mount.target, "readOnly": mount.read_only} for mount in self.mounts
        ]
        written = [mount.target for mount in self.mounts if not mount.read_only]
        return json.dumps(
            {
                "argv": [*self.argv],
                "env": {**self.env},
                "cwd": self.cwd,
                "mounts": mounts,
                "scratch": self.scratch,
                "no_new_privileges": self.no_new_privileges,
                "groups": [*self.groups],
                "user": asdict(self.user) if self.user is not None else None,
                "own": [*self.own],
                "drop_capabilities": [*self.drop_capabilities],
                "read_only": self.read_only,
                "writable": [*self.writable, *written],
            }
        ).encode()


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended: code 128 + `signal` when a signal ended it (0: none), `max_rss` in bytes.

    `out_of_memory`: the kernel killed in it for lack of memory. Without a control group of its own that is a guess: the
    kernel killed somebody meanwhile, and nobody here sent the SIGKILL that ended the container.
    """

    code: int
    signal: int
    at: datetime
    max_rss: int = 0
    out_of_memory: bool = False


class Process:
    """A running container. It is over when its main process ended and no descendant is left."""

    def __init__(
        self,
        channel: _Channel,
        pid: int,
        started_at: datetime,
        oom_kills: Callable[[], int],
        group: Group | None,
        without: Mapping[str, str],
    ) -> None:
        self.pid = pid
        self.without = without
        """What of the command this machine did not permit, and why: limits, mounts, read_only, user."""
        self.started_at = started_at
        self._channel = channel
        self._killed = False
        self._group = group if "limits" not in without else None
        self._oom_kills = oom_kills
        self._oom_kills_before = oom_kills()
        self._exit: asyncio.Task[Exit] = asyncio.ensure_future(self._await_exit())

    def send_signal(self, number: int) -> None:
        """Signals the main process, as a runtime does on stop. After the end it does nothing."""
        self._channel.send(bytes((number,)))

    def kill(self) -> None:
        """SIGKILL for the whole tree."""
        self._killed = True
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> Exit:
        """The end; may be awaited by many."""
        return await asyncio.shield(self._exit)

    def on_exit(self, callback: Callable[[Process], object]) -> None:
        """Calls back once, soon after the end."""
        self._exit.add_done_callback(lambda _: callback(self))

    async def _await_exit(self) -> Exit:
        try:
            message = await self._channel.receive()
        finally:
            self._channel.close()
        if message is None:
            return Exit(UNKNOWN_EXIT_CODE, signal.SIGKILL, datetime.now(UTC))
        number, code = message["signal"], message["code"]
        if self._group is not None:
            starved = code != 0 and self._group.oom_kills() > 0
        else:
            starved = number == signal.SIGKILL and not self._killed and self._oom_kills() > self._oom_kills_before
        return Exit(code, number, _moment(message["at"]), message["max_rss"], starved)


class Launcher:
    """Starts processes through a launcher process of its own, which is started with the first of them.

    When the Python process that holds this object ends, however it ends, everything that was started ends too.
    """

    def __init__(self, oom_kills: Callable[[], int] | None = None, groups: Sequence[str] = ()) -> None:
        """`oom_kills`: counts what the kernel ever killed for lack of memory. None: /proc/vmstat.

        `groups`: folders of control groups that go with the last container, should this process be killed.
        """
        self._oom_kills = oom_kills or _oom_kills
        self._groups = groups
        self._control: socket.socket | None = None
        self._launcher: subprocess.Popen[bytes] | None = None
        self._running: set[Process] = set()

    async def start(self) -> None:
        """Starts the launcher process ahead of the first container, which then starts 20 ms sooner."""
        if self._control is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._launcher = subprocess.Popen(  # noqa: ASYNC220 - vfork and exec, half a millisecond
                [sys.executable, "-I", "-S", "-X", "utf8", str(SHIM), str(theirs.fileno()), *self._groups],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # What an interpreter may need to start; containers get none of it.
                env={name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
                cwd="/",
                start_new_session=True,  # Ctrl-C in the terminal is for us, who then stop the containers gracefully
            )
        ours.setblocking(False)
        self._control = ours

    async def run(self, command: Command, stdout: int, stderr: int, group: Group | None = None) -> Process:
        """Starts the command with these descriptors (which stay the caller's to close).

        `group`: the control group that the command joins, which knows whether the memory was exceeded.
        Raises StartFailed when it cannot be executed.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel = _Channel(ours)
        try:
            memory = os.memfd_create("command", os.MFD_CLOEXEC)
            with theirs, os.fdopen(memory, "wb") as file:
                file.write(command.encode())
                file.flush()
                file.seek(0)
                await self._submit([memory, stdout, stderr, theirs.fileno()])
            message = await channel.receive()
            if message is None:
                raise StartFailed("the process launcher ended before the command was started")
            if "errno" in message:
                raise StartFailed(f"exec: {message['path']!r}: {os.strerror(message['errno'])}")
        except BaseException:
            channel.close()
            raise
        process = Process(channel, message["pid"], _moment(message["at"]), self._oom_kills, group, message["without"])
        self._running.add(process)
        process.on_exit(self._running.discard)
        return process

    async def aclose(self) -> None:
        """Kills what still runs and waits until every process, the launcher too, is gone."""
        for process in tuple(self._running):
            process.kill()
            await process.wait()
        launcher, self._launcher = self._launcher, None
        if self._control is not None:
            self._control.close()
            self._control = None
        if launcher is not None:
            await _ended(launcher.pid)
            launcher.wait()

    async def _submit(self, descriptors: list[int]) -> None:
        for attempt in (1, 2):
            await self.start()
            assert self._control is not None
            try:
                await _send_descriptors(self._control, descriptors)
                return
            except ConnectionError:
                # Somebody killed the launcher; its containers go on under their shims, new ones need a new launcher.
                self._control.close()
                self._control = None
                if self._launcher is not None:
                    self._launcher.wait()
                if attempt == 2:
                    raise StartFailed("the process launcher ends as soon as it starts") from None


class _Channel:
    """The node's end of a shim's socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.setblocking(False)
        self._messages: deque[dict[str, Any] | None] = deque()
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # ended already, or so many signals wait that one more changes nothing
            self._socket.send(data)

    async def receive(self) -> dict[str, Any] | None:
        """The next packet; None when the shim is gone."""
        while not self._messages:
            self._arrived.clear()
            await self._arrived.wait()
        return self._messages.popleft()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        try:
            packet = self._socket.recv(PACKET)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if packet:
            self._messages.append(json.loads(packet))
        else:
            self._loop.remove_reader(self._socket)
            self._messages.append(None)
        self._arrived.set()


async def _send_descriptors(control: socket.socket, descriptors: list[int]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            socket.send_fds(control, [b"+"], descriptors)
            return
        except BlockingIOError:
            writable = asyncio.Event()
            loop.add_writer(control, writable.set)
            try:
                await writable.wait()
            finally:
                loop.remove_writer(control)


async def _ended(pid: int) -> None:
    """Waits for a child without a thread and without a child watcher."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(pid)
    try:
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _oom_kills() -> int:
    try:
        with open("/proc/vmstat", "rb") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(b"oom_kill ")), 0)
    except OSError:
        return 0


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
