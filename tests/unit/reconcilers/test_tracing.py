"""Traces of runs: what is in them, where their ids come from, and that they reach a collector."""

from __future__ import annotations

import dataclasses
import json
import logging
from concurrent import futures
from io import StringIO
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan
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
    exporter, lines = InMemorySpanExporter(), StringIO()
    provider = tracing.make_provider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = Tracer(lambda: ON, provider=lambda: provider)

    async def reconcile(_: Request) -> Result:
        log.get_logger("x").info("inside")
        return Result(requeue_after=2)

    before, handlers = dict(vars(log._state)), [*logging.getLogger().handlers]
    log.setup(stream=lines)
    try:
        await tracer.traced("storyrun", Func(reconcile)).reconcile(Request("n", "r"))
    finally:
        vars(log._state).update(before)
        logging.getLogger().handlers[:] = handlers
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
    tracer = Tracer(lambda: ON)

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
        Tracer(lambda: ON).prepare()


@pytest.mark.parametrize("uid", ["", "not a uuid", "0" * 32, UID])
def test_ids_are_never_zero_and_always_the_same(uid: str) -> None:
    assert 0 < trace_id(uid) < 2**128
    assert 0 < span_id(uid) < 2**64
    assert traceparent(uid, uid) == traceparent(uid, uid)
