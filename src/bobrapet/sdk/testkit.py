"""Runs a component in a test, in this process, against an operator in memory.

    from bobrapet.sdk.testkit import Operator

    def test_a_broken_gateway_is_tried_again_and_the_card_is_charged_once():
        operator = Operator(max_retries=2)
        gateway.fails = 1
        run = operator.run(pay, {"order": "o-1"}, secrets={"gateway": {"token": "t"}})
        assert run.phase == "Succeeded"
        assert len(run.attempts) == 2
        assert run.effects["charge:o-1"]["status"] == "succeeded"

Nothing is started and nothing is waited for: the delays between attempts are recorded, and leases age by them. What the
component meets is otherwise what it meets in a pod: its environment, its types, the status patches, conflicts, fences.
"""

from __future__ import annotations

import base64
import io
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, NoReturn

import msgspec

from bobrapet.sdk.codec import json_value
from bobrapet.sdk.durations import format_duration
from bobrapet.sdk.effects import micro_time
from bobrapet.sdk.engram import Engram
from bobrapet.sdk.environment import Environment, StepIdentity
from bobrapet.sdk.errors import Cancelled, Interrupted, StepTimeout
from bobrapet.sdk.interrupts import Interrupts
from bobrapet.sdk.memory_api import MemoryApi, Object
from bobrapet.sdk.process import run_step
from bobrapet.sdk.step_run_api import Refused, Unreachable

__all__ = ["Attempt", "Call", "Killed", "Operator", "Run"]

_RETRIED = frozenset({"retry", "rateLimited", "unknown"})
_BEGIN = "2026-01-05T10:00:00Z"


class Killed(BaseException):
    """The process ends here without a word, as with SIGKILL."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the component to the API server: `patch stepruns`, `create effectclaims` ..."""

    verb: str
    kind: str
    body: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.verb} {self.kind}"


When = str | Callable[[Call], bool]
"""Which calls: `"update effectclaims"`, or a function that says so."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of the component."""

    exit_code: int
    phase: str
    """What it reported; empty when it reported nothing."""
    exit_class: str
    message: str
    logs: list[dict[str, Any]]
    delay: float
    """Seconds that the operator waited before it, at least."""


@dataclass(frozen=True, slots=True)
class Run:
    """How the step ended."""

    phase: str
    output: dict[str, Any]
    attempts: list[Attempt]
    status: Mapping[str, Any]
    """`status` of the StepRun, as the component and the operator left it."""
    claims: Mapping[str, Mapping[str, Any]]
    """`spec` of the EffectClaims by their effect keys."""
    story_runs: list[Mapping[str, Any]]
    """StoryRuns that the component started."""
    calls: list[Call]

    @property
    def error(self) -> Mapping[str, Any]:
        """The structured error; empty after a success."""
        return self.status.get("error") or {}

    @property
    def exit_code(self) -> int:
        return self.attempts[-1].exit_code

    @property
    def logs(self) -> list[dict[str, Any]]:
        """Log lines of all attempts."""
        return [line for attempt in self.attempts for line in attempt.logs]

    @property
    def signals(self) -> dict[str, Any]:
        """The latest value of each signal; where it is not visible, its summary."""
        return {key: value.get("sample", value) for key, value in (self.status.get("signals") or {}).items()}

    @property
    def signal_events(self) -> list[Mapping[str, Any]]:
        return list(self.status.get("signalEvents") or [])

    @property
    def effects(self) -> dict[str, Mapping[str, Any]]:
        """`status.effects` by key."""
        return {entry["key"]: entry for entry in self.status.get("effects") or []}


