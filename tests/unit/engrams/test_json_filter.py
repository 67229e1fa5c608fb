"""Engram json-filter: the items for which a condition holds."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.engrams.json_filter import json_filter
from bobrapet.sdk.testkit import Operator, Run

PEOPLE = [{"name": "Ada", "age": 36}, {"name": "Bob", "age": 9}, {"name": "Cid", "age": None}]


def run(items: Any, **config: Any) -> Run:
    return Operator().run(json_filter, {"items": items}, config=config)


def test_items_are_kept_in_their_order() -> None:
    assert run(PEOPLE, where=".age != null").output == {"items": PEOPLE[:2], "kept": 2, "dropped": 1}


def test_a_text_that_holds_an_array_is_one() -> None:
    assert run("[3, 1, 2]", where=". > 1").output["items"] == [3, 2]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("true", 3),
        ("false", 0),
        ("null", 0),
        ("empty", 0),
        ("0", 3),
        ("true, false", 3),
        ("$index > 0", 2),
        (".age", 2),
    ],
)
def test_what_is_neither_false_nor_null_keeps(where: str, kept: int) -> None:
    assert run(PEOPLE, where=where).output["kept"] == kept


def test_variables_comments_and_definitions_may_stand_in_the_condition() -> None:
    where = "def old: .age >= $limit; old # the grown-ups"
    assert run(PEOPLE[:2], where=where, vars={"limit": 18}).output["items"] == PEOPLE[:1]


def test_a_limit_keeps_the_first_ones() -> None:
    output = run([1, 2, 3], where="true", limit=2, includeRejected=True).output
    assert output == {"items": [1, 2], "kept": 2, "dropped": 1, "rejected": [3]}


@pytest.mark.parametrize(
    ("items", "where", "code"),
    [
        ({"a": 1}, ".", "NOT_AN_ARRAY"),
        ("{}", ".", "NOT_AN_ARRAY"),
        ("[", ".", "PAYLOAD_NOT_JSON"),
        ([1], ".) | (", "JQ_SYNTAX"),
        ([1], ".a", "JQ_FAILED"),
    ],
)
def test_what_cannot_be_filtered_is_terminal(items: Any, where: str, code: str) -> None:
    failed = run(items, where=where)
    assert (failed.phase, failed.error["code"], failed.error["exitClass"]) == ("Failed", code, "terminal")


def test_ten_thousand_items_are_one_program() -> None:
    assert run(list(range(10_000)), where=". % 2 == 0").output["kept"] == 5000
