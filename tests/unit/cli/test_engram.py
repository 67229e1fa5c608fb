"""`bobrapet engram` in this process: what it prints and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bobrapet.cli import engram
from bobrapet.cli.engram import RunRequest
from bobrapet.cli.errors import UsageError
from bobrapet.engrams import json_filter

COMPONENT = "bobrapet.engrams.json_filter:json_filter"


@pytest.fixture(autouse=True)
def _path() -> Iterator[None]:
    """Naming a component puts its folder on the path."""
    before = list(sys.path)
    yield
    sys.path[:] = before


def run(*inputs: str, **request: Any) -> int:
    return engram.run(RunRequest(component=COMPONENT, inputs=inputs, **request))


def test_a_component_is_named_by_module_and_function() -> None:
    assert engram.load(COMPONENT) is json_filter.json_filter


def test_a_template_without_an_image_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from bobrapet.sdk import engram\n@engram\ndef mine() -> None: ...\n")
    assert engram.template(f"{file}:mine", name="", version="", image="", modes=()) == 0
    assert "--image" in capsys.readouterr().err


def test_the_output_is_json_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    interrupted = _kept_signals(lambda: run("items=[1, 2, 3]", config=("where=. > 1",)))
    assert interrupted == 0
    assert json.loads(capsys.readouterr().out) == {"items": [2, 3], "kept": 2, "dropped": 1}


def test_the_whole_status_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert _kept_signals(lambda: run("items=[1]", status=True)) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["phase"], status["exitClass"], status["output"]["kept"]) == ("Succeeded", "success", 1)


def test_inputs_may_come_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.yaml").write_text("items: [7]\n")
    assert _kept_signals(lambda: run(inputs_file=str(tmp_path / "in.yaml"))) == 0
    assert json.loads(capsys.readouterr().out)["items"] == [7]


def test_a_wrong_input_fails_as_in_a_pod(capsys: pytest.CaptureFixture[str]) -> None:
    assert _kept_signals(lambda: run("item=[7]")) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "missing required field `items`" in said.err
    assert "exit class terminal, exit code 1" in said.err


@pytest.mark.parametrize(
    ("component", "said"),
    [
        ("nothing", "write it as module:function"),
        ("no.such.module:f", "cannot be imported"),
        ("no/such/file.py:f", "cannot be imported"),
        ("bobrapet.engrams.json_filter:nobody", "has no component 'nobody'; it has json_filter"),
        ("bobrapet.cli.errors:UsageError", "a function becomes one by @engram"),
    ],
)
def test_a_component_that_is_not_there_is_told_with_what_would_be_right(component: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        engram.load(component)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("request_part", "said"),
    [
        ({"inputs": ("name",)}, "--input name: write it as KEY=VALUE"),
        ({"config": ("x",)}, "--config x: write it as KEY=VALUE"),
        ({"secrets": ("token=1",)}, "NAME.KEY=VALUE"),
        ({"secrets": ("api.token",)}, "NAME.KEY=VALUE"),
    ],
)
def test_a_malformed_option_names_itself(request_part: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        engram.run(RunRequest(component=COMPONENT, **request_part))
    assert said in str(refused.value)


def _kept_signals(call: Any) -> int:
    """A component's process owns SIGTERM and SIGALRM; the test runner wants them back."""
    import signal

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    try:
        code: int = call()
        return code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
