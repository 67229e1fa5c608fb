"""A cluster that misbehaves, in virtual time: stale caches, crashes between writes, writes that are repeated.

`Simulation` holds the truth as logs of object versions, one per kind. Controllers see a prefix of each log, another
one per kind, so that any mix of old and new objects occurs. Plans are applied write by write and may be cut off after
any of them. Components do what their script says. Every transition is checked against the invariants; in the end the
run must look as the reference interpreter says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from bobrapet.api import StepRun, Story, StoryRun
from bobrapet.api.enums import Phase
from bobrapet.api.timestamps import format_time
from bobrapet.config.operator import OperatorConfig
from bobrapet.engine.graph import branches_of
from bobrapet.engine.outcome import final_phase
from bobrapet.engine.plans import RunPlan, StepPlan
from bobrapet.engine.run import plan as plan_run
from bobrapet.engine.snapshot import RunSnapshot, StepSnapshot
from bobrapet.engine.steprun import plan as plan_step
from tests.unit.engine.world import T0, engram, merged, story, template


class Broken(AssertionError):
    """An invariant does not hold."""


class _Conflict(Exception):
    pass


class _Crash(Exception):
    pass


@dataclass
class Script:
    """What the component of a step does, attempt by attempt; the last entry repeats."""

    attempts: list[str]
    """`ok`, `silent` (exit 0 without a report), `retry`, `terminal`, `killed` (exit 137 without a report)."""

    def at(self, attempt: int) -> str:
        return self.attempts[min(attempt, len(self.attempts) - 1)]


@dataclass
class Process:
    """A running component."""

    step: str
    attempt: int
    job: str
    script: str
    has_reported: bool = False


@dataclass
class Simulation:
    story: Story
    scripts: Mapping[str, Script]
    random: Random
    faults: bool = True
    now: datetime = T0
    logs: dict[str, list[tuple[str, dict[str, Any] | None]]] = field(
        default_factory=lambda: {"run": [], "step": [], "job": []}
    )
    seen: dict[str, int] = field(default_factory=lambda: {"run": 0, "step": 0, "job": 0})
    truth: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {"run": {}, "step": {}, "job": {}})
    processes: list[Process] = field(default_factory=list)
    executions: dict[str, int] = field(default_factory=dict)
    serial: int = 0
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engram, self.template = engram(), template()
        self.child_story = story("x", name="child")
        self._create("run", {"metadata": {"name": "r1", "namespace": "wf"}, "spec": {"storyRef": {"name": "s"}}})

    # The API server

    def _write(self, kind: str, name: str, item: dict[str, Any] | None) -> None:
        if item is None:
            self.truth[kind].pop(name)
        else:
            self.serial += 1
            item = json.loads(json.dumps(item))
            item["metadata"]["resourceVersion"] = str(self.serial)
            self.truth[kind][name] = item
        self.logs[kind].append((name, item))

    def _create(self, kind: str, item: dict[str, Any]) -> bool:
        name = item["metadata"]["name"]
        if name in self.truth[kind]:
            return False
        self.serial += 1
        item = json.loads(json.dumps(item))
        item["metadata"] |= {
            "uid": f"uid-{self.serial}",
            "generation": 1,
            "creationTimestamp": format_time(self.now),
        }
        self._write(kind, name, item)
        return True

    def _patch(self, kind: str, name: str, patch: Mapping[str, Any], version: str | None) -> str:
        current = self.truth[kind].get(name)
        if current is None or (version is not None and current["metadata"]["resourceVersion"] != version):
            raise _Conflict
        updated = merged(current, patch)
        self._check_transition(kind, name, current, updated)
        self._write(kind, name, updated)
        return str(self.truth[kind][name]["metadata"]["resourceVersion"])

    def _view(self, kind: str, live: bool = False) -> dict[str, dict[str, Any]]:
        if live:
            return self.truth[kind]
        found: dict[str, dict[str, Any]] = {}
        for name, item in self.logs[kind][: self.seen[kind]]:
            if item is None:
                found.pop(name, None)
            else:
                found[name] = item
        return found

    # Controllers

    def reconcile_run(self) -> None:
        if "r1" not in self._view("run"):
            return
        snapshot = self._run_snapshot(live=False)
        plan = plan_run(snapshot, self.now)
        if plan.confirm:
            snapshot = self._run_snapshot(live=True)
            plan = plan_run(snapshot, self.now)
        version = snapshot.run.metadata.resource_version
        try:
            for patch in (plan.metadata, plan.status):
                if patch is not None:
                    version = self._patch("run", "r1", patch, version)
                    self._maybe_crash()
            for start in plan.starts:
                self._check_start(start)
                self._create("step", start.to_wire())
                self._maybe_crash()
            for cancel in plan.cancels:
                if cancel.name in self.truth["step"]:
                    self._patch("step", cancel.name, cancel.patch, None)
                self._maybe_crash()
            for child in plan.children:
                self._create("run", child.to_wire())
                self._maybe_crash()
            for delete in plan.deletes:
                item = self.truth["step"].get(delete.name)
                if item is not None and item["metadata"]["uid"] == delete.uid:
                    self._delete_step(delete.name)
                self._maybe_crash()
        except (_Conflict, _Crash) as fault:
            self.trace.append(f"run: {type(fault).__name__}")
        else:
            self._check_echo_of_run(snapshot, plan)

    def reconcile_step(self, name: str) -> None:
        if name not in self._view("step"):
            return
        snapshot = self._step_snapshot(name)
        plan = plan_step(snapshot, self.now)
        if plan.confirm_job:
            item, job = self.truth["step"].get(name), self.truth["job"].get(name)
            if item is None:
                return
            step = StepRun.model_validate(item)
            snapshot = replace(snapshot, step=step, job=job, job_confirmed_absent=job is None, job_confirmed=True)
            plan = plan_step(snapshot, self.now)
        version = snapshot.step.metadata.resource_version
        try:
            for patch in (plan.metadata, plan.status):
                if patch is not None:
                    version = self._patch("step", name, patch, version)
                    self._maybe_crash()
            if plan.start is not None:
                is_new = self._start_job(name, plan.start.attempt)
                self._maybe_crash()
                if is_new and plan.after_start is not None:
                    self._patch("step", name, plan.after_start.patch, None)
                    self._maybe_crash()
            for delete in plan.deletes:
                job = self.truth["job"].get(name)
                if job is not None and job["metadata"]["uid"] == delete.uid:
                    self._write("job", name, None)
                    self.processes = [process for process in self.processes if process.job != delete.uid]
                self._maybe_crash()
        except (_Conflict, _Crash) as fault:
            self.trace.append(f"{name}: {type(fault).__name__}")
        else:
            self._check_echo_of_step(snapshot, plan)

    def _run_snapshot(self, *, live: bool) -> RunSnapshot:
        run = self._view("run", live)["r1"]
        return RunSnapshot(
            run=StoryRun.model_validate(run),
            story=self.story,
            stories={"wf/child": self.child_story},
            children={
                name: StoryRun.model_validate(item) for name, item in self._view("run", live).items() if name != "r1"
            },
            steps={name: StepRun.model_validate(item) for name, item in self._view("step", live).items()},
            engrams={"wf/worker": self.engram},
            templates={"worker-template": self.template},
            config=OperatorConfig(),
            authoritative=live,
        )

    def _step_snapshot(self, name: str) -> StepSnapshot:
        steps = {key: StepRun.model_validate(item) for key, item in self._view("step").items()}
        run = self._view("run").get("r1")
        return StepSnapshot(
            step=steps[name],
            run=StoryRun.model_validate(run) if run is not None else None,
            story=self.story,
            engram=self.engram,
            template=self.template,
            siblings=steps,
            children={key: StoryRun.model_validate(item) for key, item in self._view("run").items() if key != "r1"},
            job=self._view("job").get(name),
        )

    def _maybe_crash(self) -> None:
        if self.faults and self.random.random() < 0.1:
            raise _Crash

    # Workloads

    def _start_job(self, name: str, attempt: int) -> bool:
        job = {
            "metadata": {"name": name, "annotations": {"runs.bubustack.io/attempt": str(attempt)}},
            "spec": {"backoffLimit": 0},
            "status": {},
        }
        if not self._create("job", job):
            return False
        step = StepRun.model_validate(self.truth["step"][name]) if name in self.truth["step"] else None
        if step is None:
            raise Broken(f"{name}: a Job for a StepRun that is gone")
        if final_phase(step) is not None:
            raise Broken(f"{name}: runs again after its end was recorded")
        self.executions[name] = self.executions.get(name, 0) + 1
        script = self.scripts[step.spec.step_id].at(attempt)
        if script == "ok" and self.random.random() < 0.02:
            script = "lost"  # the Job disappears under the process, as if somebody deleted it
        self.processes.append(Process(name, attempt, self.truth["job"][name]["metadata"]["uid"], script))
        return True

    def component_acts(self) -> None:
        """One process reports, or ends."""
        if not self.processes:
            return
        process = self.random.choice(self.processes)
        if process.script == "lost":
            self.processes.remove(process)
            if self.truth["job"].get(process.step, {}).get("metadata", {}).get("uid") == process.job:
                self._write("job", process.step, None)
            return
        step = self.truth["step"].get(process.step)
        reports = {"ok": "Succeeded", "retry": "Failed", "terminal": "Failed"}
        if step is not None and not process.has_reported and process.script in reports:
            process.has_reported = True
            status = step.get("status") or {}
            is_over = Phase(status["phase"]).is_terminal if status.get("phase") else False
            if status.get("retries", 0) != process.attempt or is_over:
                return  # the fence of the SDK
            body: dict[str, Any] = {"phase": reports[process.script]}
            if process.script == "ok":
                body["output"] = {"v": process.attempt}
            else:
                body |= {"exitClass": process.script, "exitCode": 1, "lastFailureMsg": process.script}
            self._patch("step", process.step, {"status": body}, None)
            return
        self.processes.remove(process)
        job = self.truth["job"].get(process.step)
        if job is not None and job["metadata"]["uid"] == process.job:
            ended = "Complete" if process.script in ("ok", "silent") else "Failed"
            conditions = [{"type": ended, "status": "True", "reason": "BackoffLimitExceeded"}]
            self._patch("job", process.step, {"status": {"conditions": conditions}}, None)

    def _delete_step(self, name: str) -> None:
        self._write("step", name, None)
        if name in self.truth["job"]:
            self.processes = [process for process in self.processes if process.step != name]
            self._write("job", name, None)

    # Invariants

    def _check_transition(self, kind: str, name: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        before, after = old.get("status") or {}, new.get("status") or {}
        if kind == "run" and name == "r1":
            phase = before.get("phase")
            if phase and Phase(phase).is_terminal and after.get("phase") != phase:
                raise Broken(f"the run went from {phase} to {after.get('phase')}")
            for step, state in (before.get("stepStates") or {}).items():
                now = (after.get("stepStates") or {}).get(step)
                if Phase(state["phase"]).is_terminal and now != state:
                    raise Broken(f"step {step} went from {state} to {now}")
                if now is None:
                    raise Broken(f"the state of step {step} was lost")
            if after.get("attempts", 0) > 1:
                raise Broken("the run began twice")
        elif kind == "step":
            ended = final_phase(StepRun.model_validate(old))
            if ended is not None and final_phase(StepRun.model_validate(new)) is not ended:
                raise Broken(f"{name}: was {ended}, is {final_phase(StepRun.model_validate(new))}")
            if after.get("retries", 0) < before.get("retries", 0):
                raise Broken(f"{name}: retries went down")

    def _check_echo_of_run(self, snapshot: RunSnapshot, plan: RunPlan) -> None:
        """While a run goes on nobody is woken by its own status: a plan says all that follows from what it writes."""
        written = StoryRun.model_validate(self.truth["run"]["r1"])
        if plan.status is None or plan.children or written.status.phase is None or written.status.phase.is_terminal:
            return
        made = [*plan.starts, *plan.children]  # what was created is seen at the latest when it changes
        steps = {start.metadata.name: start for start in made if isinstance(start, StepRun)}
        children = {child.metadata.name: child for child in made if isinstance(child, StoryRun)}
        seen = replace(
            snapshot, run=written, steps={**steps, **snapshot.steps}, children={**children, **snapshot.children}
        )
        again = plan_run(seen, self.now)
        if again.status is not None or again.children or (again.starts and not plan.starts):
            raise Broken(f"a plan forgot what its own status leads to: {plan.status}, then {again}")
        if again.wake_at != plan.wake_at and not (again.wake_at and plan.wake_at and plan.wake_at < again.wake_at):
            raise Broken(f"a plan wakes at {plan.wake_at}, seen again it wakes at {again.wake_at}: {plan.status}")

    def _check_echo_of_step(self, snapshot: StepSnapshot, plan: StepPlan) -> None:
        raw = self.truth["step"].get(snapshot.step.metadata.name or "")
        if raw is None or plan.status is None or plan.start is not None:
            return
        written = StepRun.model_validate(raw)
        if written.status.phase is None or written.status.phase.is_terminal:
            return
        again = plan_step(replace(snapshot, step=written), self.now)
        if again.status is not None or again.start is not None or again.wake_at != plan.wake_at:
            raise Broken(f"a plan forgot what its own status leads to: {plan}, then {again}")

    def _check_start(self, start: StepRun) -> None:
        """A step is created only when the truth says that its dependencies have ended."""
        if start.metadata.name in self.truth["step"]:
            return
        states = (self.truth["run"]["r1"].get("status") or {}).get("stepStates") or {}
        if Phase(self.truth["run"]["r1"]["status"]["phase"]).is_terminal:
            raise Broken(f"{start.metadata.name} starts in a run that has ended")
        mine = states.get(start.metadata.labels.get("bubustack.io/parent-step") or start.spec.step_id)
        if mine is not None and Phase(mine["phase"]).is_terminal:
            raise Broken(f"{start.metadata.name} starts again after its end was recorded")
        parent = start.metadata.labels.get("bubustack.io/parent-step", "")
        for step in self.story.spec.steps:
            if step.name != (parent or start.spec.step_id):
                continue
            for need in step.needs:
                state = states.get(need)
                if state is None or not Phase(state["phase"]).is_terminal:
                    raise Broken(f"{start.metadata.name} starts before {need} has ended: {state}")

    # Running

    def run(self, at_most: int = 4_000) -> None:
        """Lets things happen in random order until the run has ended and everything is quiet."""
        for _ in range(at_most):
            self.step()
            if self._is_over():
                return
        raise Broken(f"the run does not end: {self.truth['run']['r1'].get('status')}")

    def step(self) -> None:
        """One thing happens, whatever it is."""
        kind = self.random.random()
        if kind < 0.35:
            which = self.random.choice(list(self.logs))
            behind = len(self.logs[which]) - self.seen[which]
            if behind:
                self.seen[which] += self.random.randint(1, behind)
        elif kind < 0.55:
            self.reconcile_run()
        elif kind < 0.80:
            names = sorted(self._view("step"))
            if names:
                self.reconcile_step(self.random.choice(names))
        elif kind < 0.92:
            self.component_acts()
        elif kind < 0.95:
            self._somebody_acts()
        else:
            self.now += timedelta(seconds=self.random.choice([0.3, 1, 3]))

    def _somebody_acts(self) -> None:
        """A person approves a gate, or a child run ends."""
        states = (self.truth["run"]["r1"].get("status") or {}).get("stepStates") or {}
        spec = self.story.spec
        for step in (*spec.steps, *spec.compensations, *spec.finally_):
            if step.type == "gate" and states.get(step.name, {}).get("phase") == "Paused":
                self._patch("run", "r1", {"status": {"gates": {step.name: {"state": "Approved"}}}}, None)
        for name, run in list(self.truth["run"].items()):
            if name != "r1" and not (run.get("status") or {}).get("phase"):
                does = self.scripts[run["metadata"]["labels"]["bubustack.io/parent-step"]].at(0)
                phase = "Succeeded" if does == "ok" else "Failed"
                self._patch("run", name, {"status": {"phase": phase, "output": {"v": 1}}}, None)

    def request_cancel(self) -> None:
        self._patch("run", "r1", {"spec": {"cancelRequested": True}}, None)

    def _is_over(self) -> bool:
        phase = (self.truth["run"]["r1"].get("status") or {}).get("phase")
        return bool(phase) and Phase(phase).is_terminal

    def settle(self) -> None:
        """Lets every cache catch up and checks that nothing is left to do."""
        for _ in range(20):
            for kind, log in self.logs.items():
                self.seen[kind] = len(log)
            before = self.serial
            self.faults = False
            self.reconcile_run()
            for name in sorted(self._view("step")):
                self.reconcile_step(name)
            if self.serial == before:
                return
        raise Broken("writes do not stop")

    @property
    def states(self) -> dict[str, str]:
        found = self.truth["run"]["r1"]["status"].get("stepStates") or {}
        return {name: state["phase"] for name, state in found.items()}

    @property
    def phase(self) -> str:
        return str(self.truth["run"]["r1"]["status"]["phase"])


def interpret(story: Story, scripts: Mapping[str, Script]) -> tuple[str, dict[str, str]]:
    """What a run comes to without faults, said as simply as possible; for Stories that go on after failures."""
    states: dict[str, str] = {}
    broken: set[str] = set()  # failed, or skipped because of a failure
    allowed = {step.name for step in story.spec.steps if step.allow_failure}

    def execute(step: Any) -> str:
        if step.if_ and "false" in step.if_:
            return "Skipped"
        match step.type:
            case None:
                return attempts(step)
            case "executeStory":
                return "Succeeded" if scripts[step.name].at(0) == "ok" else "Failed"
            case "parallel":
                ends = [attempts(branch) for branch in branches_of(step)]
                return "Failed" if "Failed" in ends else "Succeeded"
            case _:
                return "Succeeded"

    def attempts(step: Any) -> str:
        retries = step.execution.retry.max_retries if step.execution and step.execution.retry else 3
        for attempt in range((retries or 0) + 1):
            does = scripts[step.name].at(attempt)
            if does in ("ok", "silent"):
                return "Succeeded"
            if does == "terminal":
                break
        return "Failed"

    for step in story.spec.steps:  # declared in an order that respects needs
        if broken & set(step.needs):
            states[step.name] = "Skipped"
            broken.add(step.name)
            continue
        states[step.name] = execute(step)
        if states[step.name] == "Failed" and step.name not in allowed:
            broken.add(step.name)
    failed = any(state == "Failed" and name not in allowed for name, state in states.items())
    compensation_failed = cleanup_failed = False
    for step in story.spec.compensations:
        states[step.name] = execute(step) if failed else "Skipped"
        compensation_failed |= states[step.name] == "Failed"
    for step in story.spec.finally_:
        states[step.name] = execute(step)
        cleanup_failed |= states[step.name] == "Failed"
    if cleanup_failed or compensation_failed:
        return "Failed", states
    if failed:
        return ("Compensated" if story.spec.compensations else "Failed"), states
    return "Succeeded", states


def random_story(random: Random, *, go_on: bool, ends_early: bool = False) -> tuple[Story, dict[str, Script]]:
    """A random graph of steps of all kinds with random components.

    Args:
        ends_early: it may stop itself, or have little time.
    """
    scripts: dict[str, Script] = {}

    def make(name: str, before: list[str]) -> dict[str, Any]:
        kinds = ["ok", "ok", "ok", "silent", "retry", "terminal", "killed"]
        scripts[name] = Script([random.choice(kinds) for _ in range(random.randint(1, 3))])
        found: dict[str, Any] = {
            "name": name,
            "ref": {"name": "worker"},
            "needs": random.sample(before, random.randint(0, min(2, len(before)))),
            "execution": {"retry": {"maxRetries": random.randint(0, 2), "delay": "1s"}},
        }
        match random.randint(0, 12):
            case 5 if ends_early:
                _turn_into(found, "stop", {"phase": random.choice(["Succeeded", "Failed", "Canceled"])})
            case 0:
                _turn_into(found, "sleep", {"duration": random.choice(["1s", "5s"])})
            case 1:
                _turn_into(found, "condition", None)
            case 2:
                _turn_into(found, "gate", None)
            case 3:
                _turn_into(found, "executeStory", {"storyRef": {"name": "child"}})
            case 4:
                branches = [f"{name}-{letter}" for letter in "xy"[: random.randint(1, 2)]]
                for branch in branches:
                    scripts[branch] = Script([random.choice(kinds)])
                retry = {"retry": {"maxRetries": 1, "delay": "1s"}}
                entries = [{"name": branch, "ref": {"name": "worker"}, "execution": retry} for branch in branches]
                _turn_into(found, "parallel", {"steps": entries})
        if random.random() < 0.15:
            found["allowFailure"] = True
        if random.random() < 0.1:
            found["if"] = "{{ false }}"
        return found

    def _turn_into(found: dict[str, Any], type: str, with_: dict[str, Any] | None) -> None:
        found.pop("ref")
        found.pop("execution")
        found["type"] = type
        if with_ is not None:
            found["with"] = with_

    names = [f"s{index}" for index in range(random.randint(1, 6))]
    steps = [make(name, names[:index]) for index, name in enumerate(names)]
    cleanup: dict[str, Any] = {}
    if random.random() < 0.4:
        cleanup["compensations"] = [make("k", [])]
    if random.random() < 0.4:
        cleanup["finally_"] = [make("f", [])]
    for entry in [*cleanup.get("compensations", ()), *cleanup.get("finally_", ())]:
        entry.pop("allowFailure", None)
    policy: dict[str, Any] = {"retries": {"continueOnStepFailure": go_on}}
    if ends_early and random.random() < 0.4:
        policy["timeouts"] = {"story": random.choice(["1s", "5s", "20s"]), "gracefulShutdownTimeout": "2s"}
    return story(*steps, policy=policy, **cleanup), scripts
