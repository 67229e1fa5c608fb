"""Runs of a Story under faults, in virtual time: one seed is one order of everything that happens.

The operator is the real one: controllers, queues, predicates and reconcilers, on a clock that the simulation moves.
Around it is a cluster that misbehaves: requests take their time, fail, or happen although they seem to fail; watches
lag, each kind by another amount; the operator is killed at any await, or loses its lease to another while its requests
are still on their way; Jobs disappear. Every change is checked against the invariants when it reaches the server. In
the end every run must look as the reference interpreter says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

from bobrapet.api import Engram, EngramTemplate, StepRun, Story, StoryRun, labels
from bobrapet.api.enums import Phase
from bobrapet.config.operator import OperatorConfig, parse
from bobrapet.engine.outcome import final_phase
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.clock import FakeClock, settle
from tests.simulation.cluster import FAIL, GO, LOSE, Broken, Call, Object, Server
from tests.simulation.operator import Process, scheme
from tests.simulation.stories import Case, interpret

STEPS = 6_000
"""Things that may happen before a run must have ended."""

SCHEME = scheme()
QUEUE = "shared"


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong, as chances."""

    request: float = 0.06
    """A request fails, or its answer is lost."""
    crash: float = 0.006
    failover: float = 0.004
    lost_job: float = 0.003
    duplicate: float = 0.02
    """A request for a reconcile that nothing is the reason for."""
    late_list: int = 4
    """A new operator's first list may lack this many changes of a kind."""


NONE = Faults(request=0, crash=0, failover=0, lost_job=0, duplicate=0, late_list=0)


@dataclass
class Component:
    """A process of a step."""

    step: str
    script: str
    attempt: int
    job: str
    pod: ObjectKey
    does: str
    has_reported: bool = False


