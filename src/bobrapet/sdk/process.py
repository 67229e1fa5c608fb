"""The life of a step's process: environment in, function, status patch out, exit code.

SIGTERM and the step's time limit interrupt the function by an exception, in whatever it is waiting for. Code that never
comes back to the interpreter cannot be interrupted so; the engine kills the pod at the same limit.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

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
from bobrapet.sdk.interrupts import Interrupts
from bobrapet.sdk.log import Log, adopt_standard_logging
from bobrapet.sdk.outcome import EXIT_UNREPORTED, Failed, Outcome, Succeeded, failure, status_patch
from bobrapet.sdk.report import Fenced, Reporter, ReportError, ReportTooLarge

if TYPE_CHECKING:
    from bobrapet.sdk.engram import Engram, Signature

EXIT_NOT_A_STEP = 2

Report = Callable[[Mapping[str, Any]], None]
"""Merges a status into the StepRun; raises ReportError."""


def run_step(
    component: Engram[..., Any],
    environ: Mapping[str, str] = os.environ,
    report: Report | None = None,
) -> int:
    """Runs `component` as the step that `environ` describes. Returns the process's exit code.

    `report` replaces the API server, for tests.
    """
    try:
        step = identity(environ)
    except EnvironmentInvalid as error:
        print(f"{component.name}: {error}", file=sys.stderr)
        return EXIT_NOT_A_STEP
    try:
        environment = Environment.from_environ(environ)
    except EnvironmentInvalid as error:
        environment = Environment(step=step, started_at=environ.get("BUBU_STARTED_AT", ""))
        outcome: Outcome = failure(error)
        log = Log(step)
        log.error("the step cannot start", error=str(error))
    else:
        hidden = tuple(value for secret in environment.secrets.values() for value in secret.values())
        log = Log(step, debug=environment.debug, secrets=hidden)
        adopt_standard_logging(log, debug=environment.debug)
        outcome = _run(component, environment, log, hidden)
    return _report(outcome, environment, log, report or _reporter(environment, environ))


def _run(component: Engram[..., Any], environment: Environment, log: Log, hidden: tuple[str, ...]) -> Outcome:
    """The function's outcome; never raises, except for KeyboardInterrupt and the like."""
    try:
        with Interrupts(environment.timeout) as interrupts:
            arguments = _arguments(component.signature(), environment, log)
            if component.is_async:
                result = _run_coroutine(component.function(**arguments), interrupts)
            else:
                result = component.function(**arguments)
            interrupts.settle()
        return Succeeded(encode(result))
    except Interrupted as error:
        log.warning("interrupted", reason=str(error))
        return failure(error, secrets=hidden)
    except ComponentFault as error:
        log.error("failed", error=str(error), type=error.type)
        return failure(error, secrets=hidden)
    except Exception as error:
        outcome = failure(error, secrets=hidden)
        log.error("failed", **_diagnosis(error, outcome.error))
        return outcome


def _arguments(signature: Signature, environment: Environment, log: Log) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if signature.context:
        # Configuration may hold texts from BUBU_CONFIG_*, so numbers and booleans are read from texts too.
        arguments[signature.context] = Context(
            config=decode(environment.config, signature.config_type, what="config", fault=ConfigInvalid, strict=False),
            secrets=environment.secrets,
            step=environment.step,
            log=log,
            timeout=environment.timeout,
        )
    if signature.input:
        arguments[signature.input] = decode(environment.inputs, signature.input_type, what="input", fault=InputInvalid)
    return arguments


def _diagnosis(error: Exception, structured: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the log line: an error that the component raised on purpose needs no traceback."""
    fields = {"error": structured["message"], "exitClass": structured["exitClass"]}
    if "code" in structured:
        return fields | {"code": structured["code"]}
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


def _reporter(environment: Environment, environ: Mapping[str, str]) -> Report:
    """Connects when there is something to say: until then the component has the processor for itself."""

    def report(status: Mapping[str, Any]) -> None:
        from bobrapet.sdk.api_client import HttpStepRunApi
        from bobrapet.sdk.credentials import find_credentials

        api = HttpStepRunApi(find_credentials(environ), environment.step, timeout=environment.request_timeout)
        try:
            Reporter(
                api, environment.step, retries=environment.patch_retries, budget=environment.operation_timeout
            ).report(status)
        finally:
            api.close()

    return report


def _report(outcome: Outcome, environment: Environment, log: Log, report: Report) -> int:
    try:
        report(status_patch(outcome, started_at=environment.started_at))
    except ReportTooLarge as error:
        smaller = failure(OutputInvalid(f"the API server refuses the output: {error}", code="OUTPUT_TOO_LARGE"))
        return EXIT_UNREPORTED if isinstance(outcome, Failed) else _report(smaller, environment, log, report)
    except Fenced as error:
        log.warning("the result is dropped", reason=str(error))
        return outcome.exit_code
    except (ReportError, EnvironmentInvalid) as error:
        log.error("the result could not be written to the StepRun", error=str(error))
        return EXIT_UNREPORTED if outcome.retryable else outcome.exit_code
    return outcome.exit_code
