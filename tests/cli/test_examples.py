"""The pages of the examples, run as their readers would run them: each command, its output, the files it leaves."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.behaviour.test_examples import files, module, served
from tests.behaviour.worlds import ROOT
from tests.cli.conftest import Terminal

EXAMPLES = ROOT / "examples"


def session(page: Path, heading: str) -> list[tuple[list[str], str]]:
    """The commands of the console block below a heading, each with what it prints."""
    text = page.read_text()
    part = text[text.index(f"{heading}\n") :]
    block = re.search(r"```console\n(.*?)```", part, re.DOTALL)
    assert block is not None
    commands: list[tuple[list[str], str]] = []
    for line in block[1].replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            commands.append((shlex.split(line[2:].removesuffix("&")), ""))
        else:
            commands[-1] = (commands[-1][0], commands[-1][1] + line + "\n")
    return commands


@pytest.mark.parametrize(
    ("heading", "code"),
    [
        ("## An order that goes well", 0),
        ("## A large order", 0),
        ("## An order that is rejected", 1),
        ("## An order that cannot be shipped", 1),
    ],
)
def test_order_approval_does_what_its_page_shows(terminal: Terminal, tmp_path: Path, heading: str, code: int) -> None:
    (command, printed), *more = session(EXAMPLES / "order-approval/README.md", heading)
    ledger = tmp_path / "ledger.txt"
    arguments = [word.replace("ledger.txt", str(ledger)).replace("python ", f"{sys.executable} ") for word in command]
    done = terminal.run(*arguments[1:])
    assert (done.code, done.stdout) == (code, printed), done.stderr
    for cat, content in more:
        assert cat == ["cat", "ledger.txt"]
        assert ledger.read_text() == content


def test_enrichment_does_what_its_page_shows(terminal: Terminal) -> None:
    (serve, _), (command, printed) = session(
        EXAMPLES / "enrichment/README.md", "The EngramTemplates are those that ship, in `manifests/engrams`."
    )
    assert serve[:2] == ["python", "examples/enrichment/server.py"]
    with served(module("enrichment", "server").Register()) as register:
        done = terminal.run(*(word.replace("http://127.0.0.1:8090", register.url) for word in command[1:]))
    assert (done.code, done.stdout) == (0, printed), done.stderr


def test_the_earthquake_report_does_what_its_page_shows_and_is_cached(terminal: Terminal, tmp_path: Path) -> None:
    page = EXAMPLES / "earthquake-report/README.md"
    (serve, _), (command, printed), (ls, names) = session(page, "## The first run")
    assert serve[1:3] == ["-m", "http.server"]
    state = tmp_path / "state"
    with served(files()) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        words = [word.replace("http://127.0.0.1:8091", address) for word in command[1:]]
        words[words.index("state")] = str(state)
        first = terminal.run(*words)
        assert ls[0] == "ls"
        stored = sorted(path.name for path in (tmp_path / ls[1]).iterdir())
        words[words.index("first")] = "second"
        second = terminal.run(*words)
    assert (first.code, first.stdout) == (0, printed), first.stderr
    assert stored == names.split()
    assert (second.code, second.output["report"]) == (0, first.output["report"]), second.stderr
    payloads = state / "claims/default/payloads"
    assert (payloads / "default/logs/first/summarize").is_dir()
    assert not (payloads / "default/logs/second/summarize").exists(), "no process ran for it"


def test_the_templates_of_order_approval_are_those_of_its_code(terminal: Terminal) -> None:
    page = EXAMPLES / "order-approval/templates.yaml"
    components = [template["metadata"]["name"] for template in yaml.safe_load_all(page.read_text())]
    assert components == ["reserve", "charge", "ship", "refund", "release", "notify"]
    done = terminal.run("engram", "template", "examples/order-approval/shop.py:charge")
    assert yaml.safe_load(done.stdout) == list(yaml.safe_load_all(page.read_text()))[1]


def test_a_gate_that_the_story_does_not_have_cannot_be_decided(terminal: Terminal) -> None:
    done = terminal.run("run", "examples/order-approval", "--approve", "aprove")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == "error: --approve aprove: Story order-approval has no such gate; its gates: approve\n"


def test_a_component_of_a_shared_image_is_chosen_by_argument_or_engram() -> None:
    shop = [sys.executable, "examples/order-approval/shop.py"]
    unknown = subprocess.run([*shop, "x"], cwd=ROOT, capture_output=True, text=True)
    assert unknown.returncode == 2
    assert unknown.stderr == "no component 'x' here; there are charge, notify, refund, release, reserve, ship\n"
    alone = subprocess.run([*shop, "ship"], cwd=ROOT, capture_output=True, text=True)
    assert (alone.returncode, "is started by the engine" in alone.stderr) == (2, True)
