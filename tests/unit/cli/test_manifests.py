"""Manifests from files, folders and standard input."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from bobrapet.cli.errors import ManifestError
from bobrapet.cli.manifests import apply_order, load

ENGRAM = "apiVersion: bubustack.io/v1alpha1\nkind: Engram\nmetadata: {name: e}\n"
TEMPLATE = "apiVersion: catalog.bubustack.io/v1alpha1\nkind: EngramTemplate\nmetadata: {name: t}\n"
STORY = "apiVersion: bubustack.io/v1alpha1\nkind: Story\nmetadata: {name: s}\nspec: {steps: []}\n"


def test_a_folder_is_read_recursively_and_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yaml").write_text(STORY)
    (tmp_path / "deep/b.yml").write_text(ENGRAM)
    (tmp_path / "deep/c.json").write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}')
    (tmp_path / "README.md").write_text("not: [yaml")
    assert [manifest.kind for manifest in load([str(tmp_path)])] == ["Story", "Engram", "Namespace"]


def test_what_others_refer_to_is_applied_first() -> None:
    text = "---\n".join([STORY, ENGRAM, TEMPLATE])
    assert [manifest.kind for manifest in apply_order(load(["-"], stdin=io.StringIO(text)))] == [
        "EngramTemplate",
        "Engram",
        "Story",
    ]


def test_a_list_is_opened() -> None:
    secret = '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}'
    text = f'{{"apiVersion": "v1", "kind": "List", "items": [{secret}]}}'
    (manifest,) = load(["-"], stdin=io.StringIO(text))
    assert (manifest.kind, manifest.name) == ("Secret", "x")


def test_every_fault_is_told_with_file_document_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ENGRAM + "---\n[1]\n---\nkind: Story\n---\napiVersion: v1\nkind: Secret\n")
    (tmp_path / "b.yaml").write_text("a: [1\n")
    with pytest.raises(ManifestError) as caught:
        load([str(tmp_path), str(tmp_path / "absent")])
    assert [fault.removeprefix(f"{tmp_path}/") for fault in caught.value.faults][:3] == [
        "a.yaml: document 2, line 5: holds a list, not a Kubernetes object",
        "a.yaml: document 3, line 7: apiVersion: missing; every object names its apiVersion and kind",
        "a.yaml: document 4, line 9: Secret: metadata.name: missing",
    ]
    assert "b.yaml: line 2: not valid YAML" in caught.value.faults[3]
    assert caught.value.faults[4].endswith("absent: no such file or folder")


def test_a_field_is_found_by_its_line() -> None:
    (manifest,) = load(["-"], stdin=io.StringIO(STORY))
    assert manifest.at(("spec", "steps")) == "standard input: document 1, line 4"