@dataclass
class Simulation:
    case: Case
    random: Random
    faults: Faults
    trace: list[str] = field(default_factory=list)
    components: list[Component] = field(default_factory=list)
    started: dict[tuple[str, int], int] = field(default_factory=dict)
    """StepRun and attempt -> Jobs that were made for it."""
    lost: dict[str, int] = field(default_factory=dict)
    """StepRun -> Jobs of it that disappeared, by nobody's decision here."""
    is_quiet: bool = False

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.server = Server(self.clock)
        self.processes: list[Process] = []
        self.sees_its_writes = self.random.random() < 0.7
        settings = {f"storyrun.queue.{QUEUE}.concurrency": str(self.case.queue)} if self.case.queue else {}
        self.config = parse(settings).config if settings else OperatorConfig()
        self.roots = [f"r{number}" for number in range(1, self.case.runs + 1)]
        self._create(EngramTemplate, "worker-template", {"version": "1", "supportedModes": ["job"], "image": "x"}, "")
        self._create(Engram, "worker", {"templateRef": {"name": "worker-template"}})
        spec = self.case.spec()
        if self.case.queue:
            spec["policy"] = {**spec["policy"], "queue": QUEUE}
        self._create(Story, "s", spec)
        no_retry = {"retry": {"maxRetries": 0, "delay": "1s"}}
        self._create(Story, "child", {"steps": [{"name": "x", "ref": {"name": "worker"}, "execution": no_retry}]})
        for name in self.roots:
            self._create(StoryRun, name, {"storyRef": {"name": "s"}})
        self.server.check = self._check

    def _create(self, cls: Any, name: str, spec: Object, namespace: str = "wf") -> None:
        metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
        self.server.create(
            cls.KIND, {"apiVersion": cls.API_VERSION, "kind": cls.KIND, "metadata": metadata, "spec": spec}
        )

    # Running

    async def run(self) -> None:
        """Raises `Broken` when something is not as it must be."""
        try:
            await self._start_process()
            for _ in range(STEPS):
                await self._something()
                if all(self._phase(name) for name in self.roots):
                    break
            else:
                raise Broken(f"runs do not end: {[self.server.get('StoryRun', name) for name in self.roots]}")
            await self._come_to_rest()
            self._check_end()
        finally:
            await self._kill_all()

    async def _something(self) -> None:
        """One thing happens, whatever it is."""
        random, faults = self.random, self.faults
        chance = random.random()
        if chance < faults.crash:
            await self._crash()
        elif chance < faults.crash + faults.failover:
            await self._fail_over()
        elif chance < faults.crash + faults.failover + faults.lost_job:
            self._lose_job()
        elif chance < faults.crash + faults.failover + faults.lost_job + faults.duplicate:
            self._duplicate()
        else:
            choices = self._choices()
            if not choices:
                await self._let_time_pass()
                return
            weights = [weight for weight, _, _ in choices]
            _, what, act = random.choices(choices, weights)[0]
            if what:
                self.trace.append(f"{self._time()} {what}")
            result = act()
            if result is not None:
                await result
        await settle()
        if self.server.broken is not None:
            raise self.server.broken

    def _choices(self) -> list[tuple[float, str, Callable[[], Any]]]:
        """What may happen now, with weights."""
        if self.random.random() < 0.1:
            self.server.collect()  # first: what is offered below must still be there
        found: list[tuple[float, str, Callable[[], Any]]] = []
        calls = [(process, call) for process in self.processes for call in process.wire.calls]
        if calls:
            found.append((6.0, "", lambda: self._answer(*self.random.choice(calls))))
        informers = [
            (process, informer)
            for process in self.processes
            if not process.wire.is_cut
            for informer in process.cache.informers.values()
            if informer.behind
        ]
        if informers:
            found.append((5.0, "", lambda: self._deliver(*self.random.choice(informers))))
        if waiting := self._jobs_without_pod():
            job = self.random.choice(waiting)
            found.append((2.0, f"pod of {job['metadata']['name']} starts", lambda: self._start_pod(job)))
        acting = [component for component in self.components if self._can_act(component)]
        if acting:
            found.append((3.0, "", lambda: self._act(self.random.choice(acting))))
        if orders := self._jobs_to_end():
            found.append((2.0, "", lambda: self._end_job(self.random.choice(orders))))
        if gates := self._gates():
            found.append((0.5, "", lambda: self._decide(*self.random.choice(gates))))
        if found and not self.is_quiet:
            found.append((0.6, "", lambda: self.clock.advance(self.random.choice([0.01, 0.3, 1.0, 3.0]))))
        if self.case.cancels and not self.is_quiet:
            found.append((0.05, "", self._cancel))
        return found

    async def _let_time_pass(self) -> None:
        """Nothing can happen before a clock says so."""
        moments = [timer for timer in [self.clock.next_timer] if timer is not None]
        if not moments:
            raise Broken(f"nothing will ever happen: {[self.server.get('StoryRun', name) for name in self.roots]}")
        await self.clock.advance(max(0.0, min(moments) - self.clock.monotonic()))

    async def _come_to_rest(self) -> None:
        """Faults end; everything that is on its way arrives, and clocks go on for a while."""
        self.faults, self.is_quiet = NONE, True
        end = self.clock.monotonic() + 600
        for _ in range(STEPS):
            if self._choices():
                await self._something()
                continue
            if self.server.collect():
                continue
            timer = self.clock.next_timer
            if timer is None or timer > end:
                return
            await self._let_time_pass()
        raise Broken(f"it does not come to rest: {self.trace[-20:]}")

    # The operator

    async def _start_process(self) -> None:
        process = Process(
            self.server,
            self.clock,
            SCHEME,
            self.config,
            behind=lambda: self.random.randint(0, self.faults.late_list),
            sees_its_writes=self.sees_its_writes,
        )
        self.processes.append(process)
        await process.start()
        await settle()

    async def _crash(self) -> None:
        self.trace.append(f"{self._time()} the operator is killed and starts again")
        await self._kill_all()
        await self._start_process()

    async def _fail_over(self) -> None:
        """Another operator begins while requests of this one are on their way."""
        self.trace.append(f"{self._time()} the operator loses its lease to another one")
        for process in self.processes:
            process.wire.is_cut = True
        await self._start_process()

    async def _kill_all(self) -> None:
        self.processes.clear()
        me = asyncio.current_task()
        for _ in range(50):
            tasks = [task for task in asyncio.all_tasks() if task is not me]
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            await settle()
            await asyncio.sleep(0)
        raise AssertionError(f"tasks survive: {asyncio.all_tasks()}")

    def _answer(self, process: Process, call: Call) -> None:
        process.wire.calls.remove(call)
        outcome = GO
        if not call.what.startswith("answer") and self.random.random() < self.faults.request:
            outcome = self.random.choice([FAIL, LOSE] if not call.what.startswith(("get", "list")) else [FAIL])
        if not call.what.startswith("answer") or self.random.random() < 0.2:
            self.trace.append(f"{self._time()} {call.what}: {outcome}")
        if not call.answer.done():
            call.answer.set_result(outcome)

    async def _deliver(self, process: Process, informer: Any) -> None:
        count = self.random.randint(1, max(1, informer.behind))
        self.trace.append(f"{self._time()} {count} of {informer.behind} changes of {informer.gvk.kind} are seen")
        await informer.deliver(count)

    def _duplicate(self) -> None:
        if not self.processes:
            return
        process = self.processes[-1]
        steps = sorted(key.name for key in self.server.of("StepRun"))
        if steps and self.random.random() < 0.7:
            process.enqueue(1, self.random.choice(steps))
        else:
            process.enqueue(0, self.random.choice(self.roots))

    # Jobs, pods and components

    def _lose_job(self) -> None:
        jobs = [key for key, job in self.server.of("Job").items() if not job.get("status", {}).get("conditions")]
        if not jobs:
            return
        key = self.random.choice(sorted(jobs))
        if self.lost.get(key.name, 0) >= 2:
            return  # an operator gives up on a Job that disappears again and again
        self.trace.append(f"{self._time()} somebody deletes Job {key.name}")
        self.lost[key.name] = self.lost.get(key.name, 0) + 1
        self.server.delete("Job", key)

    def _jobs_without_pod(self) -> list[Object]:
        with_pod = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in self.server.of("Pod").values()}
        return [
            job
            for job in self.server.of("Job").values()
            if job["metadata"]["uid"] not in with_pod and not job.get("status", {}).get("conditions")
        ]

    def _start_pod(self, job: Object) -> None:
        metadata, name = job["metadata"], job["metadata"]["name"]
        template = job["spec"]["template"]["metadata"]
        attempt = int(metadata["annotations"][labels.ANNOTATION_ATTEMPT])
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-{metadata['uid'].rpartition('-')[2]}",
                "namespace": "wf",
                "labels": {
                    **template["labels"],
                    "batch.kubernetes.io/job-name": name,
                    "batch.kubernetes.io/controller-uid": metadata["uid"],
                },
                "annotations": template.get("annotations", {}),
                "ownerReferences": [{"kind": "Job", "apiVersion": "batch/v1", "name": name, "uid": metadata["uid"]}],
            },
            "spec": {},
        }
        self.server.create("Pod", pod)
        key = ObjectKey("wf", pod["metadata"]["name"])  # type: ignore[index]
        self.server.patch("Pod", key, {"status": {"phase": "Running"}}, status=True)
        script = self._script(name)
        does = self.case.does(script, attempt)
        self.components.append(Component(name, script, attempt, metadata["uid"], key, does))

    def _script(self, steprun: str) -> str:
        """Whose script the component of a StepRun follows: its step's, in a child run that of the step above."""
        step = self.server.get("StepRun", steprun)
        if step is None:
            return ""
        run = self.server.get("StoryRun", step["spec"]["storyRunRef"]["name"]) or {"metadata": {}}
        parent: str = run["metadata"].get("labels", {}).get(labels.PARENT_STEP, "")
        return parent or str(step["spec"]["stepId"])

    def _can_act(self, component: Component) -> bool:
        return component.does != "hang" or not self._is_alive(component)

    def _is_alive(self, component: Component) -> bool:
        job = self.server.get("Job", component.step)
        return job is not None and job["metadata"]["uid"] == component.job

    def _act(self, component: Component) -> None:
        """A process reports, or ends. One whose Job was deleted may still report once before it is gone."""
        reports = {"ok": "Succeeded", "retry": "Failed", "terminal": "Failed"}
        is_alive = self._is_alive(component)
        if component.does in reports and not component.has_reported and (is_alive or self.random.random() < 0.3):
            component.has_reported = True
            self._report(component, reports[component.does])
            return
        self.components.remove(component)
        if not is_alive:
            if self.server.of("Pod").get(component.pod) is not None:
                self.server.delete("Pod", component.pod)
            return
        code = {"ok": 0, "silent": 0, "killed": 137}.get(component.does, 1)
        terminated = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        phase = "Succeeded" if code == 0 else "Failed"
        status = {"phase": phase, "containerStatuses": [{"name": "engram", "state": {"terminated": terminated}}]}
        self.trace.append(f"{self._time()} {component.step} exits with {code}")
        self.server.patch("Pod", component.pod, {"status": status}, status=True)

    def _report(self, component: Component, phase: str) -> None:
        step = self.server.get("StepRun", component.step)
        status = (step or {}).get("status") or {}
        if step is None or status.get("retries", 0) != component.attempt:
            return  # the fence of the SDK
        if status.get("phase") and Phase(status["phase"]).is_terminal:
            return
        body: Object = {"phase": phase}
        if phase == "Succeeded":
            body["output"] = {"v": component.attempt}
        else:
            body |= {"exitClass": component.does, "exitCode": 1, "lastFailureMsg": component.does}
        self.trace.append(f"{self._time()} {component.step} reports {phase}")
        self.server.patch("StepRun", ObjectKey("wf", component.step), {"status": body}, status=True)

    def _jobs_to_end(self) -> list[tuple[ObjectKey, str]]:
        ended = []
        for key, job in self.server.of("Job").items():
            if job.get("status", {}).get("conditions"):
                continue
            for pod in self.server.of("Pod").values():
                phase = pod.get("status", {}).get("phase")
                if pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"] and phase != "Running":
                    ended.append((key, "Complete" if phase == "Succeeded" else "Failed"))
        return ended

    def _end_job(self, order: tuple[ObjectKey, str]) -> None:
        key, type_ = order
        conditions = [{"type": type_, "status": "True", "reason": "BackoffLimitExceeded"}]
        self.trace.append(f"{self._time()} Job {key.name} is {type_}")
        self.server.patch("Job", key, {"status": {"conditions": conditions}}, status=True)

    # People

    def _gates(self) -> list[tuple[ObjectKey, str, str]]:
        words = {"ok": "Approved", "terminal": "Rejected"}
        gates = [step["name"] for step in self.case.all_steps if step.get("type") == "gate"]
        return [
            (key, name, words[self.case.does(name, 0)])
            for key, run in self.server.of("StoryRun").items()
            for name in gates
            if run.get("status", {}).get("stepStates", {}).get(name, {}).get("phase") == "Paused"
            and self.case.does(name, 0) in words
            and name not in run["status"].get("gates", {})
        ]

    def _decide(self, key: ObjectKey, gate: str, word: str) -> None:
        self.trace.append(f"{self._time()} somebody: {gate} of {key.name} is {word}")
        self.server.patch("StoryRun", key, {"status": {"gates": {gate: {"state": word}}}}, status=True)

    def _cancel(self) -> None:
        name = self.random.choice(self.roots)
        self.trace.append(f"{self._time()} somebody cancels {name}")
        self.server.patch("StoryRun", ObjectKey("wf", name), {"spec": {"cancelRequested": True}})

    # Invariants

    def _check(self, kind: str, old: Object | None, new: Object) -> None:
        """Every change, before it is stored."""
        name = new["metadata"]["name"]
        if kind == "StoryRun" and old is not None:
            self._check_run(name, old.get("status") or {}, new.get("status") or {})
        elif kind == "StepRun" and old is not None:
            self._check_step(name, old, new)
        elif kind == "StepRun":
            self._check_start(name, new)
        elif kind == "Job" and old is None:
            self._check_job(name, new)

    def _check_run(self, name: str, before: Object, after: Object) -> None:
        phase = before.get("phase")
        if phase and Phase(phase).is_terminal and after.get("phase") != phase:
            raise Broken(f"run {name} went from {phase} to {after.get('phase')}")
        if after.get("attempts", 0) > 1:
            raise Broken(f"run {name} began twice")
        for step, state in before.get("stepStates", {}).items():
            now = after.get("stepStates", {}).get(step)
            if now is None:
                raise Broken(f"the state of step {step} of {name} was lost")
            if Phase(state["phase"]).is_terminal and now != state:
                raise Broken(f"step {step} of {name} went from {state} to {now}")
        tokens = after.get("triggerTokens", [])
        if len(tokens) != len(set(tokens)):
            raise Broken(f"run {name} counts twice: {tokens}")

    def _check_step(self, name: str, old: Object, new: Object) -> None:
        ended, now = final_phase(StepRun.model_validate(old)), final_phase(StepRun.model_validate(new))
        if ended is not None and now is not ended:
            raise Broken(f"{name} was {ended}, is {now}")
        if (new.get("status") or {}).get("retries", 0) < (old.get("status") or {}).get("retries", 0):
            raise Broken(f"retries of {name} went down")

    def _check_start(self, name: str, new: Object) -> None:
        """A StepRun is created only when the truth says that what it needs has ended."""
        run_name = new["spec"]["storyRunRef"]["name"]
        run = self.server.get("StoryRun", run_name)
        if new["metadata"]["ownerReferences"][0]["uid"] in self.server.deleted:
            return  # somebody deleted the run while the request was on its way; the StepRun is collected with it
        if run is None:
            raise Broken(f"{name} starts in a run that never was")
        status = run.get("status") or {}
        if not status.get("phase") or Phase(status["phase"]).is_terminal:
            raise Broken(f"{name} starts in a run that is {status.get('phase')}")
        states = status.get("stepStates", {})
        declared = new["metadata"]["labels"].get(labels.PARENT_STEP) or new["spec"]["stepId"]
        mine = states.get(declared)
        if mine is None or Phase(mine["phase"]).is_terminal:
            raise Broken(f"{name} starts, but its recorded state is {mine}")
        if run_name not in self.roots:
            return
        (step,) = [step for step in self.case.all_steps if step["name"] == declared]
        needs = {*step.get("needs", ()), *_reads(step)}
        for need in needs:
            state = states.get(need)
            if state is None or not Phase(state["phase"]).is_terminal:
                raise Broken(f"{name} starts before {need} has ended: {state}")
        if step in self.case.finally_ and not self._is_over(states, self.case.steps):
            raise Broken(f"{name} cleans up before the main steps have ended")

    def _is_over(self, states: Object, steps: list[Object]) -> bool:
        phases = [states.get(step["name"], {}).get("phase") for step in steps]
        return all(phase and Phase(phase).is_terminal for phase in phases)

    def _check_job(self, name: str, job: Object) -> None:
        step = self.server.get("StepRun", name)
        if step is None:
            return  # its StepRun was deleted while the request was on its way; the Job is collected with it
        if (final := final_phase(StepRun.model_validate(step))) is not None:
            raise Broken(f"{name} runs again after its end was recorded: {final}")
        attempt = int(job["metadata"]["annotations"][labels.ANNOTATION_ATTEMPT])
        if attempt != (step.get("status") or {}).get("retries", 0):
            raise Broken(f"{name} runs attempt {attempt}, its status says {step.get('status')}")
        self.started[name, attempt] = self.started.get((name, attempt), 0) + 1
        if self.started[name, attempt] > 1 + self.lost.get(name, 0):
            raise Broken(f"attempt {attempt} of {name} runs {self.started[name, attempt]} times")

    def _check_end(self) -> None:
        expected = interpret(self.case) if self.case.is_predictable else None
        for key, run in self.server.of("StoryRun").items():
            status = run.get("status") or {}
            if not self._phase(key.name):
                raise Broken(f"run {key.name} has not ended: {status}")
            states = {name: state["phase"] for name, state in status.get("stepStates", {}).items()}
            if open_ := [name for name, phase in states.items() if not Phase(phase).is_terminal]:
                raise Broken(f"run {key.name} has ended, its steps {open_} have not: {states}")
            self._check_counters(key.name, status, states)
            if expected is not None and key.name in self.roots and (status["phase"], states) != expected:
                raise Broken(f"run {key.name} came to {(status['phase'], states)}, it must come to {expected}")
        for key, step in self.server.of("StepRun").items():
            if final_phase(StepRun.model_validate(step)) is None:
                raise Broken(f"{key.name} has not ended: {step.get('status')}")
        if self.components:
            raise Broken(f"components outlive their runs: {self.components}")

    def _check_counters(self, name: str, status: Object, states: dict[str, str]) -> None:
        declared = len(self.case.all_steps) if name in self.roots else 1
        phases = list(states.values())
        wanted = {
            "stepsTotal": declared,
            "stepsComplete": phases.count("Succeeded"),
            "stepsSkipped": phases.count("Skipped"),
            "stepsFailed": sum(phase not in ("Succeeded", "Skipped") for phase in phases),
        }
        found = {counter: status.get(counter, 0) for counter in wanted}
        if found != wanted or status.get("active"):
            raise Broken(f"counters of {name} are {found}, active {status.get('active')}; its steps say {wanted}")

    # Looking

    def _phase(self, run: str) -> str:
        """The phase of a run that has ended; empty while it goes on."""
        found = self.server.get("StoryRun", run)
        if found is None:
            return "gone"
        phase = (found.get("status") or {}).get("phase")
        return phase if phase and Phase(phase).is_terminal else ""

    def _time(self) -> str:
        now: datetime = self.clock.now()
        return f"{now:%M:%S}.{now.microsecond // 1000:03d}"


def _reads(step: Object) -> list[str]:
    """Steps whose output it reads."""
    text = str((step.get("with") or {}).get("x", "")) if "ref" in step else ""
    return [text.split(".")[1]] if text else []
