"""Hostile input to everything that reads what people write: only the documented errors come out, and in time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bobrapet.admission import WEBHOOKS
from bobrapet.api import KINDS
from bobrapet.api.duration import DurationError, from_timedelta, parse_duration, to_timedelta
from bobrapet.api.quantity import QuantityError, parse_quantity
from bobrapet.cli.yaml_documents import YamlError, load_documents
from bobrapet.config.operator import Loaded, known_keys, parse
from bobrapet.config.reference import effective
from bobrapet.validation import check_manifest, kind_of, with_defaults, with_schema_defaults
from bobrapet.validation.json_schema import InvalidSchema, Stands, compile_schema
from tests.unit.admission.world import World
from tests.unit.validation.builders import engram, scene, story, template
from tests.unit.validation.test_api_objects import VALID

SECONDS = 10.0
"""What one example may take of this process. They take milliseconds, and the first one half a second to import what it
needs; what grows with the powers of its input takes far more."""


@contextmanager
def in_time() -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < SECONDS


examples = st.sampled_from([json.dumps(manifest) for _, _, manifest in VALID])
_splices = st.sampled_from(
    [
        *"{}[]\",:\\0-.eE+ \n\t#&*!|>%@`'",
        *("null", "1e999", "-0", "\\u0000", "\\ud800", "{{", "}}", "<<: *a", "&a [*a]", "$bubuStorageRef"),
        *("9" * 400, "\ufeff", "\u2028", '"' * 7, "---\n", "{" * 300, "[" * 300),
    ]
)


@st.composite
def damaged(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A text with a few pieces cut out, repeated, moved or replaced."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        to = min(len(text), at + draw(st.integers(0, 40)))
        match draw(st.integers(0, 3)):
            case 0:
                text = text[:at] + text[to:]
            case 1:
                text = text[:at] + draw(_splices) + text[to:]
            case 2:
                text = text[:to] + text[at:to] + text[to:]
            case _:
                text = text[to:] + text[at:to] + text[:at]
    return text


@given(damaged(examples | examples.map(lambda text: yaml.safe_dump(json.loads(text)))))
def test_loaders_of_manifests(text: str) -> None:
    with in_time(), suppress(YamlError):
        for document in load_documents(text):
            assert document.line_of(("spec", "steps", 0)) >= 1


@given(damaged(examples))
def test_admission_answers_whatever_it_is_sent(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    world = World(engram("a"), template())
    with suppress(ValueError, RecursionError):
        given_object = json.loads(text)
        if isinstance(given_object, dict):
            raw = json.dumps(given_object).encode()
    kind = next(row.kind for row in WEBHOOKS)
    old = {"apiVersion": kind.API_VERSION, "kind": kind.KIND, "metadata": {"name": "x"}, "spec": {"steps": []}}
    with in_time():
        for operation in ("CREATE", "UPDATE"):
            answer = asyncio.run(world.judge(raw, old, operation=operation))
            assert answer.code in (200, 400, 422), answer
            assert "panic" not in answer.message


@given(damaged(examples))
def test_what_parses_is_checked_filled_in_and_read_or_refused(text: str) -> None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(found, dict):
        return
    with in_time():
        filled = with_defaults(with_schema_defaults(found), scene().config)
        findings = check_manifest(filled, scene())
        for fault in findings.faults:
            assert fault.message
            assert len(fault.message) < 4000
        for kind in KINDS:
            with suppress(ValidationError, RecursionError):
                model = kind.model_validate(found)
                if findings.is_valid and kind_of(found) is kind:
                    assert model.to_wire() == found


_number = st.from_regex(r"[+-]?[0-9]{0,30}(\.[0-9]{0,30})?", fullmatch=True)
_unit = st.sampled_from(
    ["", *["n", "u", "µ", "m", "k", "Ki", "Mi", "E", "Ei", "e3", "E-9", "e999999999", "ns", "us", "ms", "s", "h"]]
)
_amounts = st.lists(st.tuples(_number, _unit), max_size=4).map(lambda parts: "".join(n + u for n, u in parts))


@given(_amounts | st.text(max_size=8))
def test_quantities_and_durations(text: str) -> None:
    with in_time():
        with suppress(QuantityError):
            assert parse_quantity(text) == parse_quantity(text)
        try:
            nanoseconds = parse_duration(text)
        except DurationError:
            return
        assert abs(nanoseconds) < 2**63
        with suppress(DurationError, OverflowError):
            span = to_timedelta(text)
            assert to_timedelta(from_timedelta(span)) == span


_keywords = st.sampled_from(
    [
        "type",
        "properties",
        "items",
        "$ref",
        "required",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "pattern",
        "$defs",
        "minimum",
        "enum",
        "const",
        "default",
        "additionalProperties",
        "patternProperties",
        "$schema",
        "$id",
        "$anchor",
        "unevaluatedProperties",
        "propertyNames",
        "nullable",
        "x-kubernetes-int-or-string",
        "dependentSchemas",
    ]
)
_pieces = st.sampled_from(
    [
        *("#", "#/$defs/a", "#/properties/a", "http://x/y", "string", "integer", "object", "^(a+)+$", "(a|aa)+$", "["),
        *("(?=x)", "http://json-schema.org/draft-04/schema#", "x" * 300, "a", -1, 10**400, True, False, None, 1.5),
    ]
)
schemas = st.recursive(
    _pieces,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keywords | st.sampled_from("ab"), inner),
    max_leaves=20,
)
anything = st.recursive(
    _pieces | st.sampled_from(["{{ a }}", "a" * 60 + "!"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "$bubuStorageRef"]), inner),
    max_leaves=12,
)


@given(schemas, anything)
def test_schemas_compile_or_say_where_they_do_not(schema: Any, value: Any) -> None:
    with in_time():
        pointer: str | None = None
        try:
            compiled = compile_schema(schema)
        except InvalidSchema as refused:
            pointer = refused.pointer
        if pointer is not None:
            assert pointer == "" or pointer.startswith("/")
            return
        for stands in Stands:
            violations = compiled.violations(value, stands)
            assert compiled.is_valid(value, stands) is (not violations)
        compiled.with_defaults(value)


_keys = st.sampled_from(sorted(known_keys())) | st.text(max_size=12)


@given(st.dictionaries(_keys, st.text(max_size=12) | _pieces, max_size=6))
def test_configurations(data: dict[str, Any]) -> None:
    with in_time():
        loaded, rows = effective(data)
        assert isinstance(loaded, Loaded)
        assert len({row.key for row in rows}) == len(rows)
        written = {row.key: row.value for row in rows if row.value}
        if loaded.is_usable and not loaded.problems:
            assert parse(written).config == loaded.config


@pytest.mark.soak
@given(damaged(st.just(json.dumps(story(*(f"name: s{i}, needs: [s{i - 1}]" for i in range(1, 60)))))))
def test_large_stories(text: str) -> None:
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict):
            with in_time():
                check_manifest(found, scene())
