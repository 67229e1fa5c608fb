"""Traces of runs and reconciles, sent by OTLP (spec admission-and-config C2).

    StoryRun            from its start to its end; its trace is the run's uid (api.tracing)
    └── StepRun         the same for each step; a component finds this span in TRACEPARENT
    StoryRunReconciler.Reconcile, StepRunReconciler.Reconcile    one pass; log lines inside carry its ids
    ├── StepExecutor.Execute      one step or child run is started
    └── storage.*                 payloads are read from or written to a store

`telemetry.enabled` switches it, also while the manager runs. Off, nothing of OpenTelemetry is imported.
`telemetry.trace-propagation` makes W3C Trace Context and Baggage what libraries in this process hand on. It needs the
extra `otel`, whose own variables say where to and under which name (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES; OTEL_TRACES_EXPORTER=none sends nothing).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from bobrapet.api.enums import Phase
from bobrapet.api.tracing import span_id, trace_id
from bobrapet.engine.states import moment
from bobrapet.reconcilers.metrics import entered_phase
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.log.log import get_logger, with_fields
from bobrapet.runtime.reconcile import Reconciler, Request, Result

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from bobrapet.api import StepRun, StoryRun
    from bobrapet.config.operator import OperatorConfig
    from bobrapet.engine.plans import RunPlan, StepPlan
    from bobrapet.engine.snapshot import RunSnapshot, StepSnapshot

SERVICE: Final = "bobrapet-operator"
SPANS: Final = {"storyrun": "StoryRunReconciler.Reconcile", "steprun": "StepRunReconciler.Reconcile"}
STORAGE_TRACER: Final = "bobrapet/storage"
T = TypeVar("T")
_NEXT_IDS: ContextVar[tuple[int, int] | None] = ContextVar("next_span_ids", default=None)

log = get_logger("tracing")


class TracingUnavailable(ControllerRuntimeError):
    """Tracing is switched on and cannot be had."""


class Tracer:
    """Makes spans while tracing is on. One for each manager."""

    def __init__(
        self,
        config: Callable[[], OperatorConfig],
        *,
        provider: Callable[[], TracerProvider] | None = None,
        init_timeout: float = 10.0,
        shutdown_timeout: float = 5.0,
    ) -> None:
        """`provider`: where spans go; by default what the environment says. The others: seconds for setting it up when
        the manager starts, and for sending what is left at the end."""
        self._config = config
        self._make = provider or provider_of_environment
        self._provider: TracerProvider | None = None
        self._is_refused = False
        """It was switched on while the manager runs, and could not be had."""
        self._init_timeout = init_timeout
        self._shutdown_timeout = shutdown_timeout

    async def prepare(self) -> None:
        """Sets it up, if it is on. Raises `TracingUnavailable` now rather than in the middle of the work."""
        if not self._config().telemetry.enabled:
            return
        try:
            self._provider = await asyncio.wait_for(asyncio.to_thread(self._make), self._init_timeout)
        except TimeoutError as error:
            raise TracingUnavailable(f"tracing was not set up within {self._init_timeout:g} s") from error
        self._propagate()

    async def follow(self, changes: AsyncIterable[object]) -> None:
        """Sets it up or ends it, whichever the configuration says after each change, until cancelled; then ends it."""
        try:
            async for _ in changes:
                self._is_refused = False
                if not self._config().telemetry.enabled:
                    await self.close()
                elif self._tracer() is not None:
                    self._propagate()
        finally:
            await self.close()

    async def close(self) -> None:
        """Sends what is left."""
        provider, self._provider = self._provider, None
        if provider is not None:
            milliseconds = int(self._shutdown_timeout * 1000)
            await asyncio.to_thread(provider.force_flush, milliseconds)
            await asyncio.to_thread(provider.shutdown)
            log.info("tracing ended")

    def _propagate(self) -> None:
        from opentelemetry.baggage.propagation import W3CBaggagePropagator
        from opentelemetry.propagate import set_global_textmap
        from opentelemetry.propagators.composite import CompositePropagator
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        is_on = self._config().telemetry.trace_propagation
        set_global_textmap(
            CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()] if is_on else [])
        )

    def traced(self, controller: str, reconciler: Reconciler[Request]) -> Reconciler[Request]:
        """`reconciler` with a span around each pass, for the controllers that have one."""
        return _Traced(self, controller, reconciler) if controller in SPANS else reconciler

    def run_applied(self, snapshot: RunSnapshot, plan: RunPlan) -> None:
        """The span of a run, once it has ended."""
        run, status = snapshot.run, _status(plan.status)
        before, phase = run.status.phase, status.get("phase") or run.status.phase
        if phase is None or not Phase(phase).is_terminal or (before is not None and before.is_terminal):
            return
        names = {"namespace": run.metadata.namespace, "storyrun": run.metadata.name, "story": run.spec.story_ref.name}
        ids = (trace_id(run.metadata.uid or ""), span_id(run.metadata.uid or ""))
        self._ended("StoryRun", run, status, ids, None, phase, names)

    def step_applied(self, snapshot: StepSnapshot, plan: StepPlan) -> None:
        """The span of a step, once it has ended."""
        step, status = snapshot.step, _status(plan.status)
        phase = entered_phase(step, status)
        if not phase or not Phase(phase).is_terminal:
            return
        run_uid = _owner(step)
        trace = trace_id(run_uid)
        names = {
            "namespace": step.metadata.namespace,
            "storyrun": step.spec.story_run_ref.name,
            "steprun": step.metadata.name,
            "step": step.spec.step_id,
        }
        parent = (trace, span_id(run_uid))
        self._ended("StepRun", step, status, (trace, span_id(step.metadata.uid or "")), parent, phase, names)

    @contextmanager
    def executing(self, run: StoryRun, step: str, step_type: str, needs: int) -> Iterator[None]:
        """Around the creation of what runs a step."""
        tracer = self._tracer()
        if tracer is None:
            yield
            return
        attributes = {
            "namespace": run.metadata.namespace or "",
            "storyrun": run.metadata.name or "",
            "story": run.spec.story_ref.name or "",
            "step": step,
            "step_type": step_type,
            "needs.count": needs,
        }
        with tracer.start_as_current_span("StepExecutor.Execute", attributes=attributes):
            yield

    async def storage(self, name: str, attributes: Mapping[str, str], work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns; in a span `storage.<name>` that tells the size of it, or the error."""
        if self._tracer() is None or self._provider is None:
            return await work()
        event = "dehydrate" if name.startswith("Dehydrate") else "hydrate"
        tracer = self._provider.get_tracer(STORAGE_TRACER)
        with tracer.start_as_current_span(
            f"storage.{name}", attributes={"storage.enabled": True, **attributes}
        ) as span:
            try:
                result = await work()
            except Exception as error:
                span.add_event(f"{event}.error", {"error": str(error)})
                raise
            span.add_event(f"{event}.success", {"size_bytes": len(msgspec.json.encode(result, enc_hook=str))})
            return result

    def _ended(
        self,
        name: str,
        target: StepRun | StoryRun,
        status: Mapping[str, Any],
        ids: tuple[int, int],
        parent: tuple[int, int] | None,
        phase: str,
        attributes: Mapping[str, str | None],
    ) -> None:
        tracer = self._tracer()
        started = moment(status.get("startedAt") or target.status.started_at)
        finished = moment(status.get("finishedAt") or target.status.finished_at)
        if tracer is None or started is None or finished is None:
            return
        from opentelemetry import trace

        context = None
        if parent is not None:
            above = trace.SpanContext(*parent, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
            context = trace.set_span_in_context(trace.NonRecordingSpan(above))
        token = _NEXT_IDS.set(ids)
        try:
            span = tracer.start_span(name, context=context, start_time=_nanoseconds(started))
        finally:
            _NEXT_IDS.reset(token)
        span.set_attributes({key: value for key, value in attributes.items() if value} | {"phase": str(phase)})
        if phase not in (Phase.SUCCEEDED, Phase.FINISHED, Phase.SKIPPED):
            span.set_status(trace.StatusCode.ERROR, str(phase))
        span.end(_nanoseconds(finished))

    def _tracer(self) -> Any | None:
        """OpenTelemetry's tracer; None while tracing is off, or cannot be had."""
        if not self._config().telemetry.enabled or self._is_refused:
            return None
        if self._provider is None:
            try:
                self._provider = self._make()
            except TracingUnavailable as error:
                # Runs are worth more than their traces. A manager that starts this way does not start.
                self._is_refused = True
                log.error("tracing stays off", error=error)
                return None
        return self._provider.get_tracer("bobrapet")


class _Traced:
    def __init__(self, tracer: Tracer, controller: str, inner: Reconciler[Request]) -> None:
        self._tracer, self._controller, self._inner = tracer, controller, inner

    async def reconcile(self, request: Request) -> Result | None:
        tracer = self._tracer._tracer()
        if tracer is None:
            return await self._inner.reconcile(request)
        attributes = {"namespace": request.namespace, self._controller: request.name}
        with tracer.start_as_current_span(SPANS[self._controller], attributes=attributes) as span:
            context = span.get_span_context()
            with with_fields(traceID=f"{context.trace_id:032x}", spanID=f"{context.span_id:016x}"):
                result = await self._inner.reconcile(request)
            again = result is not None and bool(result.requeue_after)
            span.set_attribute("requeue", again)
            if again and result is not None:
                span.set_attribute("requeue_after", f"{result.requeue_after:g}s")
            return result


def provider_of_environment() -> TracerProvider:
    """Sends in batches by OTLP over gRPC. Raises `TracingUnavailable` without the packages of the extra `otel`."""
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingUnavailable(f"telemetry.enabled is true: install bobrapet[otel] ({error})") from error
    resource = Resource.create({} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE})
    provider = make_provider(resource)
    if os.environ.get("OTEL_TRACES_EXPORTER") != "none":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        log.info("tracing started", endpoint=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"))
    return provider


def make_provider(resource: Any = None) -> TracerProvider:
    """A provider whose spans may be given their ids; nothing is sent anywhere yet."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

    class GivenIds(IdGenerator):
        """Ids that were asked for, else random ones."""

        _random = RandomIdGenerator()

        def generate_trace_id(self) -> int:
            given = _NEXT_IDS.get()
            return given[0] if given is not None else self._random.generate_trace_id()

        def generate_span_id(self) -> int:
            given = _NEXT_IDS.get()
            return given[1] if given is not None else self._random.generate_span_id()

    return TracerProvider(resource=resource, id_generator=GivenIds(), shutdown_on_exit=False)


def _owner(step: StepRun) -> str:
    """The uid of the StoryRun that owns a step."""
    for owner in step.metadata.owner_references or ():
        if owner.kind == "StoryRun":
            return owner.uid or ""
    return step.spec.story_run_ref.name or ""


def _status(patch: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (patch or {}).get("status") or {}
    return found


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e9)
