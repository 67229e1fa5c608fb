"""Templates, Engrams and Stories tell whether they are usable, and write only when that changes."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.api import (
    KINDS,
    Engram,
    EngramTemplate,
    Impulse,
    ImpulseTemplate,
    StepRun,
    Story,
    StoryRun,
    Transport,
    labels,
)
from bobrapet.api.crds import crd_manifests
from bobrapet.api.enums import StoryPattern
from bobrapet.api.story import StoryTransport
from bobrapet.config.operator import OperatorConfig
from bobrapet.reconcilers import indexes
from bobrapet.reconcilers.engram import EngramReconciler
from bobrapet.reconcilers.engramtemplate import EngramTemplateReconciler
from bobrapet.reconcilers.impulse import ImpulseReconciler
from bobrapet.reconcilers.impulsetemplate import ImpulseTemplateReconciler
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.story import StoryReconciler
from bobrapet.reconcilers.transport import TransportReconciler
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.reconcile import Request
from tests.unit.reconcilers.objects import NAMESPACE, Recorder, engram, step, story, storyrun, template


class Definitions:
    def __init__(self, *objects: Any) -> None:
        builder = ClientBuilder().with_types(*KINDS).with_crds(*crd_manifests()).with_objects(*objects)
        for cls, field, extract in indexes.INDEXES:
            builder = builder.with_index(cls, field, extract)
        self.client = builder.build()
        self.recorder = Recorder()
        operator = Operator(client=self.client, live=self.client, clock=FakeClock(), config=OperatorConfig)
        self.reconcilers = {
            EngramTemplate: EngramTemplateReconciler(operator),
            Engram: EngramReconciler(operator, self.recorder),
            Story: StoryReconciler(operator, self.recorder),
            Impulse: ImpulseReconciler(operator, self.recorder),
            ImpulseTemplate: ImpulseTemplateReconciler(operator),
            Transport: TransportReconciler(operator, self.recorder),
        }

    async def reconciled(self, cls: type[Any], name: str) -> Any:
        key = ObjectKey(NAMESPACE if cls.NAMESPACED else "", name)
        await self.reconcilers[cls].reconcile(Request(*key))
        return await self.client.get(cls, key)


def impulse_template(**spec: Any) -> dict[str, Any]:
    given = {"version": "1.0.0", "image": "example/hook:1", "supportedModes": ["deployment"], **spec}
    return _cluster("catalog.bubustack.io/v1alpha1", "ImpulseTemplate", "hook", given)


def impulse(name: str = "hook", **spec: Any) -> dict[str, Any]:
    given = {"templateRef": {"name": "hook"}, "storyRef": {"name": "etl"}, **spec}
    made = _cluster("bubustack.io/v1alpha1", "Impulse", name, given)
    made["metadata"]["namespace"] = NAMESPACE
    return made


def transport(**spec: Any) -> dict[str, Any]:
    given = {"provider": "livekit", "driver": "d", "supportedAudio": [{"name": "opus", "channels": 2}], **spec}
    return _cluster("transport.bubustack.io/v1alpha1", "Transport", "livekit", given)


def _cluster(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "generation": 1}, "spec": spec}


def streaming(*steps: dict[str, Any]) -> Any:
    made = story(*steps)
    made.spec.pattern = StoryPattern.STREAMING
    made.spec.transports = [StoryTransport(name="audio", transport_ref="livekit")]
    return made


def ready(obj: Any) -> tuple[str, str]:
    (found,) = (condition for condition in obj.status.conditions if condition.type == "Ready")
    return found.status, found.reason


@pytest.mark.spec("workloads-56")
async def test_a_template_without_image_and_version_reports_both_and_then_what_is_left() -> None:
    world = Definitions(template(image="", version=""))
    found = await world.reconciled(EngramTemplate, "http")
    assert found.status.validation_status == "invalid"
    assert {error.partition(":")[0] for error in found.status.validation_errors} == {"spec.image", "spec.version"}
    assert ready(found) == ("False", "ValidationFailed")
    found.spec.image = "example/http:1"
    await world.client.update(found)
    found = await world.reconciled(EngramTemplate, "http")
    assert [error.partition(":")[0] for error in found.status.validation_errors] == ["spec.version"]


async def test_a_template_with_schemas_that_do_not_compile_names_each() -> None:
    broken = template(inputSchema={"type": "nonsense"}, outputSchema={"properties": 3})
    errors = (await Definitions(broken).reconciled(EngramTemplate, "http")).status.validation_errors
    assert [error.partition("Schema")[0] for error in errors] == ["spec.input", "spec.output"]


async def test_a_template_counts_the_engrams_that_use_it_also_when_it_is_invalid() -> None:
    world = Definitions(template(image=""), engram("one", templateRef={"name": "http"}), engram("http"))
    assert (await world.reconciled(EngramTemplate, "http")).status.usage_count == 2


@pytest.mark.parametrize(
    ("cls", "name"),
    [(EngramTemplate, "http"), (Engram, "http"), (Story, "etl"), (ImpulseTemplate, "hook"), (Transport, "livekit")],
)
async def test_a_second_pass_writes_nothing(cls: type[Any], name: str) -> None:
    world = Definitions(template(), engram(), story(step("fetch")), impulse_template(), impulse(), transport())
    first = await world.reconciled(cls, name)
    assert first.status.validation_status == "valid"
    assert first.status.observed_generation == first.metadata.generation
    assert ready(first) == ("True", "ValidationPassed")
    assert (await world.reconciled(cls, name)).metadata.resource_version == first.metadata.resource_version


@pytest.mark.spec("workloads-58")
async def test_an_engram_without_template_is_invalid_until_the_template_appears() -> None:
    world = Definitions(engram())
    found = await world.reconciled(Engram, "http")
    assert found.status.validation_status == "invalid"
    assert found.status.validation_errors == ["spec.templateRef.name: EngramTemplate 'http' not found"]
    assert [reason for _, reason, _ in world.recorder.events] == ["TemplateNotFound"]
    await world.client.create(template())
    found = await world.reconciled(Engram, "http")
    assert (found.status.validation_status, list(found.status.validation_errors)) == ("valid", [])


async def test_an_engram_that_pins_another_version_says_which() -> None:
    world = Definitions(template(), engram(templateRef={"name": "http", "version": "2.0.0"}))
    (error,) = (await world.reconciled(Engram, "http")).status.validation_errors
    assert error.startswith("spec.templateRef.version")


async def test_zero_counters_of_an_engram_are_written() -> None:
    world = Definitions(template(), engram())
    status = (await world.reconciled(Engram, "http")).status
    assert (status.usage_count, status.triggers) == (0, 0)
    assert {"usage_count", "triggers"} <= status.model_fields_set


async def test_an_engram_counts_its_stories_and_executions_and_never_counts_down() -> None:
    steprun = {
        "apiVersion": StepRun.API_VERSION,
        "kind": "StepRun",
        "metadata": {"name": "run1-a", "namespace": NAMESPACE},
        "spec": {"storyRunRef": {"name": "run1"}, "stepId": "a", "engramRef": {"name": "http"}},
        "status": {"phase": "Timeout", "finishedAt": "2026-01-05T10:00:00Z", "retries": 0},
    }
    world = Definitions(template(), engram(), story(step("a"), finally_=[]), steprun)
    status = (await world.reconciled(Engram, "http")).status
    assert (status.usage_count, status.triggers, status.total_executions, status.failed_executions) == (1, 1, 1, 1)
    assert status.last_execution_time == "2026-01-05T10:00:00Z"
    await world.client.delete(await world.client.get(StepRun, ObjectKey(NAMESPACE, "run1-a")))
    assert (await world.reconciled(Engram, "http")).status.triggers == 1


async def test_a_story_names_what_it_refers_to_and_does_not_exist() -> None:
    branches = {"steps": [step("b", ref="absent-branch")]}
    world = Definitions(story(step("a", ref="absent"), {"name": "p", "type": "parallel", "with": branches}))
    found = await world.reconciled(Story, "etl")
    assert [error.partition(":")[0] for error in found.status.validation_errors] == [
        "spec.steps[0].ref.name",
        "spec.steps[1].with.steps[0].ref.name",
    ]
    assert found.status.steps_total == 2


async def test_a_story_with_a_circle_is_invalid() -> None:
    world = Definitions(template(), engram(), story(step("a", "b"), step("b", "a")))
    (error,) = (await world.reconciled(Story, "etl")).status.validation_errors
    assert "a, b" in error


@pytest.mark.spec("workloads-59")
@pytest.mark.spec("runs-94")
async def test_b34_a_story_counts_sixty_runs_in_one_pass_and_asks_for_no_other() -> None:
    world = Definitions(template(), engram(), story(step("a")), *(storyrun(f"run{n}") for n in range(60)))
    assert (await world.reconciled(Story, "etl")).status.triggers == 60
    result = await world.reconcilers[Story].reconcile(Request(NAMESPACE, "etl"))
    assert not result.requeue_after
    assert not result.requeue


async def test_a_finalizer_of_the_go_operator_does_not_keep_a_story() -> None:
    kept = story(step("a"))
    kept.metadata.finalizers = [labels.STORY_FINALIZER]
    world = Definitions(kept)
    await world.client.delete(kept)
    await world.reconcilers[Story].reconcile(Request(NAMESPACE, "etl"))
    assert (await world.client.list(Story)).items == []


@pytest.mark.spec("workloads-57")
async def test_an_impulse_template_that_supports_jobs_is_invalid_and_counts_its_impulses() -> None:
    world = Definitions(impulse_template(supportedModes=["deployment", "job"], contextSchema={"type": 5}), impulse())
    status = (await world.reconciled(ImpulseTemplate, "hook")).status
    assert status.validation_status == "invalid"
    assert [error.partition(":")[0] for error in status.validation_errors] == [
        "spec.supportedModes[1]",
        "spec.contextSchema",
    ]
    assert status.usage_count == 1


@pytest.mark.spec("workloads-60")
async def test_the_usage_count_of_a_story_follows_its_impulses() -> None:
    elsewhere = impulse("other", storyRef={"name": "another"})
    world = Definitions(template(), engram(), story(step("a")), impulse_template(), impulse(), elsewhere)
    assert (await world.reconciled(Story, "etl")).status.usage_count == 1
    await world.client.delete(await world.client.get(Impulse, ObjectKey(NAMESPACE, "hook")))
    assert (await world.reconciled(Story, "etl")).status.usage_count == 0


async def test_a_story_says_how_its_transports_are_used_and_that_one_is_missing() -> None:
    world = Definitions(template(supportedModes=["deployment"]), engram(), streaming(step("a")))
    status = (await world.reconciled(Story, "etl")).status
    (used,) = status.transports
    assert (used.name, used.transport_ref, used.mode, used.mode_reason) == (
        *("audio", "livekit", "hot", "streaming-default"),
    )
    assert status.validation_errors == ["spec.transports[0].transportRef: Transport 'livekit' not found"]
    assert [reason for _, reason, _ in world.recorder.events] == ["TransportReferenceInvalid"]
    await world.client.create(Transport.model_validate(transport()))
    assert (await world.reconciled(Story, "etl")).status.validation_status == "valid"


async def test_a_streaming_story_needs_engrams_that_keep_running() -> None:
    world = Definitions(template(), engram(), streaming(step("a")), transport())
    (error,) = (await world.reconciled(Story, "etl")).status.validation_errors
    assert error.startswith("spec.steps[0].ref.name: the Engram has mode job")
    assert [reason for _, reason, _ in world.recorder.events] == ["EngramReferenceInvalid"]


async def test_a_batch_story_cannot_wait_for_a_streaming_one() -> None:
    other = streaming(step("a"))
    other.metadata.name = "live"
    caller = story({"name": "call", "type": "executeStory", "with": {"storyRef": {"name": "live"}}})
    world = Definitions(template(supportedModes=["deployment"]), engram(), transport(), other, caller)
    (error,) = (await world.reconciled(Story, "etl")).status.validation_errors
    assert error.startswith("spec.steps[0].with.storyRef.name: story 'live' is streaming")
    assert [reason for _, reason, _ in world.recorder.events] == ["StoryReferenceInvalid"]


async def test_a_transport_offers_what_it_supports_and_counts_the_stories_that_declare_it() -> None:
    world = Definitions(transport(), streaming(step("a")))
    status = (await world.reconciled(Transport, "livekit")).status
    assert status.usage_count == 1
    assert [(codec.name, codec.channels) for codec in status.available_audio] == [("opus", 2)]


async def test_a_transport_without_capabilities_is_invalid() -> None:
    found = await Definitions(transport(supportedAudio=[])).reconciled(Transport, "livekit")
    assert found.status.validation_status == "invalid"
    assert ready(found) == ("False", "ValidationFailed")


@pytest.mark.spec("workloads-52")
async def test_an_impulse_is_blocked_until_its_template_and_story_appear_with_one_event_for_each() -> None:
    world = Definitions(impulse())
    found = await world.reconciled(Impulse, "hook")
    assert (found.status.phase, ready(found)) == ("Blocked", ("False", "SchedulingFailed"))
    assert [reason for _, reason, _ in world.recorder.events] == ["TemplateNotFound"]
    await world.reconciled(Impulse, "hook")
    assert len(world.recorder.events) == 1
    await world.client.create(ImpulseTemplate.model_validate(impulse_template()))
    assert (await world.reconciled(Impulse, "hook")).status.phase == "Blocked"
    assert [reason for _, reason, _ in world.recorder.events] == ["TemplateNotFound", "StoryNotFound"]
    await world.client.create(story(step("a")))
    found = await world.reconciled(Impulse, "hook")
    assert (found.status.phase, ready(found)) == ("Pending", ("False", "Reconciling"))
    assert (found.status.triggers_received, found.status.throttled_triggers) == (0, 0)


async def test_an_impulse_that_breaks_a_rule_has_failed() -> None:
    world = Definitions(impulse_template(), story(step("a")), impulse(storyRef={"name": "etl", "namespace": "other"}))
    found = await world.reconciled(Impulse, "hook")
    assert (found.status.phase, ready(found)) == ("Failed", ("False", "ExecutionFailed"))
    assert [reason for _, reason, _ in world.recorder.events] == ["StoryReferenceInvalid"]


@pytest.mark.spec("workloads-55")
async def test_counters_of_an_impulse_come_from_its_runs_and_never_fall() -> None:
    runs = []
    for name, tokens in (("run1", ["impulse", "impulse-success"]), ("run2", ["impulse", "impulse-failed"])):
        run = storyrun(name)
        run["spec"]["impulseRef"] = {"name": "hook"}
        times = {"startedAt": f"2026-01-05T10:00:0{name[-1]}Z", "finishedAt": f"2026-01-05T10:01:0{name[-1]}Z"}
        run["status"] = {"triggerTokens": ["story", *tokens], **times}
        runs.append(run)
    world = Definitions(impulse_template(), story(step("a")), impulse(), *runs, storyrun("run3"))
    status = (await world.reconciled(Impulse, "hook")).status
    assert (status.triggers_received, status.stories_launched, status.failed_triggers) == (2, 1, 1)
    assert (status.last_trigger, status.last_success) == ("2026-01-05T10:00:02Z", "2026-01-05T10:01:01Z")
    await world.client.delete(await world.client.get(StoryRun, ObjectKey(NAMESPACE, "run2")))
    again = (await world.reconciled(Impulse, "hook")).status
    assert (again.triggers_received, again.failed_triggers) == (2, 1)
    assert again.last_trigger == "2026-01-05T10:00:02Z"