class Operator:
    """Starts a component as often as its result asks for, and plays what surrounds it.

    `max_retries` is the step's retry policy (0: the first attempt decides), `timeout` its time limit in seconds.
    """

    def __init__(self, *, max_retries: int = 0, timeout: float = 30.0) -> None:
        self.max_retries = max_retries
        self.timeout = timeout
        self.run_story: Callable[[Object], Object] = lambda run: {"phase": "Succeeded", "output": {}}
        """What becomes of a StoryRun that the component starts: its status."""
        self.config_maps: dict[str, Mapping[str, str]] = {}
        """ConfigMaps of the namespace: keys and values by name."""
        self.kubernetes_secrets: dict[str, Mapping[str, str]] = {}
        """Secrets of the namespace that `$bubuSecretRef` can name, the same way."""
        self.calls: list[Call] = []
        self._faults: list[_Fault] = []
        self._connection: _Connection | None = None
        self._interrupts: _KitInterrupts | None = None

    # Faults. Call them before `run`, or from what the component calls.

    def refuse(self, when: When, code: int, message: str = "refused by the test", *, times: int = 1) -> None:
        """The API server answers the next `times` such calls with an error."""
        self._faults.append(_Fault(when, times, lambda: _raise(Refused(code, message))))

    def lose(self, when: When, *, times: int = 1, answered: bool = False) -> None:
        """The connection breaks at the next `times` such calls; with `answered`, after the server did its part."""
        self._faults.append(_Fault(when, times, lambda: _raise(Unreachable("lost by the test")), after=answered))

    def interfere(self, when: When, action: Callable[[MemoryApi], None], *, times: int = 1) -> None:
        """Does something to the server's objects right before such a call, as another client would."""
        self._faults.append(_Fault(when, times, lambda: action(self._server)))

    def kill_at(self, when: When, *, answered: bool = False) -> None:
        """The process dies at the next such call."""
        self._faults.append(_Fault(when, 1, self.kill, after=answered))

    def cancel_at(self, when: When) -> None:
        """SIGTERM arrives at the next such call."""
        self._faults.append(_Fault(when, 1, self.cancel))

    def kill(self) -> NoReturn:
        """The process dies here; nothing of it reaches the API server any more."""
        if self._connection is not None:
            self._connection.dead = True
        raise Killed

    def cancel(self) -> None:
        """SIGTERM arrives here."""
        if self._interrupts is not None:
            self._interrupts.deliver(Cancelled("cancelled: the process was asked to stop (SIGTERM)"))

    # Running.

    def run(
        self,
        component: Engram[..., Any],
        input: Any = None,
        *,
        config: Any = None,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        environ: Mapping[str, str] | None = None,
        cancel_after: float | None = None,
    ) -> Run:
        """Runs the step to its end.

        `input` and `config` are dicts or the component's own types, `secrets` keys and values by logical name,
        `environ` further variables. `cancel_after` sends SIGTERM after so many seconds of the first attempt; only that
        needs the main thread.
        """
        step = StepIdentity(namespace="test", step_run="run-1-step", story_run="run-1", step="step")
        self._server = server = MemoryApi(step)
        server.run_story = self.run_story
        for name, data in self.config_maps.items():
            server.core[f"configmaps/{name}"] = _core(name, dict(data))
        for name, data in self.kubernetes_secrets.items():
            encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
            server.core[f"secrets/{name}"] = _core(name, encoded)
        self.calls = []
        attempts: list[Attempt] = []
        delay = 0.0
        while True:
            variables = _variables(step, len(attempts), input, config, secrets or {}, self.timeout)
            variables |= environ or {}
            attempts.append(self._attempt(component, variables, server, delay, cancel_after if not attempts else None))
            ended = attempts[-1]
            if ended.exit_class not in _RETRIED or len(attempts) > self.max_retries:
                break
            delay = _delay(server.step_run["status"], len(attempts))
            _schedule_retry(server, len(attempts), delay)
        return self._judged(server, attempts)

    def _attempt(
        self,
        component: Engram[..., Any],
        variables: Mapping[str, str],
        server: MemoryApi,
        delay: float,
        cancel_after: float | None,
    ) -> Attempt:
        log = io.StringIO()
        self._connection = connection = _Connection(self, server)

        def interrupts(environment: Environment) -> Interrupts:
            self._interrupts = _KitInterrupts(environment.timeout, cancel_after)
            return self._interrupts

        try:
            code = run_step(component, variables, connect=lambda: connection, interrupts=interrupts, log_to=log)
        except Killed:
            code = 137
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        finally:
            connection.dead = True
            self._connection = self._interrupts = None
        status = server.step_run["status"]
        reported = str(status.get("phase")) if status.get("phase") in ("Succeeded", "Failed", "Timeout") else ""
        return Attempt(
            exit_code=code,
            phase=reported,
            exit_class=str(status.get("exitClass") or "") if reported else _class_of(code),
            message=str(status.get("lastFailureMsg") or ""),
            logs=[json.loads(line) for line in log.getvalue().splitlines()],
            delay=delay,
        )

    def _judged(self, server: MemoryApi, attempts: list[Attempt]) -> Run:
        status = server.step_run["status"]
        ended = attempts[-1]
        phase = ended.phase or {0: "Succeeded", 124: "Timeout"}.get(ended.exit_code, "Failed")
        return Run(
            phase=phase,
            output=status.get("output") or {},
            attempts=attempts,
            status=status,
            claims={claim["spec"]["effectKey"]: claim["spec"] for claim in server.claims.values()},
            story_runs=list(server.story_runs.values()),
            calls=self.calls,
        )

    @contextmanager
    def _around(self, call: Call) -> Iterator[None]:
        self.calls.append(call)
        due = [fault for fault in self._faults if fault.takes(call)]
        for fault in due:
            if not fault.after:
                fault.strike()
        yield
        for fault in due:
            if fault.after:
                fault.strike()


