"""Engram shell: one command, as it is written."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from bobrapet.engrams.shell import shell
from bobrapet.sdk.testkit import Operator, Run
from tests.unit.sdk.fakes import clocks_begin_when


def run(*args: str, config: dict[str, Any] | None = None, **input: Any) -> Run:
    return Operator().run(shell, {"args": list(args), **input}, config=config)


def test_arguments_reach_the_program_untouched() -> None:
    hostile = ["a b", "$(id)", "; rm -rf x", "`id`", "*", "", "ü\n"]
    assert run("printf", "[%s]", *hostile).output["stdout"] == "".join(f"[{text}]" for text in hostile)


def test_a_configured_command_leaves_only_arguments_to_steps() -> None:
    assert run("x", config={"command": ["echo", "-n"]}).output == {"code": 0, "stdout": "x"}


def test_a_script_needs_the_configurations_consent() -> None:
    refused = run(script="echo $1", config={})
    assert (refused.error["code"], refused.error["exitClass"]) == ("SHELL_SCRIPT_REFUSED", "terminal")
    allowed = Operator().run(
        shell, {"script": 'echo "$1-$X"', "args": ["a"], "env": {"X": "b; id"}}, config={"allowScript": True}
    )
    assert allowed.output["stdout"] == "a-b; id\n"


@pytest.mark.parametrize(("stdin", "read"), [("text", "text"), ({"a": [1]}, '{"a":[1]}')])
def test_stdin_is_text_or_json(stdin: Any, read: str) -> None:
    assert run("cat", stdin=stdin).output["stdout"] == read


def test_a_command_that_does_not_read_its_input_does_not_fail() -> None:
    assert run("true", stdin="x" * 1_000_000).output["code"] == 0


def test_the_command_sees_no_variable_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUBU_STEPRUN_NAME", "run-1-step")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    output = (
        Operator()
        .run(shell, {"args": ["env"], "env": {"GREETING": "hi"}}, secrets={"env": {"TOKEN": "t0ken-t0ken"}})
        .output["stdout"]
    )
    names = {line.partition("=")[0] for line in output.splitlines()}
    assert {"GREETING", "TOKEN", "PATH"} <= names
    assert not {name for name in names if name.startswith(("BUBU_", "AWS_", "KIT_"))}


def test_output_is_parsed_as_asked() -> None:
    assert run("echo", '{"n": 1}', config={"parse": "json"}).output == {"code": 0, "json": {"n": 1}}
    assert run("printf", "a\\n\\nb\\n", config={"parse": "lines"}).output == {"code": 0, "lines": ["a", "b"]}
    assert run("printf", "\\377").output == {"code": 0, "stdoutBase64": "/w=="}
    assert run("echo", "no", config={"parse": "json"}).error["code"] == "SHELL_NOT_JSON"


@pytest.mark.parametrize(
    ("config", "phase", "exit_class"),
    [
        ({}, "Failed", "terminal"),
        ({"retryCodes": [3]}, "Failed", "retry"),
        ({"acceptCodes": [0, 3]}, "Succeeded", "success"),
    ],
)
def test_exit_codes_are_judged_as_configured(config: dict[str, Any], phase: str, exit_class: str) -> None:
    done = run("sh", "-c", "echo first >&2; echo card declined >&2; exit 3", config=config)
    assert (done.phase, done.status["exitClass"]) == (phase, exit_class)
    if phase == "Failed":
        assert done.error["message"] == "sh exited with code 3: first | card declined"
        assert done.error["details"] == {"code": 3}
    assert [line["line"] for line in done.logs if line["msg"] == "stderr"] == ["first", "card declined"]


def test_a_command_that_a_signal_ends_is_tried_again() -> None:
    done = run("sh", "-c", "kill -9 $$")
    assert done.error["exitClass"] == "retry"
    assert "SIGKILL" in done.error["message"]


@pytest.mark.parametrize(("args", "code"), [([], "SHELL_NO_COMMAND"), (["/no/such/program"], "SHELL_NOT_STARTED")])
def test_what_cannot_be_started_is_terminal(args: list[str], code: str) -> None:
    done = run(*args)
    assert (done.error["code"], done.error["exitClass"]) == (code, "terminal")


def test_output_over_the_limit_ends_the_command() -> None:
    done = run("yes", config={"maxBytes": 10_000})
    assert done.error["code"] == "SHELL_OUTPUT_TOO_LARGE"


def test_a_timeout_of_its_own_is_worth_another_attempt() -> None:
    done = run("sleep", "600", config={"timeout": "50ms"})
    assert (done.error["code"], done.error["exitClass"]) == ("SHELL_TIMEOUT", "retry")
    assert run("true", config={"timeout": "soon"}).error["code"] == "BAD_CONFIG"


def test_everything_that_the_command_started_ends_with_a_cancelled_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    clocks_begin_when(lambda: pids.exists() and pids.read_text().endswith("\n"), monkeypatch)
    script = f"sleep 600 & echo $! $$ > {pids}; wait"
    done = Operator().run(shell, {"args": ["sh", "-c", script]}, cancel_after=0.05)
    assert done.exit_code == 143
    for pid in map(int, pids.read_text().split()):
        assert _gone(pid)


def test_a_child_that_is_left_behind_does_not_hold_the_step() -> None:
    done = run("sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!")
    assert done.phase == "Succeeded", "it was not waited for until the step's own limit"
    assert _gone(int(done.output["stdout"]))


def _gone(pid: int) -> bool:
    """Ended, or ended and not yet collected by whoever inherited it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False
