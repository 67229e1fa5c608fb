"""The life of a step's process: environment in, function, status patch out, exit code.

SIGTERM and the step's time limit interrupt the function by an exception, in whatever it is waiting for, and give it
time to clean up. What has not ended by then is reported as interrupted all the same, and the process ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any, TextIO

from bobrapet.sdk.codec import decode, encode
from bobrapet.sdk.context import Context
from bobrapet.sdk.environment import Environment, identity
from bobrapet.sdk.errors import (
    ComponentFault,
    ConfigInvalid,
    EnvironmentInvalid,
    InputInvalid,
    Interrupted,
    OutputInvalid,
)
from bobrapet.sdk.interrupts import Interrupts, ProcessInterrupts
from bobrapet.sdk.link import Link
from bobrapet.sdk.log import Log, adopt_standard_logging
from bobrapet.sdk.object_refs import resolve_object_refs
from bobrapet.sdk.outcome import EXIT_UNREPORTED, Failed, Outcome, Succeeded, failure, status_patch
from bobrapet.sdk.report import Fenced, ReportError, ReportTooLarge
from bobrapet.sdk.step_run_api import ComponentApi
from bobrapet.sdk.storage import StepStorage
from bobrapet.sdk.templating import evaluate_left_over

if TYPE_CHECKING:
    from bobrapet.sdk.engram import Engram, Signature

EXIT_NOT_A_STEP = 2

Connect = Callable[[], ComponentApi]


def run_step(
    component: Engram[..., Any],
    environ: Mapping[str, str] = os.environ,
    *,
    connect: Connect | None = None,
    interrupts: Callable[[Environment], Interrupts] | None = None,
    log_to: TextIO | None = None,
) -> int:
    """Runs `component` as the step that `environ` describes. Returns the process's exit code.

    `connect` replaces the API server, `interrupts` the signals of the process, `log_to` stderr: for tests.
    """
    try:
        step = identity(environ)
    except EnvironmentInvalid as error:
        print(f"{component.name}: {error}", file=sys.stderr)
        return EXIT_NOT_A_STEP
    broken: EnvironmentInvalid | None = None
    try:
        environment = Environment.from_environ(environ)
    except EnvironmentInvalid as error:
        environment, broken = Environment(step=step, started_at=environ.get("BUBU_STARTED_AT", "")), error
    secrets = (value for secret in environment.secrets.values() for value in secret.values())
    log = Log(step, debug=environment.debug, secrets=secrets, stream=log_to)
    link = Link(
        connect or _connector(environment, environ),
        step,
        retries=environment.patch_retries,
        budget=environment.operation_timeout,
    )
    storage = StepStorage(environ, step)
    if storage.is_configured:
        log.keep_lines()
    ending = _Ending(environment, log, link, component.about.grace, storage)
    try:
        if broken is not None:
            log.error("the step cannot start", error=str(broken))
            return ending.reported(failure(broken))
        adopt_standard_logging(log, debug=environment.debug)
        delivery = interrupts(environment) if interrupts else ProcessInterrupts(environment.timeout)
        if interrupts is None:
            delivery.on_delivery = ending.expect
        return ending.reported(_run(component, environment, log, link, delivery, storage, environ))
    finally:
        link.close()


def _run(
    component: Engram[..., Any],
    environment: Environment,
    log: Log,
    link: Link,
    interrupts: Interrupts,
    storage: StepStorage,
    environ: Mapping[str, str],
) -> Outcome:
    """The function's outcome; never raises, except for KeyboardInterrupt and the like."""
    try:
        with interrupts:
            signature = component.signature()
            context = _context(signature, environment, log, link, interrupts, storage, environ)
            arguments = _arguments(signature, environment, context, storage, environ, link, log)
            if component.is_async:
                result = _run_coroutine(component.function(**arguments), interrupts)
            else:
                result = component.function(**arguments)
            arguments.clear()  # what came in may be large, and makes room for what goes out
            offload = storage.offload if storage.is_configured else None
            output = encode(result, signature.output_type, offload)
            interrupts.settle()
        if context is not None:
            context.flush()
        return Succeeded(output)
    except Interrupted as error:
        log.warning("interrupted", reason=str(error))
        return failure(error, secrets=log.hidden)
    except ComponentFault as error:
        log.error("failed", error=str(error), type=error.type)
        return failure(error, secrets=log.hidden)
    except Exception as error:
        outcome = failure(error, secrets=log.hidden)
        log.error("failed", **_diagnosis(error, outcome.error))
        return outcome


