"""Random Stories, what their components and people do, and what a run of them must come to.

A `Case` is plain data, so that it can be printed, repeated and made smaller. `interpret` is the reference: it knows
nothing of time, caches or faults, and says as simply as possible how every step of a run ends.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

Object = dict[str, Any]
FAILED = frozenset({"Failed", "Timeout"})
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
    cancels: bool = False
    """Whether somebody cancels a run at some moment."""

    @property
    def is_predictable(self) -> bool:
        """Whether the end depends on the Story alone and not on what happens first."""
        goes_on = self.policy.get("retries", {}).get("continueOnStepFailure", False)
        stops = any(step.get("type") == "stop" for step in self.all_steps)
        return goes_on and not stops and not self.cancels and "timeouts" not in self.policy

    @property
    def all_steps(self) -> list[Object]:
        return [*self.steps, *self.compensations, *self.finally_]

    def spec(self) -> Object:
        found: Object = {"pattern": "batch", "steps": self.steps, "policy": self.policy}
        if self.compensations:
            found["compensations"] = self.compensations
        if self.finally_:
            found["finally"] = self.finally_
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
        cancels=ends_early and random.random() < 0.5,
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


def interpret(case: Case) -> tuple[str, dict[str, str]]:
    """How a run ends without faults, and each of its steps; for Stories that go on after failures."""
    states: dict[str, str] = {}
    broken: set[str] = set()  # failed, or skipped because of a failure

    def execute(step: Object) -> str:
        name = step["name"]
        if "false" in step.get("if", ""):
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

    for step in case.steps:  # declared in an order that respects what they need
        if broken & set(step.get("needs", ())):
            states[step["name"]] = "Skipped"
            broken.add(step["name"])
            continue
        states[step["name"]] = execute(step)
        if states[step["name"]] in FAILED and not step.get("allowFailure"):
            broken.add(step["name"])
    has_failed = any(states[step["name"]] in FAILED and not step.get("allowFailure") for step in case.steps)
    for step in case.compensations:
        states[step["name"]] = execute(step) if has_failed else "Skipped"
    for step in case.finally_:
        states[step["name"]] = execute(step)
    if any(states[step["name"]] in FAILED for step in [*case.compensations, *case.finally_]):
        return "Failed", states
    if has_failed:
        return ("Compensated" if case.compensations else "Failed"), states
    return "Succeeded", states


# Making a failing case smaller


def smaller(case: Case) -> Iterator[Case]:
    """Cases with one thing less, largest cuts first."""
    for block in ("steps", "compensations", "finally_"):
        entries = getattr(case, block)
        for index in range(len(entries)):
            if block != "steps" or len(entries) > 1:
                yield _without(case, block, index)
    if case.runs > 1:
        yield replace(case, runs=1)
    if case.queue:
        yield replace(case, queue=0)
    if case.cancels:
        yield replace(case, cancels=False)
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
            step.pop("with", None)
            step.pop("requires", None)
    return replace(case, **{block: entries})


def _changed(case: Case, block: str, index: int, step: Object) -> Case:
    entries = list(getattr(case, block))
    entries[index] = step
    return replace(case, **{block: entries})