@dataclass(slots=True)
class _Fault:
    when: When
    left: int
    strike: Callable[[], None]
    after: bool = False

    def takes(self, call: Call) -> bool:
        hit = self.left > 0 and (self.when == str(call) if isinstance(self.when, str) else self.when(call))
        self.left -= hit
        return hit


class _Connection:
    """One process's connection: it ends with the process."""

    def __init__(self, operator: Operator, server: MemoryApi) -> None:
        self.dead = False
        self._operator = operator
        self._server = server

    def get(self) -> Object:
        with self._call("get", "stepruns"):
            return self._server.get()

    def patch_status(self, patch: Mapping[str, Any]) -> None:
        with self._call("patch", "stepruns", patch):
            self._server.patch_status(patch)

    def get_claim(self, name: str) -> Object:
        with self._call("get", "effectclaims"):
            return self._server.get_claim(name)

    def create_claim(self, claim: Mapping[str, Any]) -> Object:
        with self._call("create", "effectclaims", claim):
            return self._server.create_claim(claim)

    def update_claim(self, claim: Mapping[str, Any]) -> Object:
        with self._call("update", "effectclaims", claim):
            return self._server.update_claim(claim)

    def create_story_run(self, run: Mapping[str, Any]) -> Object:
        with self._call("create", "storyruns", run):
            return self._server.create_story_run(run)

    def get_story_run(self, name: str) -> Object:
        with self._call("get", "storyruns"):
            return self._server.get_story_run(name)

    def list_story_runs(self, selector: str) -> list[Object]:
        with self._call("list", "storyruns"):
            return self._server.list_story_runs(selector)

    def patch_story_run(self, name: str, patch: Mapping[str, Any]) -> None:
        with self._call("patch", "storyruns", patch):
            self._server.patch_story_run(name, patch)

    def get_core(self, plural: str, name: str) -> Object:
        with self._call("get", plural):
            return self._server.get_core(plural, name)

    def close(self) -> None:
        pass

    @contextmanager
    def _call(self, verb: str, kind: str, body: Mapping[str, Any] | None = None) -> Iterator[None]:
        if self.dead:
            raise Killed
        with self._operator._around(Call(verb, kind, body or {})):
            yield


