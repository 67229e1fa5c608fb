"""Engram `shell`: one command, started as it is written.

Arguments reach the program untouched: nothing is split, expanded or interpreted, so an input can never become a second
command. A shell only reads a `script`, and only where the Engram's configuration allows it.

The command sees no variable of the step and none of its secrets, only what `env` and the secret `env` give it.

    exit code in acceptCodes   the step's output
    exit code in retryCodes    retry
    killed by a signal         retry
    any other; not found       terminal
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from typing import IO, Annotated, Any, Literal

import msgspec

from bobrapet.sdk import Context, EngramError, RetryError, SecretNeed, TerminalError, engram
from bobrapet.sdk.durations import parse_duration

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_TAIL_LINES = 20
_MESSAGE_LINES = 5
_STOP_GRACE = 5.0
_CHUNK = 64 << 10


class Command(msgspec.Struct, kw_only=True):
    args: list[str] = []
    """Arguments behind the configured command; without one, the first is the program."""

    script: str = ""
    """Text for `/bin/sh -eu`, instead of a command. Needs allowScript. Hand values in by `env`, never as text."""

    stdin: Any = None
    """What the command reads: a text as it is, any other value as JSON."""

    env: dict[str, str] = {}
    """Variables of the command."""


class Config(msgspec.Struct, kw_only=True, rename="camel"):
    command: list[str] = []
    """The program and its first arguments, so that steps choose only what comes behind."""

    allow_script: bool = False
    """Whether steps may give a script."""

    cwd: str = ""
    """Folder to start in. Empty: a folder of the step's own."""

    parse: Literal["text", "json", "lines"] = "text"
    """How stdout becomes the output: `stdout` as text, `json` as a value, `lines` as a list without empty ones."""

    accept_codes: tuple[int, ...] = (0,)
    """Exit codes that are a result."""

    retry_codes: tuple[int, ...] = ()
    """Exit codes after which another attempt makes sense."""

    timeout: str = ""
    """Go duration for the command. Empty: what the step has left."""

    max_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 20
    """Bytes of stdout that are read; more fails the step."""


