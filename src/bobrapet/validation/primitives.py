"""The shapes of primitive steps: what `with` of each type must hold (spec admission A3 row 9, A11.1, api 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from bobrapet.api.enums import OnTimeout, Phase, StepType, StopMode
from bobrapet.api.story import Step
from bobrapet.validation.faults import FaultReason, Findings, did_you_mean, one_of, quoted
from bobrapet.validation.graph import branches
from bobrapet.validation.schema_text import type_of
from bobrapet.validation.values import MIN_POLL_INTERVAL, check_duration

With = Mapping[str, Any]

_STOP_PHASES: Final = (Phase.SUCCEEDED.value, Phase.FAILED.value, Phase.FINISHED.value, Phase.CANCELED.value)
_STOP_WORDS: Final = (*_STOP_PHASES, *(mode.value for mode in StopMode))


def check_primitive(findings: Findings, path: str, step: Step) -> None:
    """Checks `with` of a step that has a type; other steps pass."""
    if step.type is None:
        return
    check, known = _SHAPES[step.type]
    given = step.with_
    check(findings, f"{path}.with", given)
    for key in given or ():
        if known and key not in known:
            findings.warn(
                f"{path}.with.{key}",
                f"a {step.type} step knows no {quoted(key)}{did_you_mean(key, known)}; it is ignored",
            )


def _condition(findings: Findings, path: str, given: With | None) -> None:
    """Gating is done by `if`; `with` is free."""


def _sleep(findings: Findings, path: str, given: With | None) -> None:
    check_duration(findings, f"{path}.duration", (given or {}).get("duration"), positive=True)


def _stop(findings: Findings, path: str, given: With | None) -> None:
    given = given or {}
    phase, mode = given.get("phase"), given.get("mode")
    if phase is not None and mode is not None:
        findings.invalid(path, "sets both phase and mode; one says how the run ends")
    _check_text(findings, f"{path}.phase", phase, _STOP_WORDS, "phase to stop with")
    _check_text(findings, f"{path}.mode", mode, [word.value for word in StopMode], "mode")
    if (message := given.get("message")) is not None and not isinstance(message, str):
        _wrong_type(findings, f"{path}.message", "a string", message)


def _wait(findings: Findings, path: str, given: With | None) -> None:
    until = (given or {}).get("until")
    if given is None:
        findings.required(path, "a wait step requires a 'with' block with 'until'")
    elif until is None or (isinstance(until, str) and not until.strip()):
        findings.required(f"{path}.until", "a wait step requires 'until', a template that gives true to go on")
    elif not isinstance(until, str):
        _wrong_type(findings, f"{path}.until", "a template", until)
    _check_waiting(findings, path, given or {}, "wait")


def _gate(findings: Findings, path: str, given: With | None) -> None:
    _check_waiting(findings, path, given or {}, "gate")


def _check_waiting(findings: Findings, path: str, given: With, what: str) -> None:
    for name, at_least in (("timeout", 0), ("pollInterval", MIN_POLL_INTERVAL)):
        before = len(findings.faults)
        check_duration(findings, f"{path}.{name}", given.get(name), positive=True, at_least=at_least)
        for index in range(before, len(findings.faults)):
            fault = findings.faults[index]
            findings.faults[index] = type(fault)(
                fault.field, fault.reason, f"invalid {what} {name}: {fault.message}", fault.value
            )
    word = given.get("onTimeout")
    if isinstance(word, str):
        word = word.strip().lower()
    _check_text(findings, f"{path}.onTimeout", word, [word.value for word in OnTimeout], "onTimeout")


def _parallel(findings: Findings, path: str, given: With | None) -> None:
    found = (given or {}).get("steps")
    if not isinstance(found, list) or not found:
        findings.required(f"{path}.steps", "a parallel step needs at least one branch in with.steps")
        return
    seen: dict[str, int] = {}
    for index, branch in enumerate(found):
        at = f"{path}.steps[{index}]"
        if not isinstance(branch, dict):
            _wrong_type(findings, at, "a branch, which is an object", branch)
            continue
        _check_branch(findings, at, branch)
        name = branch.get("name")
        if isinstance(name, str) and name in seen:
            findings.duplicate(f"{at}.name", f"duplicate branch name {quoted(name)}; branch {seen[name]} has it", name)
        elif isinstance(name, str):
            seen[name] = index


def _check_branch(findings: Findings, path: str, branch: With) -> None:
    # The fields that a branch shares with a step are checked as a step (see `story`); here is what differs.
    if branch.get("ref") is not None and branch.get("type") is not None:
        findings.invalid(path, "must not set both ref and type")
    elif branch.get("type") is not None:
        findings.invalid(f"{path}.type", "a branch runs an Engram; set ref instead of type", branch["type"])
    elif branch.get("ref") is None:
        findings.required(f"{path}.ref", "must set ref, the Engram that the branch runs")
    if branch.get("needs"):
        findings.forbidden(
            f"{path}.needs", "branches start together and cannot need steps; put needs on the parallel step"
        )


def _execute_story(findings: Findings, path: str, given: With | None) -> None:
    if given is None:
        findings.required(path, "an executeStory step requires a 'with' block with 'storyRef'")
        return
    reference = given.get("storyRef")
    if not isinstance(reference, dict):
        findings.required(f"{path}.storyRef.name", "an executeStory step requires with.storyRef.name")
    else:
        for name in ("name", "namespace", "version"):
            value = reference.get(name)
            if name == "name" and (value is None or (isinstance(value, str) and not value.strip())):
                findings.required(f"{path}.storyRef.name", "an executeStory step requires with.storyRef.name")
            elif value is not None and not isinstance(value, str):
                _wrong_type(findings, f"{path}.storyRef.{name}", "a string", value)
    if (wait := given.get("waitForCompletion")) is not None and not isinstance(wait, bool):
        _wrong_type(findings, f"{path}.waitForCompletion", "true or false", wait)
    if (inputs := given.get("with")) is not None and not isinstance(inputs, dict):
        _wrong_type(findings, f"{path}.with", "an object, the inputs of the Story", inputs)


def _check_text(findings: Findings, path: str, word: Any, known: list[str] | tuple[str, ...], what: str) -> None:
    if word is None or word == "":
        return
    if not isinstance(word, str):
        _wrong_type(findings, path, f"a string, {one_of(known)}", word)
    elif word not in known:
        findings.not_supported(path, word, known, what)


def _wrong_type(findings: Findings, path: str, wanted: str, value: Any) -> None:
    findings.add(path, FaultReason.TYPE_INVALID, f"must be {wanted}, is {type_of(value)}", value)


_WAITING: Final = ("timeout", "pollInterval", "onTimeout")
_SHAPES: Final[dict[StepType, tuple[Callable[[Findings, str, With | None], None], tuple[str, ...]]]] = {
    StepType.CONDITION: (_condition, ()),
    StepType.SLEEP: (_sleep, ("duration",)),
    StepType.STOP: (_stop, ("phase", "mode", "message")),
    StepType.WAIT: (_wait, ("until", *_WAITING)),
    StepType.GATE: (_gate, _WAITING),
    StepType.PARALLEL: (_parallel, ("steps",)),
    StepType.EXECUTE_STORY: (_execute_story, ("storyRef", "waitForCompletion", "with")),
}

__all__ = ["branches", "check_primitive"]
