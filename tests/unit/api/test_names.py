"""Derived names are bit-exact: SDKs in other languages compute the same ones."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.api import names


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("demo-run", "Fetch_Data"), "demo-run-fetch-data"),
        (("a" * 60, "transform"), "a" * 50 + "-88948061c33d"),
        ((" A  b!", "", "--"), "a-b"),
        (("", "!!"), "resource"),
    ],
)
def test_compose_gives_the_vectors_of_the_specification(parts: tuple[str, ...], expected: str) -> None:
    assert names.compose(*parts) == expected


def test_compose_suffix_keeps_the_suffix_readable() -> None:
    assert names.compose_suffix("run", "engram-runner") == "run-engram-runner"
    assert names.compose_suffix("a" * 60, "engram-runner") == "a" * 36 + "-66a02a658f32-engram-runner"


def test_label_shortens_with_a_hash() -> None:
    assert names.label("Hello World") == "hello-world"
    assert names.label("...") == "resource"
    assert names.label("a" * 80) == "a" * 52 + "-0f45e858fb"


def test_short_gives_the_check_values() -> None:
    assert names.short("default/example-story/sample-submission") == "7ae6e94cb44073bc"
    assert names.short("default/example-step/deliver-webhook") == "f593b593cad9418d"


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("evt-42", "deploy-app-evt-42-cb2ca7ff03565c77"),
        ("github:pull_request:37", "deploy-app-github-pull-request-37-a19c2a72a0cb850f"),
    ],
)
def test_storyrun_name_gives_the_vectors(token: str, expected: str) -> None:
    assert names.storyrun_name("workflows", "deploy-app", token) == expected


def test_storyrun_name_without_namespace_keeps_a_clean_token() -> None:
    assert names.storyrun_name("", "s", "evt-42") == "s-evt-42"
    assert names.storyrun_name("", "s", "Evt-42") == f"s-evt-42-{names.short('/s/Evt-42')}"
    assert names.storyrun_name("", "s", "!") == f"s-{names.short('/s/!')}"


def test_storyrun_name_of_a_long_token_is_cut_to_253_characters() -> None:
    name = names.storyrun_name("ns", "story", "t" * 300)
    assert name == f"story-{names.short('ns/story/' + 't' * 300)}"
    assert len(names.storyrun_name("ns", "s" * 253, "t")) == 253


def test_trigger_and_claim_names_give_the_vectors() -> None:
    assert (
        names.storytrigger_name("workflows", "deploy-app", "github:pull_request:37", "sub-1")
        == "deploy-app-trigger-a19c2a72a0cb850f"
    )
    assert names.storytrigger_name("default", "example-story", "", "sample-submission").endswith("7ae6e94cb44073bc")
    assert names.effectclaim_name("workflows", "run-1-fetch", "provider.call") == "run-1-fetch-effect-bcff6e304f144b97"
    assert names.effectclaim_name("workflows", "run-1-fetch", "") == ""
    assert len(names.storytrigger_name("n", "s" * 253, "k", "s")) == 253
    assert len(names.effectclaim_name("n", "s" * 253, "k")) == 253


def test_idempotency_key_is_hashed_when_it_is_too_long() -> None:
    assert names.idempotency_key("ns", "run", "step") == "ns/ns/storyrun/run/step/step"
    assert names.idempotency_key("", "run", "step") == "storyrun/run/step/step"
    long = names.idempotency_key("ns", "r" * 253, "step")
    assert long.startswith("sha256:")
    assert len(long) == 7 + 64


@pytest.mark.parametrize("nothing", [None, {}, ""])
def test_no_inputs_hash_as_an_empty_object(nothing: object) -> None:
    assert names.input_hash(nothing) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, "1"),
        (-0.0, "-0"),
        (0, "0"),
        (100, "100"),
        (1.5, "1.5"),
        (2**53 + 1, "9007199254740992"),
        (12345678901234567890, "12345678901234567000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (-1.25e22, "-1.25e+22"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-10, "1.5e-10"),
        (123456.789, "123456.789"),
        (True, "true"),
        (None, "null"),
        ("<a>&\u2028\u2029", '"\\u003ca\\u003e\\u0026\\u2028\\u2029"'),
        ('é\n"', '"é\\n\\""'),
        ("\x08\x0c\x01", '"\\b\\f\\u0001"'),
        ({"b": [1, {}], "a": None, "Z": ""}, '{"Z":"","a":null,"b":[1,{}]}'),
    ],
)
def test_canonical_json_is_written_as_go_writes_it(value: object, expected: str) -> None:
    assert names.canonical_json(value) == expected


def test_a_number_that_json_cannot_hold_is_refused() -> None:
    for value in (float("nan"), float("inf"), 10**400):
        with pytest.raises(ValueError, match="is no number"):
            names.canonical_json(value)


@given(st.binary(min_size=8, max_size=8).map(lambda raw: struct.unpack("<d", raw)[0]).filter(lambda x: x == x))
def test_every_number_reads_back_as_itself(value: float) -> None:
    if abs(value) == float("inf"):
        return
    assert float(json.loads(names.canonical_json(value))) == value


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_composed_names_are_dns_labels(parts: list[str]) -> None:
    for name in (names.compose(*parts), names.label(parts[0])):
        assert 1 <= len(name) <= 63
        assert name.strip("-_.") == name
