"""Templates inside manifests, checked at admission: they parse, and read only what their place offers.

Rules: spec expressions 11 and 12; the language itself is `bobrapet.expressions`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache, partial
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

    __hash__ = str.__hash__  # Enum has one of its own, in Python


class Templates:
    """The templates inside one value of a manifest, found in one walk."""

    __slots__ = ("path", "places", "value")

    def __init__(self, path: str, value: Any) -> None:
        """Looks through `value`, which may be one string and stands at `path` in the manifest."""
        self.path: Final = path
        self.value: Final = value
        self.places: list[tuple[str, str]] | None = []
        """Path below the value, and text, of each template. None: one cannot look at each by itself."""
        if isinstance(value, str):
            if "{{" in value:
                self.places.append(("", value))
        elif isinstance(value, (dict, list)) and not _walk(value, "", self.places, 0):
            self.places = None

    def check(self, findings: Findings, scope: Scope) -> None:
        """Adds what is wrong with them in this scope."""
        self.read(findings, scope, {})

    def read(self, findings: Findings, scope: Scope, steps: dict[str, str]) -> None:
        """As `check`; adds to `steps` each step that one of them reads, with the path of the first that does."""
        places = self.places
        if places is None:
            for problem in expressions.validate(self.value, expressions.SCOPES[scope]):
                findings.invalid(_below(self.path, problem.where), _text(problem), problem.template or None)
            for where, text in templates(self.value):
                for name in _look(text, scope)[1]:
                    steps.setdefault(name, _below(self.path, where))
            return
        look = _LOOK_ONCE[scope]
        for where, text in places:
            problems, names = look(text) if len(text) <= _MAX_CACHED_LENGTH else _look_now(scope, text)
            if problems:
                _report(findings, f"{self.path}{where}", text, problems)
            for name in names:
                if name not in steps:
                    steps[name] = f"{self.path}{where}"


def read_template(findings: Findings, path: str, text: str, scope: Scope, steps: dict[str, str]) -> None:
    """Checks one text; adds to `steps` those that it reads, unless they are there."""
    problems, names = _look(text, scope)
    if problems:
        _report(findings, path, text, problems)
    for name in names:
        if name not in steps:
            steps[name] = path


def _report(findings: Findings, path: str, text: str, problems: Sequence[expressions.Problem]) -> None:
    for problem in problems:
        findings.invalid(path, _text(problem), text)


def check_templates(findings: Findings, path: str, value: Any, scope: Scope) -> None:
    """Checks every string inside `value`, which may be one string."""
    Templates(path, value).check(findings, scope)


def check_denied_functions(findings: Findings, path: str, value: Any) -> None:
    """Checks only that no denied function is called: the scope of a StepRun's input is not known."""
    for problem in expressions.validate(value, expressions.SCOPES[Scope.REALTIME_RUNTIME]):
        if _denied_function(problem):
            findings.invalid(_below(path, problem.where), _text(problem), problem.template)


_MAX_PLAIN_DEPTH: Final = 24
"""Levels of a value that the quick walk goes down."""

_MAX_CACHED_LENGTH: Final = 1024
"""Characters of a template that the caches remember: together they hold some 20 MiB at most, in practice far less."""


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


def _look(text: str, scope: Scope) -> tuple[Sequence[expressions.Problem], Sequence[str]]:
    """What is wrong with one template in a scope, and which steps it reads."""
    # The same texts come back with every update of a Story, and with the next one made from the same draft.
    return _LOOK_ONCE[scope](text) if len(text) <= _MAX_CACHED_LENGTH else _look_now(scope, text)


def _look_now(scope: Scope, text: str) -> tuple[Sequence[expressions.Problem], Sequence[str]]:
    if _ONLY_PATHS.fullmatch(text):  # most templates; parsing finds nothing more in them
        paths = _PATH.findall(text)
        if _ROOTS[scope].issuperset(root for root, _ in paths):
            return (), tuple({name: None for root, name in paths if root == "steps"})
    return expressions.look(text, expressions.SCOPES[scope])


_PATH: Final = re.compile(r"\{\{ ?\.?(inputs|steps|packet)\.([A-Za-z_]\w*)(?:\.[A-Za-z_]\w*)* ?\}\}", re.ASCII)
_ONLY_PATHS: Final = re.compile(rf"[^{{]*(?:{_PATH.pattern}[^{{]*)+", re.ASCII)
_ROOTS: Final = {scope: expressions.SCOPES[scope].roots for scope in Scope}

_LOOK_ONCE: Final = {scope: lru_cache(maxsize=4096)(partial(_look_now, scope)) for scope in Scope}
"""A cache for each scope: a lone text as key costs half of a pair."""


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
