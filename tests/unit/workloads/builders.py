"""Objects that the tests of this folder build workloads from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bobrapet.api import Engram, EngramTemplate, StepRun, Story, StoryRun
from bobrapet.config import policy
from bobrapet.config.operator import OperatorConfig
from bobrapet.workloads.job import Workload, build_job

T0 = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)


def template(**spec: Any) -> EngramTemplate:
    spec = {"version": "1.0.0", "supportedModes": ["job"], "image": "example.test/fetch:1", **spec}
    return EngramTemplate.model_validate({"metadata": {"name": "http-client"}, "spec": spec})


def engram(annotations: dict[str, str] | None = None, **spec: Any) -> Engram:
    metadata = {"name": "fetcher", "namespace": "wf", "annotations": annotations or {}}
    return Engram.model_validate({"metadata": metadata, "spec": {"templateRef": {"name": "http-client"}, **spec}})


def story(**spec: Any) -> Story:
    spec = {"steps": [{"name": "fetch", "ref": {"name": "fetcher"}}], **spec}
    return Story.model_validate({"metadata": {"name": "etl", "namespace": "wf", "uid": "story-uid"}, "spec": spec})


def storyrun(name: str = "r1") -> StoryRun:
    metadata = {"name": name, "namespace": "wf", "uid": "run-uid"}
    return StoryRun.model_validate({"metadata": metadata, "spec": {"storyRef": {"name": "etl"}}})


def steprun(**spec: Any) -> StepRun:
    spec = {"storyRunRef": {"name": "r1"}, "stepId": "fetch", "engramRef": {"name": "fetcher"}, **spec}
    return StepRun.model_validate({"metadata": {"name": "r1-fetch", "namespace": "wf", "uid": "u1"}, "spec": spec})


def build(
    *,
    config: OperatorConfig | None = None,
    template_: EngramTemplate | None = None,
    engram_: Engram | None = None,
    story_: Story | None = None,
    step_: StepRun | None = None,
    **changes: Any,
) -> Workload:
    config, template_, engram_ = config or OperatorConfig(), template_ or template(), engram_ or engram()
    story_, step_ = story_ or story(), step_ or steprun()
    arguments: dict[str, Any] = {
        "step": step_,
        "run": storyrun(),
        "story": story_,
        "engram": engram_,
        "template": template_,
        "config": config,
        "policy": policy.resolve(
            config, template=template_, engram=engram_, story=story_, step=story_.spec.steps[0], steprun=step_
        ),
        "inputs": {"url": "http://x"},
        "configuration": {"timeout": "3s"},
        "context": {"inputs": {}, "steps": {}},
        "skip_templating": True,
        "attempt": 0,
        "started_at": T0,
        **changes,
    }
    return build_job(**arguments)


def container(workload: Workload) -> dict[str, Any]:
    (found,) = workload.job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def variables(workload: Workload) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(workload)["env"]}
