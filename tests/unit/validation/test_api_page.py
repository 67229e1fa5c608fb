"""docs/api.md: its manifests are valid together, and its refusals are those that the checks make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from bobrapet.api import KINDS
from bobrapet.validation import Absent, Objects, Scene, check_manifest, with_defaults, with_schema_defaults
from bobrapet.validation.objects import kind_of

PAGE = (Path(__file__).parents[3] / "docs/api.md").read_text()


def blocks(fence: str) -> list[str]:
    return re.findall(rf"^```{fence}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


MANIFESTS: list[dict[str, Any]] = [each for block in blocks("yaml") for each in yaml.safe_load_all(block)]


def around() -> Scene:
    typed = [kind.model_validate(each) for each in MANIFESTS if (kind := kind_of(each)) is not None]
    secrets = [
        (each["metadata"]["namespace"], each["metadata"]["name"]) for each in MANIFESTS if each["kind"] == "Secret"
    ]
    return Scene(lookup=Objects(typed, secrets), absent=Absent.REFUSES)


def test_its_manifests_are_valid_and_warn_of_nothing() -> None:
    for given in MANIFESTS:
        scene = around()
        found = check_manifest(with_defaults(with_schema_defaults(given), scene.config), scene)
        assert ([str(fault) for fault in found.faults], found.warnings) == ([], []), given["kind"]


def test_its_refusals_are_what_the_checks_say() -> None:
    (wrong,), (told,) = blocks("yaml refused"), blocks("text")
    found = check_manifest(yaml.safe_load(wrong), around())
    assert [str(fault) for fault in found.faults] == told.splitlines()


def test_it_lists_every_kind_with_its_short_name() -> None:
    for kind in KINDS:
        assert re.search(
            rf"^\| {kind.KIND} \| {kind.group()}(, cluster)? \| `{kind.SHORT_NAMES[0]}` \|", PAGE, re.MULTILINE
        )
