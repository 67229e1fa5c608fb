"""Traces of runs: what is in them, where their ids come from, and that they reach a collector."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncIterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bobrapet.api import StoryRun
from bobrapet.api.tracing import span_id, trace_id, traceparent
from bobrapet.config.operator import OperatorConfig, parse
from bobrapet.reconcilers import tracing
from bobrapet.reconcilers.builtin import Job
from bobrapet.reconcilers.tracing import Tracer, TracingUnavailable
from bobrapet.runtime.log import log
from bobrapet.runtime.reconcile import Func, Request, Result
from tests.unit.logs import restored
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template
from tests.unit.reconcilers.world import World

ON = parse({"telemetry.enabled": "true", "telemetry.trace-propagation": "true"}).config
UID = "0123abcd-0000-4000-8000-00000000beef"


def traced_world(config: OperatorConfig = ON) -> tuple[World, InMemorySpanExporter]:
    run = StoryRun.model_validate(storyrun(story="etl"))
    run.metadata.uid = UID
    found = World(template(), engram(), story(step("fetch"), name="etl"), run, config=config)
    exporter = InMemorySpanExporter()
    provider = tracing.make_provider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = Tracer(lambda: found.config, provider=lambda: provider)
    for reconciler in (found.storyruns, found.stepruns):
        reconciler._operator = dataclasses.replace(reconciler._operator, tracer=tracer)
    return found, exporter


async def finish(found: World) -> None:
    await found.settle()
    await found.sleep(3)
    await found.component_reports("run1-fetch", phase="Succeeded")
    await found.settle()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    spans = exporter.get_finished_spans()
    assert len(spans) == len({span.name for span in spans}), "a run or step was told twice"
    return {span.name: span for span in spans}


async def test_a_run_is_one_trace_with_a_span_for_each_step() -> None:
    found, exporter = traced_world()
    await finish(found)
    spans = by_name(exporter)
    run, one = spans["StoryRun"], spans["StepRun"]
    assert run.context is not None
    assert one.context is not None
    assert run.context.trace_id == one.context.trace_id == int(UID.replace("-", ""), 16)
    assert run.parent is None
    assert one.parent is not None
    assert one.parent.span_id == run.context.span_id == span_id(UID)
    assert run.attributes is not None
    assert dict(run.attributes) == {"namespace": NAMESPACE, "storyrun": "run1", "story": "etl", "phase": "Succeeded"}
    assert run.start_time is not None
    assert run.end_time is not None
    assert run.end_time - run.start_time >= 3e9


async def test_a_component_finds_the_span_of_its_step() -> None:
    found, exporter = traced_world()
    await finish(found)
    (job,) = (await found.client.list(Job, namespace=NAMESPACE)).items
    variables = {
        each["name"]: each.get("value") for each in job.get("spec", "template", "spec", "containers")[0]["env"]
    }
    one = by_name(exporter)["StepRun"].context
    assert one is not None
    assert variables["TRACEPARENT"] == f"00-{one.trace_id:032x}-{one.span_id:016x}-01"


@pytest.mark.parametrize("data", [{}, {"telemetry.enabled": "false", "telemetry.trace-propagation": "true"}])
async def test_switched_off_there_is_no_span_and_no_variable(data: dict[str, str]) -> None:
    found, exporter = traced_world(parse(data).config)
    await finish(found)
    assert exporter.get_finished_spans() == ()
    (job,) = (await found.client.list(Job, namespace=NAMESPACE)).items
    assert "TRACEPARENT" not in json.dumps(job.object)


async def test_log_lines_of_a_traced_reconcile_carry_its_ids() -> None:
    exporter = InMemorySpanExporter()
    provider = tracing.make_provider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = Tracer(lambda: ON, provider=lambda: provider)

    async def reconcile(_: Request) -> Result:
        log.get_logger("x").info("inside")
        return Result(requeue_after=2)

    with restored() as lines:
        log.setup(stream=lines)
        await tracer.traced("storyrun", Func(reconcile)).reconcile(Request("n", "r"))
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert span.name == "StoryRunReconciler.Reconcile"
    assert span.attributes is not None
    assert dict(span.attributes) == {"namespace": "n", "storyrun": "r", "requeue": True, "requeue_after": "2s"}
    line = json.loads(lines.getvalue())
    assert (line["traceID"], line["spanID"]) == (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")


async def test_spans_reach_a_collector_by_otlp(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Any] = []

    class Collector(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            received.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "120")
    tracer = Tracer(lambda: ON, shutdown_timeout=120)

    async def reconcile(_: Request) -> Result:
        return Result()

    await tracer.traced("steprun", Func(reconcile)).reconcile(Request("n", "s"))
    await tracer.close()
    server.stop(None)
    (sent,) = received[0].resource_spans
    assert {"bobrapet-operator"} <= {each.value.string_value for each in sent.resource.attributes}
    assert sent.scope_spans[0].spans[0].name == "StepRunReconciler.Reconcile"


async def test_switched_on_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(TracingUnavailable, match=r"install bobrapet\[otel\]"):
        await Tracer(lambda: ON).prepare()


async def test_what_cannot_be_set_up_in_time_ends_the_start() -> None:
    stuck = threading.Event()

    def never() -> Any:
        stuck.wait(240)

    try:
        with pytest.raises(TracingUnavailable, match=r"not set up within 0\.01 s"):
            await Tracer(lambda: ON, provider=never, init_timeout=0.01).prepare()
    finally:
        stuck.set()


async def test_switched_on_while_it_runs_without_the_packages_reconciles_go_on() -> None:
    def missing() -> Any:
        raise TracingUnavailable("install it")

    async def reconcile(_: Request) -> Result:
        return Result(requeue_after=7)

    traced = Tracer(lambda: ON, provider=missing).traced("storyrun", Func(reconcile))
    assert await traced.reconcile(Request("n", "r")) == Result(requeue_after=7)


class Switch:
    """A configuration that changes while the manager runs."""

    def __init__(self) -> None:
        self.config = ON
        self.changes: asyncio.Queue[None] = asyncio.Queue()
        self.providers: list[Any] = []
        self.ended: list[Any] = []
        self.seen = asyncio.Event()
        self.tracer = Tracer(lambda: self.config, provider=self._provider, init_timeout=120)

    def _provider(self) -> Any:
        made = tracing.make_provider()
        made.add_span_processor(Ends(self, made))
        self.providers.append(made)
        return made

    async def set(self, **telemetry: str) -> None:
        self.config = parse({f"telemetry.{key.replace('_', '-')}": value for key, value in telemetry.items()}).config
        self.changes.put_nowait(None)
        await self.changes.join()

    async def follow(self) -> None:
        async def each() -> AsyncIterator[None]:
            while True:
                await self.changes.get()
                yield
                self.changes.task_done()

        await self.tracer.follow(each())


class Ends(SpanProcessor):
    def __init__(self, switch: Switch, provider: Any) -> None:
        self._switch, self._provider = switch, provider

    def shutdown(self) -> None:
        self._switch.ended.append(self._provider)


async def test_the_provider_ends_when_tracing_is_switched_off_and_another_begins_when_it_is_switched_on() -> None:
    switch = Switch()
    await switch.tracer.prepare()
    following = asyncio.create_task(switch.follow())
    await switch.set(enabled="false")
    assert switch.ended == switch.providers
    assert len(switch.ended) == 1
    await switch.set(enabled="true")
    assert len(switch.providers) == 2
    following.cancel()
    await asyncio.wait([following])
    assert switch.ended == switch.providers, "what is left is sent when the manager stops"


async def test_trace_context_and_baggage_are_handed_on_only_when_propagation_is_on() -> None:
    switch = Switch()
    span = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(1)))
    context = baggage.set_baggage("team", "a", trace.set_span_in_context(span))

    def handed_on() -> dict[str, str]:
        carrier: dict[str, str] = {}
        propagate.inject(carrier, context)
        return carrier

    before = propagate.get_global_textmap()
    following = asyncio.create_task(switch.follow())
    try:
        await switch.set(enabled="true", trace_propagation="true")
        assert handed_on() == {"traceparent": f"00-{1:032x}-{2:016x}-01", "baggage": "team=a"}
        await switch.set(enabled="true", trace_propagation="false")
        assert handed_on() == {}
    finally:
        following.cancel()
        await asyncio.wait([following])
        propagate.set_global_textmap(before)


async def test_starting_a_step_is_a_span_that_says_which() -> None:
    found, exporter = traced_world()
    await finish(found)
    span = by_name(exporter)["StepExecutor.Execute"]
    assert dict(span.attributes or {}) == {
        "namespace": NAMESPACE,
        "storyrun": "run1",
        "story": "etl",
        "step": "fetch",
        "step_type": "engram",
        "needs.count": 0,
    }


async def test_what_is_read_from_a_store_is_a_span_with_its_size_and_a_failure_with_its_reason() -> None:
    exporter = InMemorySpanExporter()
    provider = tracing.make_provider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = Tracer(lambda: ON, provider=lambda: provider)

    async def works() -> dict[str, int]:
        return {"a": 1}

    async def fails() -> None:
        raise OSError("away")

    assert await tracer.storage("Hydrate", {"storage.storyRunID": "r"}, works) == {"a": 1}
    with pytest.raises(OSError, match="away"):
        await tracer.storage("Dehydrate", {"storage.stepRunID": "s"}, fails)
    read, written = exporter.get_finished_spans()
    assert (read.name, dict(read.attributes or {})) == (
        "storage.Hydrate",
        {"storage.enabled": True, "storage.storyRunID": "r"},
    )
    assert [(event.name, dict(event.attributes or {})) for event in read.events] == [
        ("hydrate.success", {"size_bytes": 7})
    ]
    assert "dehydrate.error" in [event.name for event in written.events]
    assert not written.status.is_ok


@pytest.mark.parametrize("uid", ["", "not a uuid", "0" * 32, UID])
def test_ids_are_never_zero_and_always_the_same(uid: str) -> None:
    assert 0 < trace_id(uid) < 2**128
    assert 0 < span_id(uid) < 2**64
    assert traceparent(uid, uid) == traceparent(uid, uid)
