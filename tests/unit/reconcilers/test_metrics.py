"""Requirements on the operator's own series (spec admission-and-config C1)."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import Counter, Gauge, Histogram

from bobrapet.api import StoryRun
from bobrapet.config.operator import OperatorConfig, parse
from bobrapet.reconcilers import series
from bobrapet.reconcilers.labelvalues import OTHER, LabelValues
from bobrapet.reconcilers.metrics import Meter
from bobrapet.runtime.errors import Conflict, ConnectionFailed, Forbidden, NotFound
from bobrapet.runtime.metrics import REGISTRY
from bobrapet.runtime.reconcile import Func, Request
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template
from tests.unit.reconcilers.test_step_cache import BUCKET, Memory
from tests.unit.reconcilers.world import World

RETRY = {"retry": {"maxRetries": 1, "delay": "1s"}}


@pytest.fixture(autouse=True)
def fresh_series() -> None:
    """The series live as long as the process; each test begins with none."""
    for metric in vars(series).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            metric.clear()


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"bobrapet_{name}", labels)


def world(*steps: Any, config: OperatorConfig | None = None, name: str = "etl", **spec: Any) -> World:
    return World(template(), engram(), story(*steps, name=name, **spec), storyrun(story=name), config=config)


async def test_phases_and_durations_of_runs_and_steps_are_counted() -> None:
    found = world(step("fetch"))
    await found.settle()
    await found.sleep(7)
    await found.component_reports("run1-fetch", phase="Succeeded", output={"n": 1})
    await found.settle()
    for name, labels in (
        ("stepruns_total", {"namespace": NAMESPACE, "engram": "http", "phase": "Running"}),
        ("stepruns_total", {"namespace": NAMESPACE, "engram": "http", "phase": "Succeeded"}),
        ("storyruns_total", {"namespace": NAMESPACE, "story": "etl", "phase": "Running"}),
        ("storyruns_total", {"namespace": NAMESPACE, "story": "etl", "phase": "Succeeded"}),
        ("child_stepruns_created_total", {"namespace": NAMESPACE, "storyrun": "run1", "engram": "http"}),
        ("job_execution_total", {"namespace": NAMESPACE, "image": "example/http:1", "result": "success"}),
    ):
        assert value(name, **labels) == 1, (name, labels)
    labels = {"namespace": NAMESPACE, "engram": "http", "phase": "Succeeded"}
    assert value("steprun_duration_seconds_sum", **labels) == pytest.approx(7, abs=0.1)
    assert value("steprun_duration_seconds_bucket", le="5.0", **labels) == 0
    assert value("steprun_duration_seconds_bucket", le="15.0", **labels) == 1
    labels = {"namespace": NAMESPACE, "story": "etl", "phase": "Succeeded"}
    assert value("storyrun_duration_seconds_count", **labels) == 1
    assert value("storyrun_window_seconds", namespace=NAMESPACE, story="etl", window="retention") == 86_400


async def test_retries_are_counted_by_exit_class_even_when_metrics_are_off() -> None:
    found = world(step("fetch", execution=RETRY), config=parse({"debug.enable-metrics": "false"}).config)
    await found.settle()
    await found.component_reports("run1-fetch", phase="Failed", exitClass="rateLimited", exitCode=1)
    await found.settle()
    assert value("steprun_retries_total", namespace=NAMESPACE, engram="http", reason="rateLimited") == 1
    assert value("stepruns_total", namespace=NAMESPACE, engram="http", phase="Running") is None


async def test_b33_the_gauges_of_steps_are_sums_over_open_runs_and_forget_those_that_end() -> None:
    found = world(step("a"), step("b"), step("c", "a"))
    await found.client.create(StoryRun.model_validate(storyrun("run2")))
    await found.settle()
    assert value("storyrun_steps_active", namespace=NAMESPACE, story="etl") == 4
    await found.component_reports("run1-a", phase="Succeeded")
    await found.settle()
    assert value("storyrun_steps_active", namespace=NAMESPACE, story="etl") == 4
    assert value("storyrun_steps_completed", namespace=NAMESPACE, story="etl") == 1
    for name in ("run1-b", "run1-c"):
        await found.component_reports(name, phase="Succeeded")
        await found.settle()
    assert value("storyrun_steps_active", namespace=NAMESPACE, story="etl") == 2
    assert value("storyrun_steps_completed", namespace=NAMESPACE, story="etl") == 0


async def test_waiting_for_a_slot_shows_as_depth_and_then_as_age() -> None:
    found = world(step("a"), step("b"), policy={"concurrency": 1})
    await found.settle()
    assert value("storyrun_queue_depth", namespace=NAMESPACE, storyrun="run1", queue="default") == 1
    await found.sleep(20)
    await found.component_reports("run1-a", phase="Succeeded")
    await found.settle()
    assert value("storyrun_queue_depth", namespace=NAMESPACE, storyrun="run1", queue="default") is None
    assert value("storyrun_queue_age_seconds_sum", namespace=NAMESPACE, queue="default") == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (NotFound("x"), "not_found"),
        (Conflict("x"), "conflict"),
        (TimeoutError("x"), "timeout"),
        (ConnectionFailed("x"), "connection"),
        (Forbidden("x"), "permission"),
        (ValueError("the conflict is in the text only"), "unknown"),
    ],
)
async def test_passes_are_counted_with_the_class_of_their_error(error: Exception, word: str) -> None:
    async def fails(_request: Request) -> None:
        raise error

    meter = Meter(OperatorConfig)
    with pytest.raises(type(error)):
        await meter.metered("steprun", Func(fails)).reconcile(Request("n", "x"))
    assert value("controller_reconcile_total", controller="steprun", result="error") == 1
    assert value("controller_reconcile_errors_total", controller="steprun", error_type=word) == 1
    assert value("controller_reconcile_duration_seconds_count", controller="steprun") == 1


async def test_objects_of_the_runner_identity_are_counted() -> None:
    found = world(step("fetch"))
    await found.settle()
    for resource in ("serviceaccount", "role", "rolebinding"):
        assert value("storyrun_rbac_operations_total", resource=resource, operation="created") == 1


async def test_b33_series_that_carry_the_name_of_a_run_go_with_the_run() -> None:
    found = world(step("fetch"))
    await found.settle()
    name = {"namespace": NAMESPACE, "storyrun": "run1"}
    assert value("child_stepruns_created_total", engram="http", **name) == 1
    found.forget("storyruns", "run1")
    await found.storyruns.reconcile(Request(NAMESPACE, "run1"))
    assert value("child_stepruns_created_total", engram="http", **name) is None
    told = {sample.labels.get("storyrun") for family in REGISTRY.collect() for sample in family.samples}
    assert told == {None}


async def test_looks_into_the_cache_are_counted_by_what_they_found() -> None:
    cached = step("fetch", with_={"url": "u"}, execution={"cache": {"mode": "readWrite"}})
    found = World(template(), engram(), story(cached, policy={"storage": BUCKET}), storyrun(), outputs=Memory())
    await found.settle()
    await found.component_reports("run1-fetch", phase="Succeeded", output={"n": 1})
    await found.settle()
    await found.client.create(StoryRun.model_validate(storyrun("run2")))
    await found.settle()
    for result in ("miss", "hit"):
        assert value("steprun_cache_lookups_total", namespace=NAMESPACE, engram="http", result=result) == 1


async def test_evaluations_are_counted_and_timed_by_where_the_template_stands() -> None:
    is_ok = "{{ steps.fetch.output.ok }}"
    found = world(step("fetch"), step("next", if_=is_ok, with_={"a": "{{ inputs.a | fail }}"}), step("last", if_=is_ok))
    hits = value("cel_cache_hits_total", cache_type="template")
    await found.settle()
    await found.component_reports("run1-fetch", phase="Succeeded", exitClass="success", output={"ok": True})
    await found.job_ends("run1-fetch", "Complete", exit_code=0)
    await found.settle()
    assert value("cel_evaluation_total", expression_type="if", result="success") == 2
    assert value("cel_evaluation_duration_seconds_count", expression_type="if") == 2
    assert value("cel_evaluation_total", expression_type="with", result="error") == 1
    assert hits is not None
    assert (value("cel_cache_hits_total", cache_type="template") or 0) > hits


async def test_runs_stories_and_engrams_beyond_the_limit_share_one_series() -> None:
    found = world(step("fetch"))
    found.storyruns._meter = Meter(lambda: found.config, max_runs=2, max_names=1)
    for number in (2, 3, 4):
        await found.client.create(StoryRun.model_validate(storyrun(f"run{number}")))
    await found.settle()
    made = {
        sample.labels["storyrun"]: sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "bobrapet_child_stepruns_created_total"
    }
    assert sorted(made.values()) == [1, 1, 2]
    assert made[OTHER] == 2


async def test_a_run_that_is_gone_makes_room_for_the_name_of_another() -> None:
    names = LabelValues(1)
    assert [names.of("n", "a"), names.of("n", "b"), names.of("n", "a")] == ["a", OTHER, "a"]
    names.forget("n", "a")
    assert names.of("n", "b") == "b"


async def test_the_depth_of_runs_beyond_the_limit_is_their_sum() -> None:
    found = world(step("a"), step("b"), policy={"concurrency": 1})
    found.storyruns._meter = Meter(lambda: found.config, max_runs=0)
    await found.client.create(StoryRun.model_validate(storyrun("run2")))
    await found.settle()
    other = {"namespace": NAMESPACE, "storyrun": OTHER, "queue": "default"}
    before = value("storyrun_queue_depth", **other)
    assert before is not None
    assert before >= 2
    found.forget("storyruns", "run2")
    await found.storyruns.reconcile(Request(NAMESPACE, "run2"))
    after = value("storyrun_queue_depth", **other)
    assert after is not None
    assert after < before