class _KitInterrupts(Interrupts):
    """Interruptions without SIGTERM and SIGALRM, which belong to the test runner."""

    def __init__(self, timeout: float, cancel_after: float | None) -> None:
        super().__init__()
        self._rung: Interrupted | None = None
        self._before: Any = None
        self._timers = [
            threading.Timer(seconds, self.ring, [error])
            for seconds, error in (
                (timeout, StepTimeout(f"timed out: the step's limit of {format_duration(timeout)} passed")),
                (cancel_after, Cancelled("cancelled: the process was asked to stop (SIGTERM)")),
            )
            if seconds is not None and threading.current_thread() is threading.main_thread()
        ]

    def __enter__(self) -> Interrupts:
        super().__enter__()
        if self._timers:
            self._before = signal.signal(signal.SIGUSR2, self._receive)
        for timer in self._timers:
            timer.daemon = True
            timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, where)
        if self._timers:
            for timer in self._timers:
                timer.cancel()
                timer.join()
            signal.signal(signal.SIGUSR2, self._before)

    def ring(self, error: Interrupted) -> None:
        if self._handlers and self._timers:
            self._rung = error
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)

    def _receive(self, *_: object) -> None:
        rung, self._rung = self._rung, None
        if rung is not None:
            self.deliver(rung)


def _variables(
    step: StepIdentity,
    attempt: int,
    input: Any,
    config: Any,
    secrets: Mapping[str, Mapping[str, str]],
    timeout: float,
) -> dict[str, str]:
    variables = {
        "BUBU_STORYRUN_ID": step.story_run,
        "BUBU_STEP_NAME": step.step,
        "BUBU_STEPRUN_NAME": step.step_run,
        "BUBU_STEPRUN_NAMESPACE": step.namespace,
        "BUBU_POD_NAME": f"{step.step_run}-{attempt}",
        "BUBU_STEP_ATTEMPT": str(attempt),
        "BUBU_EXECUTION_MODE": "batch",
        "BUBU_STEP_TIMEOUT": format_duration(timeout),
        "BUBU_STARTED_AT": _BEGIN,
        "BUBU_SKIP_INPUT_TEMPLATING": "true",
        "BUBU_TRIGGER_DATA": _json(input, "input"),
        "BUBU_STEP_CONFIG": _json(config, "config"),
    }
    for name, entries in secrets.items():
        variables[f"BUBU_SECRET_{name}"] = f"env:KIT_{name}_"
        variables |= {f"KIT_{name}_{key}": value for key, value in entries.items()}
    return variables


def _core(name: str, data: dict[str, str]) -> Object:
    return {"metadata": {"name": name, "resourceVersion": "1"}, "data": data}


def _json(value: Any, what: str) -> str:
    return msgspec.json.encode(json_value({} if value is None else value, what=what)).decode()


def _delay(status: Mapping[str, Any], attempt: int) -> float:
    """What the operator waits: 1 s, doubled each time, and at least what a rate-limited component asks for."""
    asked = ((status.get("error") or {}).get("details") or {}).get("retryAfterSeconds") or 0
    return max(float(2 ** (attempt - 1)), float(asked) if status.get("exitClass") == "rateLimited" else 0.0)


def _schedule_retry(server: MemoryApi, retries: int, delay: float) -> None:
    """A fresh attempt keeps signals and effects, and nothing else (workloads 14.5)."""
    status = server.step_run["status"]
    kept = {key: status[key] for key in ("signals", "signalEvents", "effects") if key in status}
    server.step_run["status"] = kept | {"phase": "Running", "retries": retries}
    for claim in server.claims.values():
        for key in ("acquireTime", "renewTime"):
            if key in claim["spec"]:
                earlier = datetime.fromisoformat(claim["spec"][key]) - timedelta(seconds=delay)
                claim["spec"][key] = micro_time(earlier.timestamp())


def _class_of(code: int) -> str:
    if code == 0:
        return "success"
    return "retry" if code == 124 or code >= 128 else "terminal"


def _raise(error: Exception) -> NoReturn:
    raise error
