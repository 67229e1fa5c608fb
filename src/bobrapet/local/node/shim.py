"""The processes between the node and the containers: a launcher, and one shim for each container.

Run by path (`python -I -S -X utf8 shim.py FD`), so it imports nothing but the standard library (and `mounting`, which
stands beside it and does the same) and stays small: the launcher is started once and forked for each container, which
takes a millisecond where a new interpreter takes twenty.

What it promises, as a container runtime does with a PID namespace:

- The main process of a container ends, whatever the way: every process it left behind is killed, also those that
  daemonised, and only then is the end reported. The shim is a child subreaper, so "no child left" is a proof.
- The node ends, whatever the way: its sockets close, each shim kills its tree and the launcher leaves.
- A shim is killed: its main process dies with it (parent death signal) and the launcher, itself a subreaper, kills what
  it inherits.

Wire: the node sends the launcher one packet for each container with four descriptors: the command (JSON in a memory
file), stdout, stderr and the shim's socket. On that socket the node sends bytes (a signal number; 9 means the whole
tree), the shim answers with JSON packets: `{"pid", "at", "without"}` or `{"errno", "path"}`, then `{"code", "signal",
"at", "max_rss"}`. `without` says what this machine did not permit, and why: a container starts all the same without its
control groups ("limits"), volumes at their paths ("mounts"), read-only files ("read_only") or other user ("user").
"""

import ctypes
import errno
import gc
import json
import os
import select
import signal
import socket
import stat
import sys
import time
import warnings  # noqa: F401 - os.execvpe imports it, which comes too late for a user who may not read the library
from collections.abc import Iterator
from typing import Any, NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mounting  # type: ignore[import-not-found]  # stands beside this file

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
DESCRIPTORS = 4  # command, stdout, stderr, socket
OOM_SCORE_ADJ = 500  # when memory runs out the kernel takes a component before it takes the control plane

_libc = ctypes.CDLL(None, use_errno=True)


def main(control_fd: int, groups: list[str]) -> NoReturn:
    """The launcher: forks a shim for each packet until the node closes the socket, then waits for the shims.

    `groups`: folders of control groups to remove in the end, where the node can no longer do that.
    """
    control = socket.socket(fileno=control_fd)
    control.set_inheritable(False)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    shims: set[int] = set()
    children = _ChildEvents()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(children.fd, select.POLLIN)
    listening = True
    gc.freeze()  # what is here stays shared with the shims
    while listening or shims:
        ready = {fd for fd, _ in poll.poll()}
        if children.fd in ready:
            children.clear()
            _reap_shims(shims)
        if control.fileno() in ready and listening:
            _, descriptors, _, _ = socket.recv_fds(control, 64, DESCRIPTORS)
            for fd in descriptors:
                os.set_inheritable(fd, False)  # recv_fds takes flags and ignores them
            if len(descriptors) == DESCRIPTORS:
                pid = os.fork()
                if pid == 0:
                    control.close()
                    children.close()
                    _shim(*descriptors)
                shims.add(pid)
                for fd in descriptors:
                    os.close(fd)
            else:
                listening = False
                poll.unregister(control)
    _remove_groups(groups)
    os._exit(0)


