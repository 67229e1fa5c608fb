"""Templates, Engrams and Stories tell whether they are usable, and write only when that changes."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.api import KINDS, Engram, EngramTemplate, StepRun, Story, labels
from bobrapet.api.crds import crd_manifests
from bobrapet.config.operator import OperatorConfig
from bobrapet.reconcilers import indexes
from bobrapet.reconcilers.engram import EngramReconciler
from bobrapet.reconcilers.engramtemplate import EngramTemplateReconciler
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.story import StoryReconciler
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
        }

    async def reconciled(self, cls: type[Any], name: str) -> Any:
        key = ObjectKey(NAMESPACE if cls.NAMESPACED else "", name)
        await self.reconcilers[cls].reconcile(Request(*key))
        return await self.client.get(cls, key)


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


@pytest.mark.parametrize(("cls", "name"), [(EngramTemplate, "http"), (Engram, "http"), (Story, "etl")])
async def test_a_second_pass_writes_nothing(cls: type[Any], name: str) -> None:
    world = Definitions(template(), engram(), story(step("fetch")))
    first = await world.reconciled(cls, name)
    assert first.status.validation_status == "valid"
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
async def test_a_story_counts_sixty_runs_in_one_pass() -> None:
    world = Definitions(template(), engram(), story(step("a")), *(storyrun(f"run{n}") for n in range(60)))
    assert (await world.reconciled(Story, "etl")).status.triggers == 60


async def test_a_finalizer_of_the_go_operator_does_not_keep_a_story() -> None:
    kept = story(step("a"))
    kept.metadata.finalizers = [labels.STORY_FINALIZER]
    world = Definitions(kept)
    await world.client.delete(kept)
    await world.reconcilers[Story].reconcile(Request(NAMESPACE, "etl"))
    assert (await world.client.list(Story)).items == []