class Done(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    code: int
    stdout: str | msgspec.UnsetType = msgspec.UNSET
    stdout_base64: str | msgspec.UnsetType = msgspec.UNSET
    """Instead of `stdout`, when the bytes are no text."""

    json: Any = msgspec.UNSET
    lines: list[str] | msgspec.UnsetType = msgspec.UNSET
    stderr: str = ""
    """The last lines."""


@engram(
    version="1.0.0",
    image="ghcr.io/bubustack/engram-shell:1.0.0",
    secrets={"env": SecretNeed(description="Each key becomes a variable of the command")},
)
def shell(input: Command, ctx: Context[Config]) -> Done:
    """Runs one command with its arguments, never through a shell unless the configuration allows a script."""
    argv = _argv(input, ctx.config)
    process = _start(argv, input, ctx)
    with _Running(process, _encoded(input.stdin), ctx) as running:
        code = running.wait(_timeout(ctx))
    return _judged(code, argv[0], running, ctx)


def _argv(input: Command, config: Config) -> list[str]:
    if input.script:
        if not config.allow_script:
            raise TerminalError(
                "a script is given, but the Engram's configuration does not allow one (allowScript); use args",
                code="SHELL_SCRIPT_REFUSED",
            )
        return ["/bin/sh", "-eu", "-c", input.script, "script", *input.args]
    argv = [*config.command, *input.args]
    if not argv:
        raise TerminalError("nothing to run: give args, or config.command", code="SHELL_NO_COMMAND")
    return argv


def _start(argv: list[str], input: Command, ctx: Context[Config]) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= dict(ctx.secrets["env"]) if "env" in ctx.secrets else {}
    environment |= input.env
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if input.stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ctx.config.cwd or None,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TerminalError(f"{argv[0]} cannot be started: {reason}", code="SHELL_NOT_STARTED") from error
    ctx.log.debug("started", command=argv[0], arguments=len(argv) - 1, pid=process.pid)
    return process


class _Running:
    """A started command: reads what it says, and leaves nothing of it behind."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes | None, ctx: Context[Config]) -> None:
        self.stdout = bytearray()
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.overflown = False
        self._process = process
        self._ctx = ctx
        self._threads = [
            threading.Thread(target=target, args=arguments, daemon=True)
            for target, arguments in (
                (self._read, (process.stdout,)),
                (self._log, (process.stderr,)),
                (self._feed, (process.stdin, stdin)),
            )
            if arguments[0] is not None
        ]

    def __enter__(self) -> _Running:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What the command started ends with it, also when the step is interrupted."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_GRACE)
        self._signal(signal.SIGKILL)
        self._process.wait()
        for thread in self._threads:
            thread.join(_STOP_GRACE)

    def wait(self, timeout: float | None) -> int:
        """The exit code. Raises RetryError when `timeout` seconds pass."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise RetryError(f"the command did not end within {timeout:g}s", code="SHELL_TIMEOUT") from None
        self._read_to_the_end()
        return code

    def _read_to_the_end(self) -> None:
        """What the command left behind may hold the pipes open. It ends with the command, so that all is read.

        Once more after that: on a busy machine the time may be over before the readers had a turn.
        """
        for _ in range(2):
            deadline = time.monotonic() + _STOP_GRACE
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()) if thread.is_alive() else 0)
            if not any(thread.is_alive() for thread in self._threads):
                return
            self._signal(signal.SIGKILL)

    def _read(self, pipe: IO[bytes]) -> None:
        while chunk := pipe.read1(_CHUNK):  # type: ignore[attr-defined]  # Popen gives a BufferedReader
            if len(self.stdout) + len(chunk) > self._ctx.config.max_bytes:
                self.overflown = True
                self._signal(signal.SIGKILL)
                return
            self.stdout += chunk

    def _log(self, pipe: IO[bytes]) -> None:
        for raw in pipe:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            self.tail.append(line)
            self._ctx.log.info("stderr", line=line)

    def _feed(self, pipe: IO[bytes], data: bytes) -> None:
        with suppress(BrokenPipeError), pipe:  # it may end before it has read everything
            pipe.write(data)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _judged(code: int, program: str, running: _Running, ctx: Context[Config]) -> Done:
    config = ctx.config
    if running.overflown:
        raise TerminalError(
            f"{program} wrote more than {config.max_bytes} bytes; raise maxBytes, or write less",
            code="SHELL_OUTPUT_TOO_LARGE",
        )
    ctx.log.info("ended", command=program, code=code, bytes=len(running.stdout))
    if code in config.accept_codes:
        return _done(code, program, running, config)
    said = " | ".join(list(running.tail)[-_MESSAGE_LINES:])
    how = f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with code {code}"
    kind: type[EngramError] = RetryError if code < 0 or code in config.retry_codes else TerminalError
    raise kind(f"{program} {how}" + (f": {said}" if said else ""), code=f"SHELL_EXIT_{code}", details={"code": code})


def _done(code: int, program: str, running: _Running, config: Config) -> Done:
    done = Done(code=code, stderr="\n".join(running.tail))
    data = bytes(running.stdout)
    if config.parse == "json":
        try:
            done.json = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            begins = data[:200].decode("utf-8", "replace")
            raise TerminalError(
                f"{program} wrote no JSON: {error}; it begins {begins!r}", code="SHELL_NOT_JSON"
            ) from error
        return done
    try:
        text = data.decode()
    except UnicodeDecodeError:
        done.stdout_base64 = base64.b64encode(data).decode()
        return done
    if config.parse == "lines":
        done.lines = [line for line in text.splitlines() if line]
    else:
        done.stdout = text
    return done


def _timeout(ctx: Context[Config]) -> float | None:
    """None where the step's own limit is enough: it interrupts whatever waits."""
    if not ctx.config.timeout:
        return None
    try:
        seconds = parse_duration(ctx.config.timeout)
    except ValueError as error:
        raise TerminalError(f"config.timeout: {error}", code="BAD_CONFIG") from error
    if seconds <= 0:
        raise TerminalError(f"config.timeout: {ctx.config.timeout} must be positive", code="BAD_CONFIG")
    return seconds


def _encoded(stdin: Any) -> bytes | None:
    if stdin is None:
        return None
    return stdin.encode() if isinstance(stdin, str) else msgspec.json.encode(stdin)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


if __name__ == "__main__":
    shell.main()
