"""What must hold at every write, and in the end.

Every change is looked at when it reaches the server, against the truth of that moment. In the end each run must be as
the reference interpreter says; where the end depends on what happened first (a stop, a cancel, a timeout, an edit), it
must at least be one of those that the Story allows, and its phase must follow from those of its steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bobrapet.api import StepRun, labels
from bobrapet.api.enums import Phase
from bobrapet.engine.outcome import final_phase
from bobrapet.runtime.client.object import ObjectKey
from tests.simulation.cluster import Broken, Object
from tests.simulation.stories import FAILED, interpret, needed, outcomes, phases_of_run

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

REQUESTS = (
    (labels.ANNOTATION_REDRIVE_TOKEN, labels.ANNOTATION_REDRIVE_OBSERVED),
    (labels.ANNOTATION_REDRIVE_FROM_STEP, labels.ANNOTATION_REDRIVE_FROM_STEP_OBSERVED),
)


class Invariants:
    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._server, self._case = simulation.server, simulation.case
        self._started: dict[tuple[str, int], int] = {}
        """Uid of a StepRun and attempt -> Jobs that were made for it."""
        self._succeeded: set[tuple[str, str]] = set()
        """Uid of a run and name of a StepRun or child run that succeeded in it."""

    def check(self, kind: str, old: Object | None, new: Object) -> None:
        """Raises `Broken` when a change must not be."""
        name = new["metadata"]["name"]
        match kind:
            case "StoryRun" if old is not None:
                self._run_changes(name, old, new)
            case "StoryRun" if labels.PARENT_STEP in new["metadata"].get("labels", {}):
                self._step_starts(name, new)
            case "StepRun" if old is not None:
                self._step_changes(name, old, new)
            case "StepRun":
                self._step_starts(name, new)
                self._takes_a_slot(name, new)
            case "Job" if old is None:
                self._job_starts(name, new)

    # Runs

    def _run_changes(self, name: str, old: Object, new: Object) -> None:
        before, after = old.get("status") or {}, new.get("status") or {}
        phase, is_redriven = before.get("phase"), bool(open_request(old))
        if phase and Phase(phase).is_terminal and after.get("phase") != phase and not is_redriven:
            raise Broken(f"run {name} went from {phase} to {after.get('phase')}")
        if after.get("attempts", 0) > 1 + self._simulation.people.redrives.get(name, 0):
            raise Broken(f"run {name} began {after['attempts']} times")
        states = after.get("stepStates", {})
        lost = set(before.get("stepStates", {})) - set(states)
        if lost and not is_redriven:
            raise Broken(f"the states of steps {sorted(lost)} of {name} were lost")
        if lost and self._case.change not in ("add", "remove"):
            self._states_go(name, old, set(before["stepStates"]), lost)
        for step, state in before.get("stepStates", {}).items():
            if step not in lost and Phase(state["phase"]).is_terminal and states[step] != state:
                raise Broken(f"step {step} of {name} went from {state} to {states[step]}")
        for step, state in states.items():
            if state["phase"] == "Succeeded" and before.get("stepStates", {}).get(step) != state:
                self._step_succeeded(name, new, step)
        tokens = after.get("triggerTokens", [])
        if len(tokens) != len(set(tokens)):
            raise Broken(f"run {name} counts twice: {tokens}")
        if after.get("phase") and Phase(after["phase"]).is_terminal:
            if open_ := [step for step, state in states.items() if not Phase(state["phase"]).is_terminal]:
                raise Broken(f"run {name} ends as {after['phase']}, its steps {open_} do not: {states}")
            if after["phase"] == "Succeeded":
                self._succeeded |= {(owner["uid"], name) for owner in new["metadata"].get("ownerReferences", ())}

    def _states_go(self, name: str, old: Object, known: set[str], lost: set[str]) -> None:
        """What a redrive forgets: everything, or the step with all that depends on it and what was not reached."""
        request = open_request(old)
        if ":" not in request:
            must, may = known, known
        else:
            must = self._case.downstream(request.partition(":")[0]) & known
            skipped = [step for step, state in old["status"]["stepStates"].items() if state["phase"] == "Skipped"]
            cleanup = {step["name"] for step in (*self._case.compensations, *self._case.finally_)}
            may = must | cleanup | set[str]().union(*map(self._case.downstream, skipped))
            if self._simulation.people.redrives.get(name, 0) > 1:
                may = known  # an earlier request, replaced by this one, may have deleted children above
        if not must <= lost <= may:
            raise Broken(f"redrive {request} of {name} forgets {sorted(lost)}, must {sorted(must)}, may {sorted(may)}")

    def _step_succeeded(self, name: str, run: Object, step: str) -> None:
        """A recorded success is one that happened."""
        definition = self._definition(run, step)
        if definition is None or "ref" not in definition:
            return
        if (run["metadata"]["uid"], f"{name}-{step}") not in self._succeeded:
            raise Broken(f"step {step} of {name} is said to have succeeded, its StepRun has not")

    # Steps

    def _step_changes(self, name: str, old: Object, new: Object) -> None:
        ended, now = final_phase(StepRun.model_validate(old)), final_phase(StepRun.model_validate(new))
        if ended is not None and now is not ended:
            raise Broken(f"{name} was {ended}, is {now}")
        before, after = old.get("status") or {}, new.get("status") or {}
        if ended is not None and before.get("output") != after.get("output"):
            raise Broken(f"the output of {name} changed after its end")
        if retries(new) < retries(old):
            raise Broken(f"retries of {name} went down")
        if now is Phase.SUCCEEDED:
            self._succeeded |= {(owner["uid"], name) for owner in new["metadata"]["ownerReferences"]}

    def _step_starts(self, name: str, new: Object) -> None:
        """A StepRun or child run is created only when the truth says that what its step needs has ended."""
        owner = new["metadata"]["ownerReferences"][0]
        if owner["uid"] in self._server.deleted:
            return  # somebody deleted the run while the request was on its way; the child is collected with it
        run = self._server.get("StoryRun", owner["name"])
        if run is None:
            raise Broken(f"{name} starts in a run that never was")
        status = run.get("status") or {}
        has_ended = bool(status.get("phase")) and Phase(status["phase"]).is_terminal
        if has_ended and self._simulation.is_split:
            return  # requested by an operator while it led; it is asked to end like all that a run leaves behind
        if not status.get("phase") or has_ended:
            raise Broken(f"{name} starts in a run that is {status.get('phase')}")
        if new["metadata"]["labels"].get(labels.MATERIALIZE) == "true":
            return  # no step of the Story
        states = status.get("stepStates", {})
        declared = new["metadata"]["labels"].get(labels.PARENT_STEP) or new["spec"]["stepId"]
        mine = states.get(declared)
        has_ended = mine is not None and Phase(mine["phase"]).is_terminal
        if has_ended and self._simulation.is_split:
            return
        if mine is None or has_ended:
            raise Broken(f"{name} starts, but its recorded state is {mine}")
        step = self._definition(run, declared)
        if step is not None and owner["name"] in self._simulation.roots and not self._case.change:
            self._is_its_turn(name, step, status)

    def _is_its_turn(self, name: str, step: Object, status: Object) -> None:
        case, states = self._case, status.get("stepStates", {})
        for need in needed(step):
            state = states.get(need)
            if state is None or not Phase(state["phase"]).is_terminal:
                raise Broken(f"{name} starts before {need} has ended: {state}")
            is_fine = state["phase"] in ("Succeeded", "Skipped") or case.step(need).get("allowFailure")
            if step in case.steps and (not is_fine or state.get("reason") == "DependencyFailed"):
                raise Broken(f"{name} starts although it needs {need}, which is {state}")
        if step in case.steps:
            if (why := self._is_ending(status)) and not self._simulation.is_split:
                raise Broken(f"{name} starts although its run is ending: {why}")
            return
        if not is_over(states, case.steps):
            raise Broken(f"{name} cleans up before the main steps have ended")
        if step in case.finally_ and case.compensations and not is_over(states, case.compensations):
            raise Broken(f"{name} cleans up before the compensations have ended")

    def _is_ending(self, status: Object) -> str:
        """Why no main step may start any more, as the status says it; empty: they may."""
        states, case = status.get("stepStates", {}), self._case
        if any(found["type"] == "Terminating" and found["status"] == "True" for found in status.get("conditions", [])):
            return "it was canceled"
        if (status.get("error") or {}).get("type") == "TimedOut":
            return "its time is over"
        for step in case.steps:
            phase = states.get(step["name"], {}).get("phase")
            if step.get("type") == "stop" and phase == "Succeeded":
                return f"step {step['name']} stopped it"
            if not case.goes_on and phase in FAILED and not step.get("allowFailure"):
                return f"step {step['name']} failed"
        return ""

    def _takes_a_slot(self, name: str, new: Object) -> None:
        """No limit is exceeded by an operator that is alone and sees what it writes."""
        simulation, case = self._simulation, self._case
        if not simulation.sees_its_writes or simulation.may_exceed_limits:
            return
        mine = new["metadata"]["labels"]
        if mine.get(labels.MATERIALIZE) == "true":
            return
        holders = [step["metadata"]["labels"] for step in self._server.of("StepRun").values() if _holds_a_slot(step)]
        story = mine[labels.STORY_NAME]
        limits = [
            ("the operator", case.limit, len(holders)),
            ("its queue", case.queue, sum(found.get(labels.QUEUE) == mine.get(labels.QUEUE) for found in holders)),
        ]
        if story != "child":
            concurrency = case.policy.get("concurrency", 0)
            limits.append((story, concurrency, sum(found[labels.STORY_NAME] == story for found in holders)))
        for whose, limit, held in limits:
            if limit and held >= limit:
                raise Broken(f"{name} starts although all {limit} slots of {whose} are taken ({held})")

    def _job_starts(self, name: str, job: Object) -> None:
        step = self._server.get("StepRun", name)
        uid = job["metadata"]["ownerReferences"][0]["uid"]
        if step is None or step["metadata"]["uid"] != uid:
            return  # its StepRun was deleted while the request was on its way; the Job is collected with it
        final, lost = final_phase(StepRun.model_validate(step)), self._simulation.nodes.lost.get(uid, 0)
        attempt, due = int(job["metadata"]["annotations"][labels.ANNOTATION_ATTEMPT]), retries(step)
        if self._simulation.is_split and (
            attempt < due or (final is not None and (final is not Phase.SUCCEEDED or lost))
        ):
            return  # a request that an operator sent while it led; the one that leads now has deleted the Job before it
        if final is not None:
            raise Broken(f"{name} runs again after its end was recorded: {final}")
        if attempt != due:
            raise Broken(f"{name} runs attempt {attempt}, its status says {step.get('status')}")
        self._started[uid, attempt] = self._started.get((uid, attempt), 0) + 1
        # An operator that does not lead any more may still get one through that it asked for before.
        if self._started[uid, attempt] > 1 + lost + self._simulation.is_split:
            raise Broken(f"attempt {attempt} of {name} runs {self._started[uid, attempt]} times")

    # The end

    def check_end(self) -> None:
        """At rest."""
        for key, run in self._server.of("StoryRun").items():
            if not self._simulation.has_ended(key.name):
                raise Broken(f"run {key.name} has not ended: {run.get('status')}")
            self._run_ended(key.name, run)
        for key, step in self._server.of("StepRun").items():
            if final_phase(StepRun.model_validate(step)) is None:
                raise Broken(f"{key.name} has not ended: {step.get('status')}")
            if self._case.ttl and step["metadata"]["labels"][labels.STORY_NAME] != "child":
                raise Broken(f"{key.name} outlives its time")
        if self._simulation.nodes.components:
            raise Broken(f"components outlive their runs: {self._simulation.nodes.components}")

    def _run_ended(self, name: str, run: Object) -> None:
        status, case = run["status"], self._case
        states = {step: state["phase"] for step, state in status.get("stepStates", {}).items()}
        self._check_counters(name, run, states)
        if name not in self._simulation.roots or case.change in ("add", "remove"):
            return
        if case.is_predictable:
            if (found := (status["phase"], states)) != (expected := interpret(case)):
                raise Broken(f"run {name} came to {found}, it must come to {expected}")
        else:
            self._is_possible(name, status, states)
        if status["phase"] == "Succeeded" and not case.stops:
            given = {step: str(value) for step, value in status.get("output", {}).items()}
            if given != dict.fromkeys(case.output, "0"):
                raise Broken(f"the output of {name} is {given}")

    def _is_possible(self, name: str, status: Object, states: dict[str, str]) -> None:
        allowed = outcomes(self._case)
        for step, phase in states.items():
            if phase not in allowed[step]:
                raise Broken(f"step {step} of {name} is {phase}, it can only be {sorted(allowed[step])}")
        possible = phases_of_run(self._case, states)
        if name in self._simulation.people.canceled:
            possible.add("Finished")
        if "timeouts" in self._case.policy:
            possible.add("Timeout")
        if status["phase"] not in possible:
            raise Broken(f"run {name} is {status['phase']}, its steps say {sorted(possible)}: {states}")

    def _check_counters(self, name: str, run: Object, states: dict[str, str]) -> None:
        status, story = (
            run["status"],
            self._server.of("Story")[ObjectKey("wf", run["spec"]["storyRef"]["name"])]["spec"],
        )
        declared = [step["name"] for block in ("steps", "compensations", "finally") for step in story.get(block, ())]
        wanted = {
            "stepsTotal": len(declared),
            "stepsComplete": _count(states, declared, lambda phase: phase == "Succeeded"),
            "stepsSkipped": _count(states, declared, lambda phase: phase == "Skipped"),
            "stepsFailed": _count(states, declared, lambda phase: phase not in ("Succeeded", "Skipped")),
        }
        found = {counter: status.get(counter, 0) for counter in wanted}
        is_edited = self._case.change in ("add", "remove")  # a run that ended before does not follow the new Story
        if self._case.change == "delete" and not states and name in self._simulation.people.canceled:
            is_edited = True  # it was canceled while it waited for its Story, so nobody could count the steps
        if (found != wanted and not is_edited) or status.get("active"):
            raise Broken(f"counters of {name} are {found}, active {status.get('active')}; its steps say {wanted}")

    def _definition(self, run: Object, step: str) -> Any:
        """A step of the Story of a run; None in child runs, and for what an edit brought."""
        if run["metadata"]["name"] not in self._simulation.roots:
            return None
        return next((found for found in self._case.all_steps if found["name"] == step), None)


def _count(states: dict[str, str], declared: list[str], is_counted: Callable[[str], bool]) -> int:
    return sum(is_counted(phase) for step, phase in states.items() if step in declared)


def open_request(run: Object) -> str:
    """A redrive that was asked for and is not done; empty: none."""
    annotations = run["metadata"].get("annotations", {})
    for asked, observed in reversed(REQUESTS):
        if annotations.get(asked, "") != annotations.get(observed, ""):
            return str(annotations[asked])
    return ""


def is_over(states: Object, steps: list[Object]) -> bool:
    phases = [states.get(step["name"], {}).get("phase") for step in steps]
    return all(phase and Phase(phase).is_terminal for phase in phases)


def retries(step: Object) -> int:
    found: int = (step.get("status") or {}).get("retries", 0)
    return found


def _holds_a_slot(step: Object) -> bool:
    if (step.get("status") or {}).get("phase") in ("Paused", "Blocked"):
        return False
    if step["metadata"]["labels"].get(labels.MATERIALIZE) == "true":
        return False  # what a step waits for must not wait for its slot
    return final_phase(StepRun.model_validate(step)) is None
