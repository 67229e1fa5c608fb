"""Templates inside manifests, checked at admission: they parse, and read only what their place offers.

Rules: spec expressions 11 and 12; the language itself is `bobrapet.expressions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from bobrapet import expressions
from bobrapet.validation.faults import Findings, quoted

DENIED_FUNCTIONS: Final = ("env", "expandenv", "getHostByName")
"""Functions that would let a template read the operator's surroundings."""


class Scope(StrEnum):
    """Where a template stands, which decides what it may read."""

    BATCH_RUNTIME = "batch-runtime"
    REALTIME_STATIC = "realtime-static"
    REALTIME_RUNTIME = "realtime-runtime"
    STORY_OUTPUT = "story-output"


def check_templates(findings: Findings, path: str, value: Any, scope: Scope) -> None:
    """Checks every string inside `value`, which may be one string."""
    for problem in _problems(value, scope):
        findings.invalid(_below(path, problem.where), _text(problem), problem.template or None)


def check_denied_functions(findings: Findings, path: str, value: Any) -> None:
    """Checks only that no denied function is called: the scope of a StepRun's input is not known."""
    for problem in _problems(value, Scope.REALTIME_RUNTIME):
        if _denied_function(problem):
            findings.invalid(_below(path, problem.where), _text(problem), problem.template)


def steps_read(sources: Mapping[str, Any]) -> dict[str, str]:
    """Steps that templates read: name -> path of the first template. `sources` are values by their path."""
    found: dict[str, str] = {}
    for path, value in sources.items():
        for reference in expressions.references(value):
            if reference.step is not None:
                found.setdefault(reference.step, _below(path, reference.where))
    return found


def _problems(value: Any, scope: Scope) -> Sequence[expressions.Problem]:
    # Most strings of a Story are no templates, and the same ones come back with every update of it.
    if isinstance(value, str):
        return _problems_of_text(value, scope) if "{{" in value else ()
    return expressions.validate(value, expressions.SCOPES[scope]) if _holds_template(value) else ()


@lru_cache(maxsize=4096)
def _problems_of_text(text: str, scope: Scope) -> Sequence[expressions.Problem]:
    return tuple(expressions.validate(text, expressions.SCOPES[scope]))


def _holds_template(value: Any) -> bool:
    """Whether `value` can have anything to check: a template, or the keys of a template with variables."""
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, dict):
        return any(_holds_template(child) for child in value.values()) or any("$bubu" in key for key in value)
    return isinstance(value, list) and any(_holds_template(child) for child in value)


def _below(path: str, where: str) -> str:
    """`where` begins with `$`, the value that was checked."""
    return path + where.removeprefix("$")


def _denied_function(problem: expressions.Problem) -> str | None:
    return next((name for name in DENIED_FUNCTIONS if f"function “{name}” " in problem.message), None)


def _text(problem: expressions.Problem) -> str:
    denied = _denied_function(problem)
    message = f"template expression uses disallowed function '{denied}'" if denied else problem.message
    if problem.position is None:
        return message
    line = f"line {problem.line}, " if "\n" in problem.template.strip() else ""
    return f"{message} ({line}column {problem.column} of {quoted(problem.template)})"
