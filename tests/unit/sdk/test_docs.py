"""What docs/components.md shows is true: its components run, its tests pass, its commands print what it says."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bobrapet.api import env
from bobrapet.sdk import Context, engram
from bobrapet.sdk.testkit import Operator

PAGE = (Path(__file__).resolve().parents[3] / "docs/components.md").read_text()
BANK = '''
"""The other side of the page's payer."""

charges, keys, state = [], [], {}


class Busy(Exception):
    seconds = 5


class Down(Exception): ...


class Declined(Exception): ...


def reset(after_charge=(), declines=False):
    charges.clear()
    keys.clear()
    state.update(after=list(after_charge), declines=declines)


class Client:
    def __init__(self, token):
        assert token == "t0p-s3cret"

    def charge(self, amount, idempotency_key):
        if state["declines"]:
            raise Declined("limit")
        charges.append(amount)
        keys.append(idempotency_key)
        if state["after"]:
            state["after"].pop(0)()
        return f"payment-{len(charges)}"
'''


@engram
def _nothing() -> None: ...


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every Python block of the page in the file that it names, as its reader would have it."""
    for block in blocks("python"):
        name = block.splitlines()[0].removeprefix("# ")
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)
    (tmp_path / "payer/bank.py").write_text(BANK)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("greeter", "payer", "crawler")]:
        del sys.modules[name]


@pytest.fixture
def greeter(project: Path) -> ModuleType:
    return importlib.import_module("greeter.main")


def test_every_python_block_is_a_file_of_the_readers_project(project: Path) -> None:
    assert sorted(str(path.relative_to(project)) for path in project.rglob("*.py")) == [
        "crawler/main.py",
        "greeter/main.py",
        "payer/bank.py",
        "payer/main.py",
        "tests/test_payer.py",
    ]


def test_the_component_is_a_function_and_runs_as_a_step(greeter: ModuleType) -> None:
    greeting = greeter.greet(greeter.Person("Ada"), Context(config=greeter.Config()))
    assert greeting.text == "Hello, Ada"
    run = Operator().run(greeter.greet, {"name": "Ada"}, config={"greeting": "Ahoy", "name": "Ada"})
    assert run.output == {"text": "Ahoy, Ada"}


def test_the_commands_print_what_the_page_shows(project: Path) -> None:
    session, _ = blocks("console")
    shown = re.findall(r"^\$ bobrapet ([^\n]*)\n(.*?)(?=^\$ |\Z)", session, re.DOTALL | re.MULTILINE)
    assert len(shown) == 2
    for command, printed in shown:
        done = subprocess.run(
            [sys.executable, "-m", "bobrapet.cli", *shlex.split(command)], cwd=project, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, printed), done.stderr


def test_the_component_runs_as_a_step_of_the_pages_story(project: Path) -> None:
    command, printed = blocks("console")[1].split("\n", 1)
    (manifests,) = blocks("yaml")
    (project / "story.yaml").write_text(manifests)
    bobrapet = [sys.executable, "-m", "bobrapet.cli"]
    with (project / "template.yaml").open("w") as template:
        made = [*bobrapet, "engram", "template", "greeter.main:greet"]
        subprocess.run(made, cwd=project, stdout=template, check=True, timeout=120)
    words = shlex.split(command.removeprefix("$ bobrapet "))
    words[-1] = words[-1].replace("python", sys.executable)
    done = subprocess.run([*bobrapet, *words], cwd=project, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (0, printed), done.stderr


def test_the_tests_of_the_page_pass(project: Path) -> None:
    (block,) = [block for block in blocks("python") if block.startswith("# tests/")]
    module: dict[str, Any] = {}
    exec(compile(block, "docs/components.md", "exec"), module)
    tests = [name for name in module if name.startswith("test_")]
    assert len(tests) == 3
    for name in tests:
        module[name]()


def test_the_crawler_tells_its_progress_and_what_it_finds(project: Path) -> None:
    crawl = importlib.import_module("crawler.main").crawl
    run = Operator().run(crawl, {"pages": ["/a", "/robots.txt"]})
    assert run.output == {"visited": 2}
    assert run.signals["crawler.robots"] == {"page": "/robots.txt"}
    assert run.signals["progress"]["fraction"] == 1


def test_every_variable_that_the_page_names_is_one_of_the_contract() -> None:
    known = {value for name, value in vars(env).items() if name.isupper() and isinstance(value, str)}
    named = set(re.findall(r"`(BUBU_[A-Z_]+)`", PAGE))
    assert named <= known, named - known


def test_every_name_that_the_page_calls_exists() -> None:
    operator, run = Operator(), Operator().run(_nothing)
    for name in re.findall(r"`([a-z_]+)\(", PAGE[PAGE.index("| `Operator(") : PAGE.index("## An image")]):
        assert hasattr(operator, name), name
    told = re.search(r"A run tells (.*?)\. Delays", PAGE, re.DOTALL)
    assert told is not None
    for name in re.findall(r"`([a-z_]+)`", told[1]):
        assert hasattr(run, name), name
    tomllib.loads(blocks("toml")[0])
