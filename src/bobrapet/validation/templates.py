"""Templates inside manifests, checked at admission: they parse, and read only what their place offers.

Rules: spec expressions 11 and 12; the language itself is `bobrapet.expressions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from bobrapet import expressions
from bobrapet.expressions.references import templates
from bobrapet.validation.faults import Findings, quoted

DENIED_FUNCTIONS: Final = ("env", "expandenv", "getHostByName")
"""Functions that would let a template read the operator's surroundings."""


class Scope(StrEnum):
    """Where a template stands, which decides what it may read."""

    BATCH_RUNTIME = "batch-runtime"
    REALTIME_STATIC = "realtime-static"
    REALTIME_RUNTIME = "realtime-runtime"
    STORY_OUTPUT = "story-output"


@dataclass(frozen=True, slots=True)
class Templates:
    """The templates inside one value of a manifest, found in one walk."""

    path: str
    """Where the value stands in the manifest."""
    value: Any
    places: Sequence[tuple[str, str]]
    """Path below the value, and text, of each template."""
    is_plain: bool
    """Whether it is enough to look at each template by itself: no wrapper with variables, no odd depth."""

    @classmethod
    def of(cls, path: str, value: Any) -> Templates:
        """Looks through `value`, which may be one string."""
        if isinstance(value, str):
            return cls(path, value, (("", value),) if "{{" in value else (), True)
        if not isinstance(value, (dict, list)):
            return cls(path, value, (), True)
        places: list[tuple[str, str]] = []
        if _walk(value, "", places, 0):
            return cls(path, value, places, True)
        return cls(path, value, [(where.removeprefix("$"), text) for where, text in templates(value)], False)

    def check(self, findings: Findings, scope: Scope) -> None:
        """Adds what is wrong with them in this scope."""
        if not self.is_plain:
            for problem in expressions.validate(self.value, expressions.SCOPES[scope]):
                findings.invalid(_below(self.path, problem.where), _text(problem), problem.template or None)
            return
        for where, text in self.places:
            for problem in _problems(text, scope):
                findings.invalid(f"{self.path}{where}", _text(problem), text)

    def steps(self) -> Iterator[tuple[str, str]]:
        """Name of every step that one of them reads, with the path of the template."""
        for where, text in self.places:
            for name in _steps(text):
                yield name, f"{self.path}{where}"


def check_templates(findings: Findings, path: str, value: Any, scope: Scope) -> None:
    """Checks every string inside `value`, which may be one string."""
    Templates.of(path, value).check(findings, scope)


def check_denied_functions(findings: Findings, path: str, value: Any) -> None:
    """Checks only that no denied function is called: the scope of a StepRun's input is not known."""
    for problem in expressions.validate(value, expressions.SCOPES[Scope.REALTIME_RUNTIME]):
        if _denied_function(problem):
            findings.invalid(_below(path, problem.where), _text(problem), problem.template)


_MAX_PLAIN_DEPTH: Final = 24
"""Levels of a value that the quick walk goes down."""

_MAX_CACHED_LENGTH: Final = 2048
"""Characters of a template that the caches remember: together they hold some 20 MiB at most."""


def _walk(value: Any, where: str, places: list[tuple[str, str]], depth: int) -> bool:
    """Collects the templates below a container; whether each can be looked at by itself."""
    if depth > _MAX_PLAIN_DEPTH:
        return False
    plain = True
    if isinstance(value, dict):
        for key, child in value.items():
            if isinstance(child, str):
                if "{{" in child:
                    places.append((f"{where}.{key}", child))
            elif isinstance(child, (dict, list)):
                plain = _walk(child, f"{where}.{key}", places, depth + 1) and plain
            if key.startswith("$bubu"):
                plain = False
    else:
        for index, child in enumerate(value):
            if isinstance(child, str):
                if "{{" in child:
                    places.append((f"{where}[{index}]", child))
            elif isinstance(child, (dict, list)):
                plain = _walk(child, f"{where}[{index}]", places, depth + 1) and plain
    return plain


# The same texts come back with every update of a Story, and with the next one made from the same draft.


def _problems(text: str, scope: Scope) -> Sequence[expressions.Problem]:
    return _cached_problems(text, scope) if len(text) <= _MAX_CACHED_LENGTH else _problems_now(text, scope)


def _problems_now(text: str, scope: Scope) -> Sequence[expressions.Problem]:
    return tuple(expressions.validate(text, expressions.SCOPES[scope]))


_cached_problems: Final = lru_cache(maxsize=4096)(_problems_now)


def _steps(text: str) -> Sequence[str]:
    return _cached_steps(text) if len(text) <= _MAX_CACHED_LENGTH else _steps_now(text)


def _steps_now(text: str) -> Sequence[str]:
    return tuple({found.step: None for found in expressions.references(text) if found.step is not None})


_cached_steps: Final = lru_cache(maxsize=4096)(_steps_now)


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