def _remove_groups(groups: list[str]) -> None:
    for folder in groups:
        for path, _, _ in os.walk(folder, topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                continue  # removed already by the node


def _reap_shims(shims: set[int]) -> None:
    """Collects the ended, and kills what a killed shim left to us: a child of the launcher is a shim or an orphan."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
        shims.discard(pid)
    for pid in _children(os.getpid()):
        if pid not in shims:
            _kill(pid)


def _shim(command_fd: int, stdout_fd: int, stderr_fd: int, socket_fd: int) -> NoReturn:
    """Runs one container; never returns."""
    try:
        _supervise(command_fd, stdout_fd, stderr_fd, socket.socket(fileno=socket_fd))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        _kill_tree()
        os._exit(1)
    os._exit(0)


def _supervise(command_fd: int, stdout_fd: int, stderr_fd: int, node: socket.socket) -> None:
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    with os.fdopen(command_fd, "rb") as file:
        command = json.load(file)
    children = _ChildEvents()
    without: dict[str, str] = {}
    main_pid, failure = _start(command, stdout_fd, stderr_fd)
    while failure is not None and failure.get("without", "") in _ABSENT and failure["without"] not in without:
        without[failure["without"]] = failure["why"]
        command |= _ABSENT[failure["without"]]
        main_pid, failure = _start(command, stdout_fd, stderr_fd)
    os.close(stdout_fd)
    os.close(stderr_fd)
    if failure is not None:
        _send(node, failure)
        return
    _send(node, {"pid": main_pid, "at": time.time_ns(), "without": without})

    poll = select.poll()
    poll.register(node, select.POLLIN)
    poll.register(children.fd, select.POLLIN)
    ended: dict[str, Any] | None = None
    while ended is None:
        ready = {fd for fd, _ in poll.poll()}
        if children.fd in ready:
            children.clear()
            ended = _reap(main_pid)
        if node.fileno() in ready and ended is None:
            orders = node.recv(64)
            for number in orders:
                if number == signal.SIGKILL:
                    break
                _kill(main_pid, number)
            if not orders or signal.SIGKILL in orders:
                break
    ended = _kill_tree(main_pid) or ended
    if ended is not None:
        _send(node, ended)


def _start(command: dict[str, Any], stdout_fd: int, stderr_fd: int) -> tuple[int, dict[str, Any] | None]:
    """Forks and executes the command in a session of its own; second result: why it could not."""
    shim = os.getpid()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        path = command["argv"][0]
        try:
            os.setsid()
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != shim:
                os._exit(127)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(stdout_fd, 1)
            os.dup2(stderr_fd, 2)
            _prefer_for_oom()
            _confine(command)
            user = command["user"]
            try:
                path = command["cwd"]
                os.chdir(path)
                if user is not None:
                    _become(user)
                    if os.getppid() != shim:
                        os._exit(127)
                if command["no_new_privileges"]:
                    _prctl(PR_SET_NO_NEW_PRIVS, 1)
                path = command["argv"][0]
                os.execvpe(path, command["argv"], command["env"])
            except (OSError, ImportError) as error:
                if user is None:
                    raise
                # Whether it is the user who cannot, shows when it is tried without.
                told = error.strerror if isinstance(error, OSError) else error
                raise _NotPermitted("user", f"user {user['user']}: {path}: {told}") from error
        except _NotPermitted as error:
            os.write(writer, json.dumps({"without": error.what, "why": error.why[:1000]}).encode())
        except OSError as error:
            os.write(writer, json.dumps({"errno": error.errno, "path": path}).encode())
        except ValueError:
            os.write(writer, json.dumps({"errno": errno.EINVAL, "path": path}).encode())  # a NUL, or "=" in a name
        finally:
            os._exit(127)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        failure = file.read()
    if not failure:
        return pid, None
    os.waitpid(pid, 0)
    return pid, json.loads(failure)


class _NotPermitted(Exception):
    """The container has to start without something; see `_ABSENT`."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what, self.why = what, why


_ABSENT: dict[str, dict[str, Any]] = {
    "limits": {"groups": []},
    "mounts": {"mounts": [], "read_only": False},
    "read_only": {"read_only": False},
    # What is made for the other user, its token first of all, is readable only with the capabilities of root.
    "user": {"user": None, "drop_capabilities": []},
}
"""What a command is like without something that this machine does not permit."""


def _confine(command: dict[str, Any]) -> None:
    """Control groups, mounts and capabilities, while everything is still permitted."""
    try:
        for file in command["groups"]:
            with open(file, "w") as group:
                group.write("0")
    except OSError as error:
        raise _NotPermitted("limits", str(error)) from error
    if command["mounts"] or command["read_only"]:
        try:
            mounting.enter(command["mounts"], command["scratch"], own=command["own"], user=command["user"])
        except OSError as error:
            raise _NotPermitted("mounts", str(error)) from error
    if command["read_only"]:
        try:
            mounting.seal(command["writable"])
        except OSError as error:
            raise _NotPermitted("read_only", str(error)) from error
    for capability in command["drop_capabilities"]:
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # who may not do that has none that could be kept


def _become(user: dict[str, Any]) -> None:
    """Changes to the user, who must be able to read what the container cannot do without."""
    try:
        for output in (1, 2):
            if stat.S_ISFIFO(os.fstat(output).st_mode):
                os.fchown(output, user["user"], -1)  # so that /dev/stdout can be opened
        os.setgroups(user["groups"])
        os.setresgid(user["group"], user["group"], user["group"])
        os.setresuid(user["user"], user["user"], user["user"])
    except OSError as error:
        raise _NotPermitted("user", str(error)) from error
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # which a change of the user takes away
    for path in user["reads"]:
        if not os.access(path, os.R_OK | os.X_OK):
            raise _NotPermitted("user", f"user {user['user']} may not read {path}")


def _prefer_for_oom() -> None:
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(OOM_SCORE_ADJ))
    except OSError:
        return  # a preference, and /proc may be read-only


def _reap(main_pid: int) -> dict[str, Any] | None:
    """Collects every ended child; the end of the main process is the answer."""
    ended = None
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        if pid == main_pid:
            ended = _end(status, usage.ru_maxrss)


def _kill_tree(main_pid: int = 0) -> dict[str, Any] | None:
    """Kills all descendants until none is left to wait for. What they fork meanwhile is ours as well, so this ends."""
    ended = None
    while True:
        for pid in _descendants(os.getpid()):
            _kill(pid)
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return ended
        if pid == main_pid:
            ended = _end(status, usage.ru_maxrss)


def _end(status: int, max_rss: int) -> dict[str, Any]:
    code = os.waitstatus_to_exitcode(status)
    number = max(0, -code)
    return {"code": 128 + number if number else code, "signal": number, "at": time.time_ns(), "max_rss": max_rss * 1024}


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _descendants(child)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found  # gone; its children are ours by now
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found.extend(int(child) for child in file.read().split())
        except OSError:
            return _children_by_parent(pid)  # the thread just ended, or the kernel lacks CONFIG_PROC_CHILDREN
    return found


def _children_by_parent(parent: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    # "pid (name) state ppid ...": the name may hold anything, so count from its closing bracket.
                    if int(file.read().rpartition(b")")[2].split()[1]) == parent:
                        found.append(int(entry))
            except (OSError, IndexError):
                continue  # ended while we looked
    return found


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # gone already, or it changed its user; then only its own end can be waited for


def _send(node: socket.socket, message: dict[str, Any]) -> None:
    try:
        node.send(json.dumps(message).encode())
    except OSError:
        return  # the node is gone; nobody is left to be told


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")


class _ChildEvents:
    """A descriptor that becomes readable when a child ends."""

    def __init__(self) -> None:
        self.fd, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def clear(self) -> None:
        try:
            while os.read(self.fd, 512):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._writer)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
