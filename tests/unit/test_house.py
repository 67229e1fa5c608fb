"""The house stands as its plan says: every room is named in the imports contract."""

from __future__ import annotations

import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]


def test_every_room_is_named_in_the_imports_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = {module for contract in contracts for module in contract.get("source_modules", [])}
    rooms = {f"bobrapet.{path.parent.name}" for path in (ROOT / "src/bobrapet").glob("*/__init__.py")}
    assert rooms - {"bobrapet.cli"} <= named


def test_nothing_names_a_registry_or_a_machine_path() -> None:
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        text = (ROOT / name).read_text()
        assert "://" not in text.replace("https://json-schema.org", ""), name


def test_no_module_imports_itself_however_indirectly() -> None:
    graph = grimp.build_graph("bobrapet", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as cycle:
        raise AssertionError(" -> ".join(cycle.args[1])) from None
