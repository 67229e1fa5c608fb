"""A quick look at runs and steps, as events and indexes take it: single members of a dict, no model.

The cache shows every change of every object here, and decoding a run with hundreds of steps to its model costs more
than a millisecond. Models are for reconcilers, which look closely at few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bobrapet.api import StepRun, StoryRun, StoryTrigger, labels
from bobrapet.api.conditions import Reason
from bobrapet.api.enums import Phase
from bobrapet.api.names import label
from bobrapet.config.operator import DEFAULT_QUEUE
from bobrapet.engine.outcome import FINALIZED
from bobrapet.engine.states import QUEUE_REASONS
from bobrapet.runtime.client.object import Unstructured

RawStoryRun: Final = Unstructured.of(StoryRun.API_VERSION, StoryRun.KIND)
RawStepRun: Final = Unstructured.of(StepRun.API_VERSION, StepRun.KIND)
RawStoryTrigger: Final = Unstructured.of(StoryTrigger.API_VERSION, StoryTrigger.KIND)

_SLOTLESS: Final = frozenset({Phase.PAUSED, Phase.BLOCKED})

ANY: Final = "any"
"""The slot that every active step holds, and the line of those that the operator's own limit holds."""

EVERYBODY: Final = "everybody"
"""The line of all runs that wait for a slot, whatever limit holds them."""


def reference(obj: Unstructured, member: str) -> str | None:
    """`<namespace>/<name>` of `spec.<member>`, None when it is not set."""
    found = obj.get("spec", member, default={}) or {}
    name = (found.get("name") or "").strip()
    return f"{(found.get('namespace') or '').strip() or obj.metadata.namespace}/{name}" if name else None


def phase(obj: Unstructured) -> Phase | None:
    found = obj.get("status", "phase")
    return Phase(found) if found else None


def is_open(obj: Unstructured) -> bool:
    """Whether nobody, neither controller nor component, has given it a terminal phase."""
    found = phase(obj)
    return found is None or not found.is_terminal


def topology(run: Unstructured) -> bool:
    """Whether the hub says that the stream of a run is over."""
    conditions = run.get("status", "conditions", default=[]) or []
    return any(
        found.get("type") == "Degraded" and found.get("reason") == Reason.TOPOLOGY_TERMINATED for found in conditions
    )


def final_mark(step: Unstructured) -> Any:
    """The controller's own word about the end of a step; see `engine.outcome`."""
    conditions = step.get("status", "conditions", default=[]) or []
    return next((found for found in conditions if found.get("type") == FINALIZED), None)


def parents(run: Unstructured) -> list[str]:
    """Names of the runs that started this one."""
    return [owner.name for owner in run.metadata.owner_references or () if owner.kind == StoryRun.KIND]


def trigger_runs(trigger: Unstructured) -> list[str]:
    """`<namespace>/<name>` of the run that a trigger was answered with."""
    found = trigger.get("status", "storyRunRef", default={}) or {}
    return [f"{found.get('namespace') or trigger.metadata.namespace}/{found['name']}"] if found.get("name") else []


def slots(step: Unstructured) -> list[str]:
    """A step holds its slots from its creation until its end, unless it is Paused or Blocked.

    Its end is the controller's word: what a component reports may be tried again. What evaluates a template is no step
    of the Story, and holds none: a step that has a slot may wait for it (spec runs 22, B-41).
    """
    found = step.metadata.labels or {}
    if final_mark(step) is not None or phase(step) in _SLOTLESS or found.get(labels.MATERIALIZE) == "true":
        return []
    story = f"story/{step.metadata.namespace}/{found.get(labels.STORY_NAME, '')}"
    return [ANY, f"queue/{found.get(labels.QUEUE) or DEFAULT_QUEUE}", story]


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a run waits for slots: its place in the lines."""

    limits: frozenset[str]
    """The limits that hold it, each as the slot of a step that would count there (`slots`)."""
    queue: str
    priority: int | None
    """As its label says; None: that of the queue."""
    since: str
    """When its oldest waiting step began to wait."""
    steps: int
    """How many of its steps wait."""


def waiting(run: Unstructured) -> Waiting | None:
    """How a run waits for slots; None when it does not."""
    states = run.get("status", "stepStates", default={}) or {}
    held = [
        state
        for state in states.values()
        if state.get("reason") in QUEUE_REASONS and not Phase(state["phase"]).is_terminal
    ]
    if not held:
        return None
    found = run.metadata.labels or {}
    queue = found.get(labels.QUEUE) or DEFAULT_QUEUE
    story = f"story/{run.metadata.namespace}/{label(run.get('spec', 'storyRef', 'name', default=''))}"
    limits = {"StoryConcurrency": {story}, "QueueConcurrency": {f"queue/{queue}"}, "GlobalConcurrency": {ANY}}
    either = {f"queue/{queue}", ANY}  # whoever gives way to a more urgent run is held by what that one waits for
    return Waiting(
        limits=frozenset().union(*(limits.get(state["reason"], either) for state in held)),
        queue=queue,
        priority=int(text) if (text := found.get(labels.QUEUE_PRIORITY, "")).isdecimal() else None,
        since=min(state.get("startedAt", "") for state in held),
        steps=len(held),
    )


def contenders(queue: str) -> str:
    """The line of all runs of a queue that a shared slot would help."""
    return f"contenders/{queue}"


def lines(run: Unstructured) -> list[str]:
    """The lines in which a run stands."""
    found = waiting(run)
    if found is None:
        return []
    is_contender = any(not limit.startswith("story/") for limit in found.limits)
    return [*found.limits, EVERYBODY, *([contenders(found.queue)] if is_contender else [])]
