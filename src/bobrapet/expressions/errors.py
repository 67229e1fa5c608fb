"""What can go wrong with an expression, and where.

One public exception, `ExpressionError`; its `kind` says how a caller should react:

    parse          the template is not well formed, or names an unknown function or variable
    exec           a function or an access failed while the template ran
    missingKey     a plain path names a key that is not there
    pathType       a plain path goes through a value that has no such parts
    blocked        a plain path under `steps` names something that is not there yet: wait and evaluate again
    offloaded      the value lives in object storage and was not fetched
    outputLimit    the text, or a value on the way to it, would be larger than allowed
    timeout        evaluation took longer than allowed
    wrapper        a malformed `$bubuTemplate` or `$bubuTemplateVars`
    notBoolean     a condition that is neither true nor false
    depth          nested deeper than `NESTING_LIMIT`, or containing itself

`FunctionError` never leaves this package: functions raise it without knowing their position, and the call that ran
them turns it into an `ExpressionError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

Kind = Literal[
    "parse",
    "exec",
    "missingKey",
    "pathType",
    "blocked",
    "offloaded",
    "outputLimit",
    "timeout",
    "wrapper",
    "notBoolean",
    "depth",
]

EXCERPT_WIDTH = 80
"""Characters of the line that an excerpt shows; longer lines are cut around the position."""


class ExpressionError(Exception):
    """An expression that could not be evaluated, with the place in its text.

    `line` and `column` start at 1 and count characters; both are 0 when the error has no place in a text (a wrapper
    object, a container nested too deeply). `where` names the element of a container, such as `steps[0].url`.
    """

    def __init__(
        self, kind: Kind, message: str, *, template: str = "", position: int | None = None, where: str = ""
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.template = template
        self.position = position
        self.where = where

    @property
    def line(self) -> int:
        if self.position is None:
            return 0
        return self.template.count("\n", 0, self.position) + 1

    @property
    def column(self) -> int:
        if self.position is None:
            return 0
        return self.position - (self.template.rfind("\n", 0, self.position) + 1) + 1

    @property
    def excerpt(self) -> str:
        """The line of the template with a caret under the position; empty without a position."""
        if self.position is None:
            return ""
        start = self.template.rfind("\n", 0, self.position) + 1
        end = self.template.find("\n", self.position)
        line = self.template[start : end if end >= 0 else len(self.template)]
        caret = self.position - start
        prefix = suffix = ""
        if len(line) > EXCERPT_WIDTH:
            left = max(0, min(caret - EXCERPT_WIDTH // 2, len(line) - EXCERPT_WIDTH))
            right = left + EXCERPT_WIDTH
            prefix, suffix = "…" if left else "", "…" if right < len(line) else ""
            line, caret = line[left:right], caret - left + len(prefix)
        shown = "".join(character if character.isprintable() else " " for character in line)
        return f"{prefix}{shown}{suffix}\n{' ' * caret}^"

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        if self.position is None:
            return f"{where}{self.message}"
        return f"{where}{self.message} (line {self.line}, column {self.column})\n{self.excerpt}"

    def inside(self, element: str) -> ExpressionError:
        """The same error, told from one container further out."""
        joint = "" if not self.where or self.where.startswith("[") else "."
        self.where = f"{element}{joint}{self.where}"
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.kind, self.message, self.template, self.position, self.where)


def _rebuild(kind: Kind, message: str, template: str, position: int | None, where: str) -> ExpressionError:
    return ExpressionError(kind, message, template=template, position=position, where=where)


class FunctionError(Exception):
    """A function that cannot give a result; the call adds the position.

    `segment`: the place in a path that is at fault, for a caret below it.
    """

    def __init__(self, message: str, kind: Kind = "exec", segment: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind: Kind = kind
        self.segment = segment


def segment_position(text: str, position: int, path: Sequence[str | int], segment: int) -> int:
    """Returns where a segment of the path that starts at `position` is written; `position` if it cannot be found."""
    cursor = position
    for name in path[:segment]:
        found = text.find(str(name), cursor)
        if found < 0:
            return position
        cursor = found + len(str(name))
    found = text.find(str(path[segment]), cursor)
    return found if found >= 0 else position


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns `; did you mean "..."?` for the known name closest to `name`, or nothing when none is close."""
    limit = 0 if len(name) <= 2 else 1 if len(name) == 3 else 2 if len(name) <= 8 else 3
    best, best_distance = "", limit + 1
    for candidate in sorted(known):
        if abs(len(candidate) - len(name)) >= best_distance:
            continue
        distance = _edit_distance(name.lower(), candidate.lower())
        if distance < best_distance and distance < max(len(name), len(candidate)):
            best, best_distance = candidate, distance
    return f"; did you mean “{best}”?" if best else ""


def _edit_distance(first: str, second: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours that turn one word into the other."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, above, row = row, before, [i]
        for j, b in enumerate(second, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]