def _context(
    signature: Signature,
    environment: Environment,
    log: Log,
    link: Link,
    interrupts: Interrupts,
    storage: StepStorage,
    environ: Mapping[str, str],
) -> Context[Any] | None:
    if not signature.context:
        return None
    # Configuration may hold texts from BUBU_CONFIG_*, so numbers and booleans are read from texts too.
    left = evaluate_left_over(environment.config, environ, storage.resolve, what="config", fault=ConfigInvalid)
    config = storage.resolve(resolve_object_refs(left, link, log))
    return Context(
        config=decode(config, signature.config_type, what="config", fault=ConfigInvalid, strict=False),
        secrets=environment.secrets,
        step=environment.step,
        log=log,
        timeout=environment.timeout,
        limits=environment.limits,
        link=link,
        interrupts=interrupts,
        storage=storage,
    )


def _arguments(
    signature: Signature,
    environment: Environment,
    context: Context[Any] | None,
    storage: StepStorage,
    environ: Mapping[str, str],
    link: Link,
    log: Log,
) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if signature.context:
        arguments[signature.context] = context
    if signature.input:
        left = evaluate_left_over(environment.inputs, environ, storage.resolve, what="input", fault=InputInvalid)
        inputs = storage.resolve(resolve_object_refs(left, link, log))
        arguments[signature.input] = decode(inputs, signature.input_type, what="input", fault=InputInvalid)
    return arguments


def _diagnosis(error: Exception, structured: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the log line: an error that the component raised on purpose needs no traceback."""
    fields = {"error": structured["message"], "exitClass": structured["exitClass"]}
    if "code" in structured:
        return fields | {"code": structured["code"]}
    import traceback  # only a bug needs it

    return fields | {"traceback": "".join(traceback.format_exception(error))}


def _run_coroutine(coroutine: Coroutine[Any, Any, Any], interrupts: Interrupts) -> Any:
    import asyncio  # a synchronous component does not pay for it

    interruption: list[Interrupted] = []

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        task = loop.create_task(coroutine)

        def interrupt(error: Interrupted) -> None:
            interruption.append(error)
            task.cancel()

        with interrupts.delivered_to(lambda error: loop.call_soon_threadsafe(interrupt, error)):
            return await task

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if interruption:
            raise interruption[0] from None
        raise


def _connector(environment: Environment, environ: Mapping[str, str]) -> Connect:
    def connect() -> ComponentApi:
        from bobrapet.sdk.api_client import HttpComponentApi
        from bobrapet.sdk.credentials import find_credentials

        return HttpComponentApi(
            find_credentials(environ),
            environment.step,
            timeout=environment.request_timeout,
            user_agent=environment.user_agent,
        )

    return connect


class _Ending:
    """Reports the result, once: the component's own, or the interruption that it did not heed in time."""

    def __init__(
        self,
        environment: Environment,
        log: Log,
        link: Link,
        grace: float,
        storage: StepStorage,
    ) -> None:
        self._storage = storage
        self._grace = grace
        self._environment = environment
        self._log = log
        self._link = link
        self._lock = Lock()
        self._deadline: Timer | None = None

    def expect(self, error: Interrupted) -> None:
        """Called with an interruption as it is delivered: from here the time to clean up runs."""
        if self._deadline is None:
            self._deadline = Timer(self._grace, self._give_up, [error])
            self._deadline.daemon = True
            self._deadline.start()

    def reported(self, outcome: Outcome) -> int:
        """The exit code of the process after `outcome` has been written, or could not be."""
        self._lock.acquire()  # and never released: who reports first also ends the process
        if self._deadline is not None:
            self._deadline.cancel()
        return self._write(outcome, self._link, self._saved_log())

    def _saved_log(self) -> dict[str, Any]:
        """The part of the status that tells where the log is; empty without a store, or when that fails."""
        lines = self._log.kept_lines
        if not lines:
            return {}
        try:
            return {"logs": self._storage.save_log(lines)}
        except (ComponentFault, OSError) as error:
            self._log.warning("the log could not be stored", error=str(error))
            return {}

    def _give_up(self, error: Interrupted) -> None:
        """In a thread: the function still runs, and the process must end before it is killed without a word."""
        if not self._lock.acquire(blocking=False):
            return
        self._log.error("the component did not end in time", interruption=str(error), graceSeconds=self._grace)
        link = Link(self._link.connect, self._link.step, budget=5.0)
        code = self._write(failure(error, secrets=self._log.hidden), link)
        sys.stderr.flush()
        os._exit(code)

    def _write(self, outcome: Outcome, link: Link, more: Mapping[str, Any] | None = None) -> int:
        try:
            link.report({**status_patch(outcome, started_at=self._environment.started_at), **(more or {})})
        except ReportTooLarge as error:
            smaller = failure(OutputInvalid(f"the API server refuses the output: {error}", code="OUTPUT_TOO_LARGE"))
            return EXIT_UNREPORTED if isinstance(outcome, Failed) else self._write(smaller, link, more)
        except Fenced as error:
            self._log.warning("the result is dropped", reason=str(error))
            return outcome.exit_code
        except (ReportError, EnvironmentInvalid) as error:
            self._log.error("the result could not be written to the StepRun", error=str(error))
            return EXIT_UNREPORTED if outcome.retryable else outcome.exit_code
        return outcome.exit_code
