"""The life of a step's process: environment in, function, status patch out, exit code.

SIGTERM and the step's time limit interrupt the function by an exception, in whatever it is waiting for, and give it
time to clean up. What has not ended by then is reported as interrupted all the same, and the process ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from bobrapet.sdk.codec import decode, encode
from bobrapet.sdk.context import Context
from bobrapet.sdk.ending import Ending
from bobrapet.sdk.environment import Environment, identity
from bobrapet.sdk.errors import (
    ComponentFault,
    ConfigInvalid,
    EnvironmentInvalid,
    InputInvalid,
    Interrupted,
)
from bobrapet.sdk.interrupts import Interrupts, ProcessInterrupts, raised
from bobrapet.sdk.link import Link
from bobrapet.sdk.log import Log, adopt_standard_logging
from bobrapet.sdk.object_refs import resolve_object_refs
from bobrapet.sdk.outcome import Outcome, Succeeded, failure
from bobrapet.sdk.step_run_api import ComponentApi
from bobrapet.sdk.storage import StepStorage
from bobrapet.sdk.templating import evaluate_left_over

if TYPE_CHECKING:
    from bobrapet.sdk.engram import Engram

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
    ending = Ending(environment, log, link, storage, grace=component.about.grace)
    try:
        if broken is not None:
            log.error("the step cannot start", error=str(broken))
            return ending.reported(failure(broken))
        adopt_standard_logging(log, debug=environment.debug)
        delivery = interrupts(environment) if interrupts else ProcessInterrupts(environment.timeout)
        if interrupts is None:
            delivery.on_delivery = ending.expect
        running = _Step(component, environ, environment, log, link, storage, delivery)
        return ending.reported(running.outcome())
    finally:
        link.close()


class _Step:
    """The function and everything around it: from the environment to its outcome."""

    def __init__(
        self,
        component: Engram[..., Any],
        environ: Mapping[str, str],
        environment: Environment,
        log: Log,
        link: Link,
        storage: StepStorage,
        interrupts: Interrupts,
    ) -> None:
        self._component = component
        self._environ = environ
        self._environment = environment
        self._log = log
        self._link = link
        self._storage = storage
        self._interrupts = interrupts

    def outcome(self) -> Outcome:
        """Runs the function; never raises, except for KeyboardInterrupt and the like."""
        log = self._log
        try:
            return Succeeded(self._output())
        except Interrupted as error:
            log.warning("interrupted", reason=str(error))
            return failure(error, secrets=log.hidden)
        except ComponentFault as error:
            log.error("failed", error=str(error), type=error.type)
            return failure(error, secrets=log.hidden)
        except Exception as error:
            failed = failure(error, secrets=log.hidden)
            log.error("failed", **_diagnosis(error, failed.error))
            return failed

    def _output(self) -> dict[str, Any]:
        with self._interrupts as interrupts:
            signature = self._component.signature()
            context = self._context(signature.config_type) if signature.context else None
            arguments: dict[str, Any] = {}
            if signature.context:
                arguments[signature.context] = context
            if signature.input:
                inputs = self._resolved(self._environment.inputs, "input", InputInvalid)
                arguments[signature.input] = decode(inputs, signature.input_type, what="input", fault=InputInvalid)
                del inputs
            if self._component.is_async:
                result = _run_coroutine(lambda: self._component.function(**arguments), interrupts)
            else:
                result = self._component.function(**arguments)
            arguments.clear()  # what came in may be large, and makes room for what goes out
            offload = self._storage.offload if self._storage.is_configured else None
            output = encode(result, signature.output_type, offload)
            interrupts.settle()
        if context is not None:
            context.flush()
        return output

    def _context(self, config_type: Any) -> Context[Any]:
        environment = self._environment
        config = self._resolved(environment.config, "config", ConfigInvalid)
        return Context(
            # It may hold texts from BUBU_CONFIG_*, so numbers and booleans are read from texts too.
            config=decode(config, config_type, what="config", fault=ConfigInvalid, strict=False),
            secrets=environment.secrets,
            step=environment.step,
            log=self._log,
            timeout=environment.timeout,
            limits=environment.limits,
            link=self._link,
            interrupts=self._interrupts,
            storage=self._storage,
        )

    def _resolved(self, value: Mapping[str, Any], what: str, fault: type[ComponentFault]) -> Mapping[str, Any]:
        """Inputs or configuration with everything in its place: templates first, since stored data is not evaluated."""
        value = evaluate_left_over(value, self._environ, self._storage.resolve, what=what, fault=fault)
        value = resolve_object_refs(value, self._link, self._log)
        return self._storage.resolve(value)


def _diagnosis(error: Exception, structured: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the log line: an error that the component raised on purpose needs no traceback."""
    fields = {"error": structured["message"], "exitClass": structured["exitClass"]}
    if "code" in structured:
        return fields | {"code": structured["code"]}
    import traceback  # only a bug needs it

    return fields | {"traceback": "".join(traceback.format_exception(error))}


def _run_coroutine(begin: Callable[[], Coroutine[Any, Any, Any]], interrupts: Interrupts) -> Any:
    interruption: list[Interrupted] = []
    early: list[Interrupted] = []
    heard: Callable[[Interrupted], object] = early.append  # a loop that is only half made is not torn apart

    async def main() -> Any:
        nonlocal heard
        loop = asyncio.get_running_loop()
        task = loop.create_task(begin())

        def interrupt(error: Interrupted) -> None:
            interruption.append(error)
            task.cancel()

        def to_the_loop(error: Interrupted) -> None:
            loop.call_soon_threadsafe(interrupt, error)

        heard = to_the_loop
        if early:
            interrupt(early[0])
        try:
            return await task
        finally:
            heard = raised

    with interrupts.delivered_to(lambda error: heard(error)):
        import asyncio  # a synchronous component does not pay for it

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
