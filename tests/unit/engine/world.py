"""A run in virtual time: objects as the API server would hold them, plans applied as a reconciler would.

`World` keeps StoryRuns and StepRuns, gives out uids and resourceVersions, applies plans, and lets a test say what
components do. It has no clock: every call takes or advances `now`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bobrapet.api import Engram, EngramTemplate, ReferenceGrant, StepRun, Story, StoryRun
from bobrapet.api.timestamps import format_deadline, format_time
from bobrapet.config.operator import OperatorConfig, parse
from bobrapet.engine.outcome import final_phase
from bobrapet.engine.plans import RunPlan, StepPlan
from bobrapet.engine.run import plan
from bobrapet.engine.snapshot import Occupancy, RunSnapshot, StepSnapshot
from bobrapet.engine.steprun import plan as plan_step

T0 = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)

_serial = itertools.count(1)


def step(text: str, **more: Any) -> dict[str, Any]:
    """A step from a short form: `"b: needs a"`, `"a"`, `"s: sleep 10s"`, `"g: gate"`; more fields by keyword."""
    name, _, rest = text.partition(":")
    words = rest.split()
    found: dict[str, Any] = {"name": name.strip()}
    if "needs" in words:
        at = words.index("needs")
        found["needs"] = [word.strip(",") for word in words[at + 1 :]]
        words = words[:at]
    match words:
        case []:
            found["ref"] = {"name": "worker"}
        case ["sleep", *duration]:
            found |= {"type": "sleep", "with": {"duration": duration[0]} if duration else None}
        case [kind]:
            found["type"] = kind
        case _:
            raise ValueError(text)
    found |= {{"if_": "if", "with_": "with"}.get(key, key): value for key, value in more.items()}
    return {key: value for key, value in found.items() if value is not None}


def story(*steps: str | dict[str, Any], name: str = "s", namespace: str = "wf", **spec: Any) -> Story:
    """A Story; steps in the short form or as objects, further fields of its spec by keyword."""
    spec = {
        key: [step(entry) if isinstance(entry, str) else entry for entry in value]
        if key in ("compensations", "finally_")
        else value
        for key, value in spec.items()
    }
    if "finally_" in spec:
        spec["finally"] = spec.pop("finally_")
    spec["steps"] = [step(entry) if isinstance(entry, str) else entry for entry in steps]
    # Graphs are remembered by uid, so every Story of a test has its own.
    metadata = {"name": name, "namespace": namespace, "uid": f"story-{next(_serial)}", "generation": 1}
    return Story.model_validate({"metadata": metadata, "spec": spec})


def template(**spec: Any) -> EngramTemplate:
    spec = {"version": "1", "supportedModes": ["job"], "image": "example.test/worker", **spec}
    return EngramTemplate.model_validate({"metadata": {"name": "worker-template"}, "spec": spec})


def engram(name: str = "worker", namespace: str = "wf", **spec: Any) -> Engram:
    spec = {"templateRef": {"name": "worker-template"}, **spec}
    return Engram.model_validate({"metadata": {"name": name, "namespace": namespace, "uid": f"e-{name}"}, "spec": spec})


class World:
    """Everything that a run sees, and the effects of its plans."""

    def __init__(
        self,
        story: Story | None,
        *,
        inputs: Mapping[str, Any] | None = None,
        config: Mapping[str, str] | None = None,
        run: str = "r1",
        template_: EngramTemplate | None = None,
        engram_: Engram | None = None,
        **run_spec: Any,
    ) -> None:
        self.now = T0
        self.config = parse(config).config if config else OperatorConfig()
        self.stories = {f"{story.metadata.namespace}/{story.metadata.name}": story} if story is not None else {}
        worker = engram_ or engram()
        self.engrams = {f"{worker.metadata.namespace}/{worker.metadata.name}": worker}
        self.templates = {"worker-template": template_ or template()}
        self.grants: list[ReferenceGrant] = []
        self.occupancy = Occupancy()
        self.payloads: dict[str, Any] = {}
        self.has_storage = False
        self.runs: dict[str, StoryRun] = {}
        self.steps: dict[str, StepRun] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[str, str]] = []
        self.writes = 0
        self.log: list[RunPlan] = []
        self._serial = 0
        self._met_a_taken_name = False
        spec: dict[str, Any] = {"storyRef": {"name": story.metadata.name if story else "s"}, **run_spec}
        if inputs is not None:
            spec["inputs"] = dict(inputs)
        self.name = run
        self.create(StoryRun.model_validate({"metadata": {"name": run, "namespace": "wf"}, "spec": spec}))

    # Objects

    def create(self, item: StoryRun | StepRun) -> bool:
        """Creates an object; says whether the name was free."""
        shelf: dict[str, Any] = self.runs if isinstance(item, StoryRun) else self.steps
        name = item.metadata.name or ""
        if name in shelf:
            return False
        wire = json.loads(json.dumps(item.to_wire()))
        self._serial += 1
        wire["metadata"] |= {
            "uid": f"uid-{self._serial}",
            "resourceVersion": str(self._serial),
            "generation": 1,
            "creationTimestamp": format_time(self.now),
        }
        wire["metadata"].setdefault("namespace", "wf")
        shelf[name] = type(item).model_validate(wire)
        return True

    def patch(self, item: StoryRun | StepRun, patch: Mapping[str, Any]) -> None:
        """Applies a merge patch, as the API server would."""
        shelf: dict[str, Any] = self.runs if isinstance(item, StoryRun) else self.steps
        name = item.metadata.name or ""
        wire = merged(shelf[name].to_wire(), patch)
        self._serial += 1
        wire["metadata"]["resourceVersion"] = str(self._serial)
        if "spec" in patch:
            wire["metadata"]["generation"] = wire["metadata"].get("generation", 1) + 1
        shelf[name] = type(item).model_validate(json.loads(json.dumps(wire)))

    @property
    def run(self) -> StoryRun:
        return self.runs[self.name]

    def annotate(self, **annotations: str) -> None:
        """Annotates the run, as a user does; `redrive_token` means storyrun.bubustack.io/redrive-token."""
        named = {f"storyrun.bubustack.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.patch(self.run, {"metadata": {"annotations": named}})

    # Planning

    def snapshot(self, name: str = "", *, authoritative: bool = False) -> RunSnapshot:
        run = self.runs[name or self.name]
        return RunSnapshot(
            run=run,
            story=self.stories.get(run.spec.story_ref.key(run.metadata.namespace)),
            steps={
                key: item
                for key, item in self.steps.items()
                if any(owner.name == run.metadata.name for owner in item.metadata.owner_references)
                or key.startswith(f"{run.metadata.name}-")
            },
            children={key: item for key, item in self.runs.items() if key != run.metadata.name},
            engrams=self.engrams,
            templates=self.templates,
            stories=self.stories,
            ancestors=self._ancestors(run),
            grants=self.grants,
            config=self.config,
            occupancy=self.occupancy,
            has_storage=self.has_storage,
            payloads=self.payloads,
            authoritative=authoritative,
        )

    def _ancestors(self, run: StoryRun) -> list[StoryRun]:
        found = []
        while (owner := next(iter(run.metadata.owner_references), None)) is not None and owner.name in self.runs:
            run = self.runs[owner.name]
            found.append(run)
        return found

    def plan(self, name: str = "") -> RunPlan:
        """The plan for now, on the newest objects, without applying it."""
        found = plan(self.snapshot(name), self.now)
        return plan(self.snapshot(name, authoritative=True), self.now) if found.confirm else found

    def apply(self, found: RunPlan, name: str = "") -> None:
        run = self.runs[name or self.name]
        self.writes += found.writes
        if found.metadata is not None:
            self.patch(run, found.metadata)
        if found.status is not None:
            self.patch(run, found.status)
        created = [self.create(item) for item in (*found.starts, *found.children)]
        self._met_a_taken_name = not all(created)
        for annotate in found.cancels:
            shelf: dict[str, Any] = self.runs if annotate.kind == "StoryRun" else self.steps
            if annotate.name in shelf:
                self.patch(shelf[annotate.name], annotate.patch)
        for delete in found.deletes:
            shelf = self.runs if delete.kind == "StoryRun" else self.steps
            if delete.name in shelf and shelf[delete.name].metadata.uid == delete.uid:
                del shelf[delete.name]
                self.jobs.pop(delete.name, None)
        if found.delete_run:
            del self.runs[run.metadata.name or ""]
        self.events += [(event.type, event.reason) for event in found.events]
        self.log.append(found)

    def reconcile(self, name: str = "", *, at_most: int = 20) -> RunPlan:
        """Plans and applies until nothing changes any more; returns the last plan, which writes nothing.

        While a run goes on, what it writes to itself wakes nobody: a plan that has more to do must say so.
        """
        last: RunPlan | None = None
        for _ in range(at_most):
            if (name or self.name) not in self.runs:
                return RunPlan()
            found = self.plan(name)
            if not found.writes:
                assert found.wake_at is None or found.wake_at > self.now, "a plan without effect wakes at once"
                return found
            assert last is None or self._is_woken(last, name), f"after {last} nobody would plan {found}"
            self.apply(found, name)
            last = found
        raise AssertionError(f"plans do not settle: {found}")

    def _is_woken(self, applied: RunPlan, name: str) -> bool:
        """Whether the operator looks at the run again because of what it did."""
        phase = self.runs[name or self.name].status.phase
        is_live = phase is not None and not phase.is_terminal
        is_due = applied.wake_at is not None and applied.wake_at <= self.now
        changes_others = bool(applied.children or applied.deletes or applied.cancels)
        return not is_live or is_due or changes_others or self._met_a_taken_name

    def at(self, moment: datetime | timedelta) -> World:
        """Moves the time to a moment, or to T0 plus a span."""
        self.now = T0 + moment if isinstance(moment, timedelta) else moment
        return self

    # What components do, in tests that are about runs only

    def end(self, name: str, phase: str = "Succeeded", message: str = "", **output: Any) -> World:
        """A step's StepRun ends, as its controller would write it."""
        item = self.steps[f"{self.name}-{name}"]
        ready = "True" if phase == "Succeeded" else "False"
        conditions = [
            _condition("Ready", ready, _READY.get(phase, "ExecutionFailed"), message),
            _condition("Finalized", "True", phase, "attempt 1"),
        ]
        status: dict[str, Any] = {
            "phase": phase,
            "retries": 0,
            "startedAt": item.status.started_at or format_deadline(self.now),
            "finishedAt": format_deadline(self.now),
            "conditions": conditions,
        }
        if output:
            status["output"] = output
        if phase != "Succeeded" and message:
            status["lastFailureMsg"] = message
        self.patch(item, {"status": status})
        return self

    # Reading

    def state(self, name: str) -> str:
        """`Phase` or `Phase/Reason` of a step; empty before it began."""
        found = self.run.status.step_states.get(name)
        if found is None:
            return ""
        return f"{found.phase.value}/{found.reason}" if found.reason else found.phase.value

    @property
    def states(self) -> dict[str, str]:
        return {name: state.phase.value for name, state in self.run.status.step_states.items()}

    @property
    def phase(self) -> str:
        """`Phase/Reason` of the run."""
        ready = next((c.reason for c in self.run.status.conditions if c.type == "Ready"), "")
        return f"{self.run.status.phase.value if self.run.status.phase else ''}/{ready}"

    def condition(self, type: str) -> str:
        return next((c.status for c in self.run.status.conditions if c.type == type), "")

    def step_snapshot(self, name: str, **more: Any) -> StepSnapshot:
        item = self.steps[f"{self.name}-{name}"]
        run = self.run
        wanted = item.spec.engram_ref.key("wf") if item.spec.engram_ref is not None else ""
        worker = self.engrams.get(wanted)
        return StepSnapshot(
            step=item,
            run=run,
            story=self.stories.get(run.spec.story_ref.key("wf")),
            engram=worker,
            template=self.templates.get(worker.spec.template_ref.name) if worker is not None else None,
            siblings=self.steps,
            children={key: child for key, child in self.runs.items() if key != self.name},
            job=self.jobs.get(item.metadata.name or ""),
            grants=self.grants,
            config=self.config,
            has_storage=self.has_storage,
            payloads=self.payloads,
            **more,
        )

    def plan_step(self, name: str, **more: Any) -> StepPlan:
        found = plan_step(self.step_snapshot(name, **more), self.now)
        if found.confirm_job:
            more |= {"job_confirmed": True, "job_confirmed_absent": name not in self.jobs}
            found = plan_step(self.step_snapshot(name, **more), self.now)
        if found.confirm_references:
            found = plan_step(self.step_snapshot(name, references_confirmed=True, **more), self.now)
        return found

    def apply_step(self, name: str, found: StepPlan) -> StepPlan:
        """Applies a step's plan; a Job that it starts appears as the API server would show it."""
        item = self.steps[f"{self.name}-{name}"]
        key = item.metadata.name or ""
        self.writes += found.writes
        if found.metadata is not None:
            self.patch(item, found.metadata)
        if found.status is not None:
            self.patch(item, found.status)
        if found.start is not None and key not in self.jobs:
            self._serial += 1
            self.jobs[key] = {
                "metadata": {
                    "name": key,
                    "uid": f"job-{self._serial}",
                    "creationTimestamp": format_time(self.now),
                    "annotations": {"runs.bubustack.io/attempt": str(found.start.attempt)},
                },
                "spec": {"backoffLimit": found.start.policy.backoff_limit.value},
                "status": {},
            }
            if found.after_start is not None:
                self.patch(item, found.after_start.patch)
        for delete in found.deletes:
            if key in self.jobs and self.jobs[key]["metadata"]["uid"] == delete.uid:
                del self.jobs[key]
        self.events += [(event.type, event.reason) for event in found.events]
        return found

    def reconcile_step(self, name: str, *, at_most: int = 10, **more: Any) -> StepPlan:
        """As `reconcile`, for a StepRun."""
        last: StepPlan | None = None
        for _ in range(at_most):
            found = self.plan_step(name, **more)
            if not found.writes:
                assert found.wake_at is None or found.wake_at > self.now, "a plan without effect wakes at once"
                return found
            assert last is None or self._is_step_woken(last, name), f"after {last} nobody would plan {found}"
            self.apply_step(name, found)
            last = found
        raise AssertionError(f"plans do not settle: {found}")

    def _is_step_woken(self, applied: StepPlan, name: str) -> bool:
        phase = self.steps[f"{self.name}-{name}"].status.phase
        is_live = phase is not None and not phase.is_terminal
        is_due = applied.wake_at is not None and applied.wake_at <= self.now
        return not is_live or is_due or bool(applied.deletes)

    def report(self, name: str, phase: str, **status: Any) -> World:
        """What a component patches into its StepRun."""
        self.patch(self.steps[f"{self.name}-{name}"], {"status": {"phase": phase, **status}})
        return self

    def job_ends(self, name: str, condition: str = "Complete", reason: str = "") -> World:
        job = self.jobs[f"{self.name}-{name}"]
        job["status"] = {"conditions": [{"type": condition, "status": "True", "reason": reason}]}
        return self

    def pod(self, name: str, *, exit_code: int | None = None, waiting: str = "", message: str = "") -> dict[str, Any]:
        """A pod of the current Job of a step."""
        key = f"{self.name}-{name}"
        state: dict[str, Any] = {"running": {}}
        phase = "Running"
        if exit_code is not None:
            state = {"terminated": {"exitCode": exit_code, "reason": "Error" if exit_code else "Completed"}}
            phase = "Failed" if exit_code else "Succeeded"
        elif waiting:
            state, phase = {"waiting": {"reason": waiting, "message": message}}, "Pending"
        uid = self.jobs[key]["metadata"]["uid"] if key in self.jobs else "gone"
        return {
            "metadata": {
                "name": f"{key}-x",
                "labels": {"batch.kubernetes.io/controller-uid": uid},
                "creationTimestamp": format_time(self.now),
            },
            "status": {"phase": phase, "containerStatuses": [{"name": "engram", "state": state}]},
        }

    def final(self, name: str) -> str:
        found = final_phase(self.steps[f"{self.name}-{name}"])
        return found.value if found is not None else ""

    def step_ready(self, name: str) -> str:
        conditions = self.steps[f"{self.name}-{name}"].status.conditions
        return next((c.reason for c in conditions if c.type == "Ready"), "")


_READY = {"Succeeded": "Completed", "Timeout": "TimedOut", "Canceled": "Canceled"}


def merged(document: Any, patch: Any) -> Any:
    """RFC 7386, by its text."""
    if not isinstance(patch, Mapping):
        return patch
    found = dict(document) if isinstance(document, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def _condition(type: str, status: str, reason: str, message: str) -> dict[str, str]:
    return {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": format_time(T0),
    }
