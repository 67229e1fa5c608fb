"""One program of a control plane: started, watched until it is ready, stopped."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bobrapet.runtime.errors import ControllerRuntimeError

POLL = 0.02
"""Seconds between two looks at whether a program is ready."""

SHOWN_LINES = 20
"""Last lines of a program's output that a failure quotes."""


class EnvironmentFailed(ControllerRuntimeError):
    """A program of the control plane did not start, or ended too early."""


@dataclass(frozen=True, slots=True)
class Check:
    """A URL that answers 200 once the program is ready."""

    url: str
    context: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def passes(self) -> bool:
        request = urllib.request.Request(self.url, headers=dict(self.headers))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.context)
        )
        try:
            with opener.open(request, timeout=2) as response:
                return bool(response.status == 200)
        except (OSError, urllib.error.URLError):
            return False


class Program:
    """A program with its arguments. May be started, stopped and started again."""

    def __init__(self, name: str, command: list[str], log: Path, *, attach_output: bool = False) -> None:
        self.name = name
        self.command = command
        self.log = log
        self._attach_output = attach_output
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise EnvironmentFailed(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Starts the program; a later one continues its log."""
        if self.running:
            return
        with contextlib.ExitStack() as stack:
            output = None if self._attach_output else stack.enter_context(self.log.open("ab"))
            # A death signal belongs to the thread that forks; only the main one lives as long as the process.
            main = threading.current_thread() is threading.main_thread()
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent if main and sys.platform == "linux" else None,
            )

    def wait_ready(self, checks: list[Check], deadline: float) -> None:
        """Blocks until all checks pass. Raises `EnvironmentFailed` with the program's last words."""
        waiting = list(checks)
        while True:
            waiting = [check for check in waiting if not check.passes()]
            if not waiting:
                return
            if not self.running:
                raise EnvironmentFailed(
                    f"{self.name} ended with {self._code()} before it was ready{self._last_words()}"
                )
            if time.monotonic() > deadline:
                urls = ", ".join(check.url for check in waiting)
                raise EnvironmentFailed(f"{self.name} was not ready in time ({urls}){self._last_words()}")
            time.sleep(POLL)

    def signal(self, number: int) -> None:
        """Sends a signal, for tests of faults."""
        if self.running:
            os.kill(self.pid, number)

    def pause(self) -> None:
        """Freezes the program. From the return on none of its threads runs, until SIGCONT."""
        if self.running:
            os.kill(self.pid, signal.SIGSTOP)
            # The signal is only sent; another core may still serve a request. The parent is told when all have stopped.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def stop(self, timeout: float) -> None:
        """Asks the program to end, and makes it end after `timeout` seconds."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def kill(self) -> None:
        """Ends the program without a chance to clean up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _code(self) -> str:
        return f"exit code {self._process.returncode}" if self._process is not None else "nothing"

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        except OSError:
            return ""
        return ":\n" + "\n".join(lines) if lines else ""


def _die_with_parent() -> None:
    """In the child: be killed when the test process is, however it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
