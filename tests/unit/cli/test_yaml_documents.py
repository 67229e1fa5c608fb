"""YAML means what it means to kubectl."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.cli.yaml_documents import YamlError, load_documents


def value_of(text: str) -> Any:
    (document,) = load_documents(text)
    return document.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("On", True),
        ("y", True),
        ("off", False),
        ("N", False),
        ("~", None),
        ("0777", 0o777),
        ("0o17", 0o17),
        ("0x1f", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("-7", -7),
        ("09", 9.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1:30", "1:30"),
        ("2026-11-24", "2026-11-24"),
        ("2026-11-24T10:00:00Z", "2026-11-24T10:00:00Z"),
        ("1.2.3", "1.2.3"),
        ("'yes'", "yes"),
        ('"1"', "1"),
        ("!!str 1", "1"),
        ("!!int '1'", 1),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_a_scalar_has_the_type_that_kubectl_gives_it(text: str, value: Any) -> None:
    loaded = value_of(f"v: {text}")["v"]
    assert loaded == value
    assert type(loaded) is type(value)


def test_keys_become_text() -> None:
    assert value_of("{1: a, true: b, x: c}") == {"1": "a", "true": "b", "x": "c"}


def test_a_key_that_stands_twice_is_an_error_with_its_line() -> None:
    with pytest.raises(YamlError, match="'name' stands twice") as caught:
        value_of("metadata:\n  name: a\n  name: b\n")
    assert caught.value.line == 3


def test_merge_keys_fill_in_what_the_mapping_does_not_say() -> None:
    assert value_of("base: &b {a: 1, b: 2}\nuse:\n  <<: *b\n  b: 3\n")["use"] == {"a": 1, "b": 3}


def test_aliases_that_explode_are_refused() -> None:
    levels = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        levels += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    with pytest.raises(YamlError, match="aliases"):
        value_of(levels)


def test_documents_are_counted_as_people_count_and_know_their_lines() -> None:
    text = "kind: A\n---\n---\nkind: B\nspec:\n  steps:\n  - name: x\n    needs: [y]\n"
    first, second = load_documents(text)
    assert (first.index, first.line) == (1, 1)
    assert (second.index, second.line) == (3, 4)
    assert second.line_of(("spec", "steps", 0, "needs", 0)) == 8
    assert second.line_of(("spec", "steps", 0, "nedes")) == 7


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\tx: 1", "a: .nan", "? [a]\n: b"])
def test_what_is_not_yaml_is_refused_with_a_line(text: str) -> None:
    with pytest.raises(YamlError) as caught:
        load_documents(text)
    assert caught.value.line is not None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values.filter(lambda value: value is not None))
def test_json_is_yaml_with_the_same_meaning(value: Any) -> None:
    (document,) = load_documents(json.dumps(value))
    if isinstance(value, float):
        assert math.isclose(document.value, value)
    else:
        assert document.value == value


@given(st.text())
def test_no_text_raises_anything_but_a_yaml_error(text: str) -> None:
    with contextlib.suppress(YamlError):
        load_documents(text)
