"""Records which spec cases passed, for `make spec`, and refuses an id that no specification has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / ".spec-passed.json"


def _known_ids() -> set[str]:
    lines = (ROOT / "tests/spec_ids.txt").read_text().splitlines()
    return {line.split("#")[0].strip() for line in lines} - {""}


class SpecRecorder:
    """Passed and failed case ids of this run; with xdist it lives in the controlling process only."""

    def __init__(self) -> None:
        self.passed: set[str] = set()
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        cases = {value for name, value in report.user_properties if name == "spec"}
        if report.failed:
            self.failed |= cases
        elif report.when == "call" and report.passed:
            self.passed |= cases

    def pytest_sessionfinish(self) -> None:
        earlier = set(json.loads(RECORD.read_text())) if RECORD.exists() else set()
        RECORD.write_text(json.dumps(sorted((earlier | self.passed) - self.failed)))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SpecRecorder(), "spec-recorder")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known = _known_ids()
    for item in items:
        for marker in item.iter_markers("spec"):
            for case in marker.args:
                if case not in known:
                    raise pytest.UsageError(f"{item.nodeid}: no specification has the case {case!r}")
                item.user_properties.append(("spec", case))
