"""The `world` fixture: every behaviour test runs on the embedded control plane and on the real one."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour import worlds
from tests.behaviour.builders import engram, template
from tests.behaviour.worlds import World


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One world lives in one worker, so that it is started once."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "world" in callspec.params:
            item.add_marker(pytest.mark.xdist_group(callspec.params["world"]))


LOGGED = pytest.StashKey[dict[Path, int]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what the processes of its world said meanwhile: afterwards that is gone with the world."""
    report = yield
    world = getattr(item, "funcargs", {}).get("world")
    if not isinstance(world, World):
        return report
    if report.failed:
        before = item.stash.get(LOGGED, {})
        for log in world.logs:
            if said := complaints(log, before.get(log, 0)):
                report.sections.append((f"{log.name} says", said))
    elif report.when == "setup":
        item.stash[LOGGED] = {log: log.stat().st_size for log in world.logs if log.exists()}
    return report


def complaints(log: Path, start: int) -> str:
    """The last warnings and errors in a log from a byte on, or its last lines where there are none."""
    if not log.exists():
        return ""
    lines = log.read_bytes()[start:].decode(errors="replace").splitlines()
    found = [line for line in lines if re.match(r'[WEF]\d{4} |.*"level":"(warn|error)', line)]
    return "\n".join(line[:400] for line in (found or lines)[-20:])


@pytest.fixture(scope="session", params=["embedded", "envtest"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A running control plane with the operator, a node, and the templates of all test components."""
    if request.param == "envtest" and (why := worlds.real_missing()):
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    folder = tmp_path_factory.mktemp(request.param)
    start = worlds.embedded if request.param == "embedded" else worlds.envtest
    with start(folder) as running:
        running.cluster.apply(*(template(mode) for mode in (*worlds.MODES, *worlds.PAYLOAD_MODES)))
        yield running


@pytest.fixture
def namespace(world: World) -> str:
    """A namespace of the test's own, with an Engram for each test component."""
    name = f"t-{uuid.uuid4().hex[:10]}"
    world.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    world.cluster.apply(*(engram(mode, name) for mode in (*worlds.MODES, *worlds.PAYLOAD_MODES)))
    return name


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A file in which components count how often they were called."""
    return tmp_path / "calls"


@pytest.fixture
def component(world: World, namespace: str) -> Callable[..., str]:
    """Makes an Engram of a test component with a template of its own, and gives its name.

    Fields of the template by keyword, those of the Engram in `engram_spec`.
    """

    def make(mode: str, engram_spec: dict[str, Any] | None = None, **spec: Any) -> str:
        found = template(mode, **spec)
        found["metadata"]["name"] = f"{mode.replace('_', '-')}-{namespace}"
        found["spec"]["image"] = f"test/{mode}:1.0.0"
        name = mode.replace("_", "-")
        made = engram(mode, namespace, name=name, of=found["metadata"]["name"], **(engram_spec or {}))
        world.cluster.apply(found, made)
        return name

    return make
