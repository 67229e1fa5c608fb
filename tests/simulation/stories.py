"""Random Stories, what their components and people do, and what a run of them must come to.

A `Case` is plain data, so that it can be printed, repeated and made smaller. `interpret` is the reference: it knows
nothing of time, caches or faults, and says as simply as possible how every step of a run ends.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

Object = dict[str, Any]
FAILED = frozenset({"Failed", "Timeout"})
STOPPED = {"Succeeded": "Succeeded", "Failed": "Failed", "Canceled": "Canceled"}
SIMPLER: Object = {
    "runs": 1,
    "queue": 0,
    "limit": 0,
    "is_urgent": False,
    "cancels": False,
    "redrives": "",
    "change": "",
    "offloads": False,
    "decides_early": False,
    "ttl": 0,
    "output": (),
}
"""The fields of a case that are no part of its graph, as simple as they can be."""
PLANS = ("ok", "ok", "ok", "ok", "silent", "retry", "terminal", "killed")
"""What a component may do in one attempt.

`silent`: exit 0 without a report; `killed`: exit 137 without a report; `hang`: runs until it is killed.
"""


@dataclass(frozen=True)
class Case:
    """One Story with the behaviour of its components."""

    steps: list[Object]
    compensations: list[Object] = field(default_factory=list)
    finally_: list[Object] = field(default_factory=list)
    policy: Object = field(default_factory=dict)
    scripts: dict[str, list[str]] = field(default_factory=dict)
    """Step, branch or gate -> what it does, attempt by attempt; the last entry repeats."""
    runs: int = 1
    queue: int = 0
    """Limit of the queue that all runs share; 0: none."""
    limit: int = 0
    """Limit of the whole operator; 0: none."""
    is_urgent: bool = False
    """Whether every other run has a higher priority."""
    cancels: bool = False
    """Whether somebody cancels runs at some moment."""
    redrives: str = ""
    """`whole` or `step`: how somebody runs runs again, at any moment."""
    change: str = ""
    """What happens to the Story in the middle: `delete` (it comes back), `add` or `remove` a step."""
    offloads: bool = False
    """Whether inputs and outputs are in a payload store."""
    decides_early: bool = False
    """Whether gates may be decided before they are reached."""
    ttl: int = 0
    """Seconds after which the children of a run that ended are deleted; 0: long after."""
    output: tuple[str, ...] = ()
    """Steps whose value is in the output of the run."""

    @property
    def goes_on(self) -> bool:
        """Whether independent steps go on after a failure."""
        return bool(self.policy.get("retries", {}).get("continueOnStepFailure", False))

    @property
    def stops(self) -> bool:
        """Whether a step may stop the run."""
        return any(step.get("type") == "stop" for step in self.all_steps)

    @property
    def is_predictable(self) -> bool:
        """Whether the end depends on the Story alone and not on what happens first."""
        is_cut_short = self.stops or self.cancels or "timeouts" in self.policy
        return self.goes_on and not is_cut_short and self.change in ("", "delete")

    def step(self, name: str) -> Object:
        return next(step for step in self.all_steps if step["name"] == name)

    def downstream(self, name: str) -> set[str]:
        """A step, and all of its block that need it."""
        found = {name}
        block = next(block for block in (self.steps, self.compensations, self.finally_) if self.step(name) in block)
        for step in block:  # declared in an order that respects what they need
            if found & needed(step):
                found.add(step["name"])
        return found

    @property
    def all_steps(self) -> list[Object]:
        return [*self.steps, *self.compensations, *self.finally_]

    def spec(self) -> Object:
        found: Object = {"pattern": "batch", "steps": self.steps, "policy": self.policy}
        if self.compensations:
            found["compensations"] = self.compensations
        if self.finally_:
            found["finally"] = self.finally_
        if self.output:
            found["output"] = {name: f"{{{{ int steps.{name}.output.v }}}}" for name in self.output}
        if self.ttl:
            found["policy"] = {**self.policy, "execution": {"job": {"ttlSecondsAfterFinished": self.ttl}}}
        return found

    def does(self, step: str, attempt: int) -> str:
        script = self.scripts.get(step, ["ok"])
        return script[min(attempt, len(script) - 1)]


def random_case(random: Random) -> Case:
    """A graph of steps of all kinds, with policies."""
    scripts: dict[str, list[str]] = {}
    ends_early = random.random() < 0.3
    surely_fine: list[str] = []

    def make(name: str, before: list[str]) -> Object:
        scripts[name] = [random.choice(PLANS) for _ in range(random.randint(1, 3))]
        if random.random() < 0.05:
            scripts[name][0] = "hang"
        found: Object = {"name": name, "ref": {"name": "worker"}}
        if needs := random.sample(before, random.randint(0, min(2, len(before)))):
            found["needs"] = needs
        found["execution"] = {"retry": {"maxRetries": random.randint(0, 2), "delay": "1s"}, "timeout": "10m"}
        _choose_kind(found, name)
        if "ref" in found and surely_fine and random.random() < 0.4:
            read = random.choice(surely_fine)
            found["with"] = {"x": f"{{{{ steps.{read}.output.v }}}}"}
            if random.random() < 0.3:
                found["requires"] = [f"steps.{read}.output.v"]
        if random.random() < 0.15:
            found["allowFailure"] = True
        if random.random() < 0.1:
            found["if"] = "{{ false }}"
        elif random.random() < 0.15:
            found["if"] = random.choice(["{{ eq inputs.n 7.0 }}", "{{ ne inputs.n 7.0 }}"])
        elif surely_fine and random.random() < 0.2:
            read = random.choice(surely_fine)
            found["if"] = f"{{{{ {random.choice(['ge', 'lt'])} steps.{read}.output.v 0.0 }}}}"
        if _surely_succeeds(found, scripts):
            surely_fine.append(name)
        return found

    def _choose_kind(found: Object, name: str) -> None:
        decision = random.choice(["ok", "ok", "terminal", "hang"])
        last: Object = {"timeout": "2s", "onTimeout": random.choice(["fail", "skip"])}
        match random.randint(0, 15):
            case 0:
                _turn_into(found, "sleep", {"duration": random.choice(["1s", "5s"])})
            case 1:
                _turn_into(found, "condition", None)
            case 2:
                scripts[name] = [decision]
                _turn_into(found, "gate", last if decision == "hang" else {})
            case 3 | 4:
                wait = random.choice([{}, {"waitForCompletion": False}])
                scripts[name] = [random.choice(PLANS)]
                _turn_into(found, "executeStory", {"storyRef": {"name": "child"}, **wait})
            case 5 | 6:
                branches = [f"{name}-{letter}" for letter in "xyz"[: random.randint(1, 3)]]
                for branch in branches:
                    scripts[branch] = [random.choice(PLANS)]
                execution = {"retry": {"maxRetries": 1, "delay": "1s"}}
                entries = [{"name": branch, "ref": {"name": "worker"}, "execution": execution} for branch in branches]
                _turn_into(found, "parallel", {"steps": entries})
            case 7:
                scripts[name] = [decision]
                until = "{{ false }}" if decision == "hang" else "{{ true }}"
                _turn_into(found, "wait", {"until": until, **(last if decision == "hang" else {})})
            case 8 if ends_early:
                _turn_into(found, "stop", {"phase": random.choice(["Succeeded", "Failed", "Canceled"])})

    names = [f"s{index}" for index in range(random.randint(1, 6))]
    steps = [make(name, names[:index]) for index, name in enumerate(names)]
    output = tuple(random.sample(surely_fine, min(len(surely_fine), random.randint(0, 2))))
    surely_fine.clear()
    compensations = [make("k", [])] if random.random() < 0.35 else []
    surely_fine.clear()
    cleanup = [make("f", [])] if random.random() < 0.35 else []
    for entry in [*compensations, *cleanup]:
        entry.pop("allowFailure", None)
    policy: Object = {"retries": {"continueOnStepFailure": random.random() < 0.75}}
    if ends_early and random.random() < 0.4:
        policy["timeouts"] = {"story": random.choice(["1s", "5s", "20s"]), "gracefulShutdownTimeout": "2s"}
    if random.random() < 0.25:
        policy["concurrency"] = random.randint(1, 2)
    return Case(
        steps=steps,
        compensations=compensations,
        finally_=cleanup,
        policy=policy,
        scripts=scripts,
        runs=random.choice([1, 1, 1, 2, 3]),
        queue=random.choice([0, 0, 0, 1, 2]),
        limit=random.choice([0, 0, 0, 0, 1, 3]),
        is_urgent=random.random() < 0.3,
        cancels=ends_early and random.random() < 0.5,
        redrives=random.choice(["whole", "step", *[""] * 6]),
        change=random.choice(["delete", "add", "remove", *[""] * 17]),
        offloads=random.random() < 0.2,
        decides_early=random.random() < 0.5,
        ttl=random.choice([0, 0, 0, 20]),
        output=output,
    )


def _turn_into(found: Object, type: str, with_: Object | None) -> None:
    found.pop("ref")
    found.pop("execution")
    found["type"] = type
    if with_:
        found["with"] = with_


def _surely_succeeds(step: Object, scripts: Mapping[str, list[str]]) -> bool:
    """Whether its output can be read whatever happens: it succeeds at the first attempt, and nothing it needs fails."""
    return "ref" in step and scripts[step["name"]][0] == "ok" and not {"needs", "if", "with"} & step.keys()


def needed(step: Object) -> set[str]:
    """The steps that must have ended before a step starts: those that it names, and those that it reads."""
    read = [step.get("if", ""), step.get("requires", ""), step.get("with", "") if "ref" in step else ""]
    return {*step.get("needs", ()), *re.findall(r"steps\.([\w-]+)\.", str(read))}


def is_false(step: Object) -> bool:
    """Whether its `if` skips a step."""
    return any(word in step.get("if", "") for word in ("false", "ne ", "lt "))


def interpret(case: Case) -> tuple[str, dict[str, str]]:
    """How a run ends without faults, and each of its steps; for Stories that go on after failures."""
    states: dict[str, str] = {}
    broken: set[str] = set()  # failed, or skipped because of a failure
    for step in case.steps:  # declared in an order that respects what they need
        if broken & set(step.get("needs", ())):
            states[step["name"]] = "Skipped"
            broken.add(step["name"])
            continue
        states[step["name"]] = _executed(case, step)
        if states[step["name"]] in FAILED and not step.get("allowFailure"):
            broken.add(step["name"])
    has_failed = any(states[step["name"]] in FAILED and not step.get("allowFailure") for step in case.steps)
    for step in case.compensations:
        states[step["name"]] = _executed(case, step) if has_failed else "Skipped"
    for step in case.finally_:
        states[step["name"]] = _executed(case, step)
    (phase,) = phases_of_run(case, states)
    return phase, states


def phases_of_run(case: Case, states: Mapping[str, str]) -> set[str]:
    """How a run may have ended whose steps ended so, unless somebody or its time ended it."""
    failed = [step for step in case.all_steps if states.get(step["name"], "Skipped") not in ("Succeeded", "Skipped")]
    if any(step not in case.steps for step in failed):
        return {"Failed"}
    stops = [step for step in case.steps if step.get("type") == "stop" and states.get(step["name"]) == "Succeeded"]
    if stops:
        return {STOPPED[step["with"]["phase"]] for step in stops}
    if any(not step.get("allowFailure") for step in failed):
        return {"Compensated" if case.compensations else "Failed"}
    return {"Succeeded"}


def outcomes(case: Case) -> dict[str, set[str]]:
    """How each step may end, in a Story whose steps end differently according to what happens first."""
    found = {}
    is_ended = case.stops or case.cancels
    for step in case.all_steps:
        possible = found[step["name"]] = {_executed(case, step), "Skipped"}
        if is_false(step):
            continue
        type_ = step.get("type")
        if is_ended:
            possible |= {"Canceled"}
        if case.cancels or "timeouts" in case.policy:
            possible |= {"Timeout"}
        if is_ended or "timeouts" in case.policy:
            possible |= {"Finished"} if type_ == "executeStory" else set()
            may_fail = type_ == "parallel" or (type_ is None and case.scripts.get(step["name"], ["ok"]) != ["ok"])
            possible |= {"Failed"} if may_fail else set()
        if type_ == "parallel" and not case.goes_on:
            possible |= {"Canceled"}  # some branches had no slot yet when a step failed
    return found


def _executed(case: Case, step: Object) -> str:
    """How a step ends that runs, when nothing interferes."""

    def execute(step: Object) -> str:
        name = step["name"]
        if is_false(step):
            return "Skipped"
        match step.get("type"):
            case None:
                return attempts(step)
            case "executeStory":
                if step["with"].get("waitForCompletion") is False:
                    return "Succeeded"
                return "Succeeded" if case.does(name, 0) in ("ok", "silent") else "Failed"
            case "parallel":
                return "Failed" if any(attempts(branch) in FAILED for branch in step["with"]["steps"]) else "Succeeded"
            case "gate" | "wait":
                if case.does(name, 0) == "hang":
                    return "Skipped" if step["with"]["onTimeout"] == "skip" else "Timeout"
                return "Failed" if step["type"] == "gate" and case.does(name, 0) == "terminal" else "Succeeded"
            case _:
                return "Succeeded"

    def attempts(step: Object) -> str:
        for attempt in range(step["execution"]["retry"]["maxRetries"] + 1):
            does = case.does(step["name"], attempt)
            if does in ("ok", "silent"):
                return "Succeeded"
            if does == "terminal":
                break
        return "Timeout" if does == "hang" else "Failed"

    return execute(step)


# Making a failing case smaller


def smaller(case: Case) -> Iterator[Case]:
    """Cases with one thing less, largest cuts first."""
    for block in ("steps", "compensations", "finally_"):
        entries = getattr(case, block)
        for index in range(len(entries)):
            if block != "steps" or len(entries) > 1:
                yield _without(case, block, index)
    for name, value in SIMPLER.items():
        if getattr(case, name) != value:
            yield replace(case, **{name: value})
    for key in case.policy:
        if key != "retries":
            yield replace(case, policy={name: value for name, value in case.policy.items() if name != key})
    for block in ("steps", "compensations", "finally_"):
        for index, step in enumerate(getattr(case, block)):
            for key in ("needs", "if", "allowFailure", "requires", "with"):
                if key in step and (key != "with" or "ref" in step):
                    yield _changed(case, block, index, {name: step[name] for name in step if name != key})
            if "ref" not in step:
                execution = {"retry": {"maxRetries": 0, "delay": "1s"}, "timeout": "10m"}
                kept = {name: step[name] for name in ("name", "needs") if name in step}
                yield _changed(case, block, index, {**kept, "ref": {"name": "worker"}, "execution": execution})
    for name, script in case.scripts.items():
        if script != ["ok"] and script != ["hang"]:
            yield replace(case, scripts={**case.scripts, name: ["ok"]})


def _without(case: Case, block: str, index: int) -> Case:
    entries = copy.deepcopy(getattr(case, block))
    gone = entries.pop(index)["name"]
    for step in entries:
        if "needs" in step:
            step["needs"] = [need for need in step["needs"] if need != gone]
        if f"steps.{gone}." in str(step):
            for key in ("with", "requires", "if"):
                step.pop(key, None)
    output = tuple(name for name in case.output if name != gone)
    return replace(case, **{block: entries}, output=output)


def _changed(case: Case, block: str, index: int, step: Object) -> Case:
    entries = list(getattr(case, block))
    entries[index] = step
    return replace(case, **{block: entries})
