"""What docs/components.md shows is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bobrapet.sdk import Context
from bobrapet.sdk.process import run_step
from tests.unit.sdk.fakes import step_environ

PAGE = (Path(__file__).resolve().parents[3] / "docs/components.md").read_text()


def example(tmp_path: Path) -> Any:
    """The component of the page, imported as a module."""
    (found,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"__name__": "greeter"}
    exec(compile(found, "docs/components.md", "exec"), names)
    return names


def test_the_component_is_a_function_and_runs_as_a_step(tmp_path: Path) -> None:
    names = example(tmp_path)
    greeting = names["greet"](names["Person"]("Ada"), Context(config=names["Config"]()))
    assert greeting.text == "Hello, Ada"
    reports: list[Any] = []
    environ = step_environ(BUBU_TRIGGER_DATA='{"name": "Ada"}', BUBU_STEP_CONFIG='{"greeting": "Ahoy", "name": "Ada"}')
    assert run_step(names["greet"], environ, reports.append) == 0
    assert reports[0]["output"] == {"text": "Ahoy, Ada"}


def test_every_variable_that_the_page_names_is_one_of_the_contract() -> None:
    from bobrapet.api import env

    known = {value for name, value in vars(env).items() if name.isupper() and isinstance(value, str)}
    named = set(re.findall(r"`(BUBU_[A-Z_]+)`", PAGE)) - {"BUBU_POD_ROOT"}
    assert named <= known, named - known
