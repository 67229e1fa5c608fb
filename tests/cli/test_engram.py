"""`bobrapet engram`: a component on its author's machine, before there is an image or a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Terminal

GREETER = '''
from dataclasses import dataclass
from bobrapet.sdk import Context, RetryError, engram

@dataclass
class Person:
    name: str
    """Who is greeted."""
    times: int = 1

@engram
def greet(input: Person, ctx: Context[dict]) -> dict[str, str]:
    """Greets a person."""
    ctx.log.info("greeting", token=ctx.secrets["api"]["token"] if "api" in ctx.secrets else None)
    with ctx.effect("mail", input.name):
        ctx.signals.emit("greeted", input.name, visible=True)
    if input.name == "nobody":
        raise RetryError("nobody is there", code="NOBODY")
    if input.name == "slow":
        import time
        time.sleep(600)
    return {"text": (ctx.config.get("greeting", "Hello") + f", {input.name}! ") * input.times}

def plain() -> None: ...
'''


@pytest.fixture
def greeter(tmp_path: Path) -> str:
    path = tmp_path / "greeter.py"
    path.write_text(GREETER)
    return f"{path}:greet"


def test_the_template_is_a_manifest_on_standard_output(terminal: Terminal, greeter: str) -> None:
    done = terminal.run("engram", "template", greeter, "--image", "me/greeter:1", "--version", "1.2.0")
    assert (done.code, done.stderr) == (0, "")
    template = yaml.safe_load(done.stdout)
    assert template["metadata"]["name"] == "greet"
    assert template["spec"]["version"] == "1.2.0"
    assert template["spec"]["image"] == "me/greeter:1"
    assert template["spec"]["inputSchema"]["properties"]["name"]["description"] == "Who is greeted"
    assert template["spec"]["outputSchema"] == {"type": "object", "additionalProperties": {"type": "string"}}


def test_the_output_of_a_run_is_json_and_logs_go_to_stderr(terminal: Terminal, greeter: str) -> None:
    done = terminal.run(
        "engram", "run", greeter, "--input", "name=Ada", "--input", "times=2", "--config", "greeting=Ahoy",
        "--secret", "api.token=s3cr3t-s3cr3t",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.output == {"text": "Ahoy, Ada! Ahoy, Ada! "}
    assert '"msg":"greeting"' in done.stderr
    assert "s3cr3t" not in done.stderr


def test_a_failure_ends_with_its_code_and_says_why(terminal: Terminal, greeter: str) -> None:
    done = terminal.run("engram", "run", greeter, "--input", "name=nobody")
    assert (done.code, done.stdout) == (1, "")
    assert "error: greet ended as Failed: nobody is there\nexit class retry, exit code 1\n" in done.stderr


def test_the_time_limit_ends_it_with_124(terminal: Terminal, greeter: str) -> None:
    done = terminal.run("engram", "run", greeter, "--input", "name=slow", "--timeout", "300ms")
    assert done.code == 124
    assert "ended as Timeout" in done.stderr


def test_bad_usage_is_one_line_and_exit_code_2(terminal: Terminal, greeter: str) -> None:
    done = terminal.run("engram", "run", greeter.replace(":greet", ":nobody"))
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "has no component 'nobody'; it has greet" in done.stderr
