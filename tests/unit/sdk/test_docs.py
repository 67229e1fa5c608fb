"""What docs/components.md shows is true."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

from bobrapet.api import env
from bobrapet.sdk import Context
from bobrapet.sdk.memory_api import MemoryApi
from bobrapet.sdk.process import run_step
from tests.unit.sdk.fakes import step_environ

PAGE = (Path(__file__).resolve().parents[3] / "docs/components.md").read_text()


@pytest.fixture
def greeter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The component of the page, as the module that its author would write."""
    (found,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "greeter_of_the_page.py").write_text(found)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("greeter_of_the_page")


def test_the_component_is_a_function_and_runs_as_a_step(greeter: ModuleType) -> None:
    greeting = greeter.greet(greeter.Person("Ada"), Context(config=greeter.Config()))
    assert greeting.text == "Hello, Ada"
    api = MemoryApi()
    environ = step_environ(BUBU_TRIGGER_DATA='{"name": "Ada"}', BUBU_STEP_CONFIG='{"greeting": "Ahoy", "name": "Ada"}')
    assert run_step(greeter.greet, environ, connect=lambda: api) == 0
    assert api.step_run["status"]["output"] == {"text": "Ahoy, Ada"}


def test_every_variable_that_the_page_names_is_one_of_the_contract() -> None:
    known = {value for name, value in vars(env).items() if name.isupper() and isinstance(value, str)}
    named = set(re.findall(r"`(BUBU_[A-Z_]+)`", PAGE)) - {"BUBU_POD_ROOT"}
    assert named <= known, named - known
