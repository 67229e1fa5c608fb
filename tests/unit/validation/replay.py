"""What the tests of the admission table have judged, for tests that ask somebody else about the same objects."""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Callable

from tests.unit.validation import builders
from tests.unit.validation.builders import Judged


def judged() -> list[Judged]:
    """Everything that the tests of the admission table had judged."""
    builders.RECORDS.clear()
    for name in ("test_admission_story", "test_admission_kinds", "test_templates", "test_references"):
        module = importlib.import_module(f"tests.unit.validation.{name}")
        for function in [value for key, value in vars(module).items() if key.startswith("test_")]:
            if not hasattr(function, "hypothesis") and "100_ms" not in function.__name__:
                _replay(function)
    found = [*builders.RECORDS]
    builders.RECORDS.clear()
    return found


def _replay(function: Callable[..., None]) -> None:
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    choices = []
    for mark in marks:
        names, values = mark.args[0], mark.args[1]
        listed = [names] if isinstance(names, str) and "," not in names else names
        listed = [name.strip() for name in listed.split(",")] if isinstance(listed, str) else list(listed)
        rows = [getattr(value, "values", None) or (value if len(listed) > 1 else (value,)) for value in values]
        choices.append([dict(zip(listed, row, strict=True)) for row in rows])
    assert set(inspect.signature(function).parameters) == {name for rows in choices for name in rows[0]}, function
    for chosen in itertools.product(*choices):
        function(**{name: value for row in chosen for name, value in row.items()})
