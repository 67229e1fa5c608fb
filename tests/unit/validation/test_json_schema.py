"""Users' schemas: what they accept, what is said when they do not, and that none can do harm."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.validation.json_schema import InvalidSchema, Stands, compile_schema
from bobrapet.validation.schema_form import Dialect, dialect_of, normalise
from bobrapet.validation.schema_search import explain
from bobrapet.validation.schema_stand_ins import TEMPLATE, with_stand_ins
from bobrapet.validation.schema_text import is_reference, is_reference_or_template

REQUEST = {
    "type": "object",
    "required": ["url"],
    "additionalProperties": False,
    "properties": {
        "url": {"type": "string"},
        "retries": {"type": "integer", "minimum": 0},
        "method": {"enum": ["GET", "POST"]},
        "items": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "integer"}}}},
    },
}


def said(schema: dict[str, Any], value: Any, stands: Stands = Stands.REFERENCES) -> list[str]:
    return [str(violation) for violation in compile_schema(schema).violations(value, stands)]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, ['lacks "url"']),
        ({"url": 1}, ["url: must be a string, is an integer"]),
        ({"url": "x", "ur": 1}, ['unknown key "ur"; did you mean "url"?']),
        ({"url": "x", "retries": -1}, ["retries: must be at least 0"]),
        ({"url": "x", "method": "POTS"}, ['method: must be one of GET, POST; did you mean "POST"?']),
        ({"url": "x", "items": [{"id": 1}, {"id": "a"}]}, ["items[1].id: must be an integer, is a string"]),
        ([], ["must be an object, is a list"]),
        (
            {"url": None, "retries": True},
            ["retries: must be an integer, is a boolean", "url: must be a string, is null"],
        ),
    ],
)
def test_every_fault_is_told_with_its_path(value: Any, words: list[str]) -> None:
    assert said(REQUEST, value) == words


def test_messages_never_show_the_value() -> None:
    secret = "hunter2-hunter2"
    schema = {"properties": {"a": {"type": "integer"}, "b": {"maxLength": 3}, "c": {"enum": ["x"]}, "d": {"const": 1}}}
    for text in said(schema, {"a": secret, "b": secret, "c": secret, "d": secret}):
        assert secret not in text


def test_a_payload_reference_stands_for_any_value() -> None:
    reference = {"$bubuStorageRef": "outputs/ns/run/body.json", "$bubuStorageContentType": "application/json"}
    assert said(REQUEST, {"url": reference}) == []
    assert said(REQUEST, {"url": {"$bubuSecretRef": {"name": "a", "key": "b"}}}) == []
    assert said(REQUEST, {"url": reference, "retries": -1}) == ["retries: must be at least 0"]
    assert said(REQUEST, {"url": {**reference, "extra": 1}}) == ["url: must be a string, is an object"]
    assert said(REQUEST, {"url": reference}, Stands.NOTHING) == ["url: must be a string, is an object"]


@pytest.mark.spec("admission-29")
def test_a_template_stands_for_any_value_only_where_an_author_writes() -> None:
    value = {"url": "x", "retries": "{{ inputs.n }}"}
    assert said(REQUEST, value, Stands.TEMPLATES) == []
    assert said(REQUEST, value, Stands.REFERENCES) == ["retries: must be an integer, is a string"]
    assert said(REQUEST, {"url": "x", "retries": "n {{ inputs.n }}"}, Stands.TEMPLATES) == [
        "retries: must be an integer, is a string"
    ]


def test_required_true_on_a_property_means_that_its_parent_requires_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "required": True}, "b": {"required": False}}}
    assert said(schema, {}) == ['lacks "a"']
    assert said(schema, {"a": "x"}) == []
    assert schema["properties"]["a"]["required"] is True  # type: ignore[index]


def test_kubernetes_forms_are_understood() -> None:
    schema = {
        "properties": {
            "port": {"x-kubernetes-int-or-string": True},
            "note": {"type": "string", "nullable": True},
            "rate": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        }
    }
    assert said(schema, {"port": "http", "note": None, "rate": 0.1}) == []
    assert said(schema, {"port": [], "rate": 0}) == [
        "port: must be an integer or a string, is a list",
        "rate: must be more than 0",
    ]


@pytest.mark.parametrize(
    ("schema", "pointer", "words"),
    [
        ({"type": 5}, "/type", "no type is called"),
        ({"properties": {"a": {"type": "strng"}}}, "/properties/a/type", 'did you mean "string"?'),
        ({"properties": {"a": {"pattern": "("}}}, "/properties/a/pattern", "no regular expression"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "/properties/a/pattern", "no look-around"),
        ({"$ref": "http://127.0.0.1:1/x"}, "/$ref", "nothing is ever fetched"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "/items/$ref", "nothing is ever fetched"),
        ({"minimum": "1"}, "/minimum", ""),
        ({"required": "a"}, "/required", ""),
    ],
)
def test_a_schema_that_is_none_is_refused_with_its_pointer(schema: dict[str, Any], pointer: str, words: str) -> None:
    with pytest.raises(InvalidSchema) as caught:
        compile_schema(schema)
    assert caught.value.pointer == pointer
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "form",
    [
        {"$ref": "URL"},
        {"$ref": "URL#/$defs/a"},
        {"$id": "URL", "$ref": "other.json"},
        {"$schema": "URL", "type": "object"},
        {"properties": {"a": {"$dynamicRef": "URL#a"}}},
        {"allOf": [{"$id": "URL", "items": {"$ref": "/x"}}]},
    ],
)
def test_no_schema_makes_a_connection(form: dict[str, Any]) -> None:
    """Neither while it is compiled nor while values are judged; the listener would have the connection in its line."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"
        schema = json.loads(json.dumps(form).replace("URL", url))
        with suppress(InvalidSchema):
            compile_schema(schema).violations({"a": [1]}, Stands.NOTHING)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_references_inside_the_schema_work() -> None:
    schema = {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}
    assert said(schema, {"a": "x"}) == ["a: must be an integer, is a string"]
    with pytest.raises(InvalidSchema):
        compile_schema({"$ref": "#/$defs/missing"})


def test_older_forms_mean_draft_7() -> None:
    assert said({"items": [{"type": "integer"}], "additionalItems": False}, [1]) == []
    assert said({"items": [{"type": "integer"}], "additionalItems": False}, [1, 2]) != []
    assert said({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True}, 1) != []


@pytest.mark.parametrize(
    "schema",
    [
        {
            "$defs": {
                f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}, {"minLength": i, "$ref": f"#/$defs/a{i + 1}"}]}
                for i in range(40)
            }
            | {"a40": {"type": "integer"}},
            "$ref": "#/$defs/a0",
        },
        {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}, "type": "object"},
        {"allOf": [{"$ref": "#"}]},
        {"pattern": "^(a+)+$"},
        {"propertyNames": {"pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}},
    ],
)
def test_a_hostile_schema_cannot_hang_the_process(schema: dict[str, Any]) -> None:
    value: Any = {"a": 1}
    for _ in range(60):
        value = {"a": value}
    started = time.process_time()
    try:
        compiled = compile_schema(schema)
    except InvalidSchema:
        return
    for probe in (value, "a" * 40 + "!", {"a" * 40: 1}):
        compiled.violations(probe)
    assert time.process_time() - started < 5


def test_a_deep_value_or_schema_is_no_crash() -> None:
    deep: Any = {"type": "object"}
    for _ in range(3000):
        deep = {"properties": {"a": deep}}
    with pytest.raises(InvalidSchema):
        compile_schema(deep)
    assert compile_schema({"type": "object"}).violations({1: 2}) != []


def test_defaults_fill_what_is_missing_and_nothing_else() -> None:
    schema = {
        "properties": {
            "a": {"default": 1},
            "b": {"properties": {"c": {"default": [1]}, "d": {}}},
            "e": {"properties": {"f": {}}},
        },
        "allOf": [{"properties": {"g": {"default": "x"}}}],
    }
    compiled = compile_schema(schema)
    given = {"a": None, "b": {"d": 0}}
    assert compiled.with_defaults(given) == {"a": None, "b": {"d": 0, "c": [1]}, "g": "x"}
    assert given == {"a": None, "b": {"d": 0}}
    assert compiled.with_defaults({}) == {"a": 1, "b": {"c": [1]}, "g": "x"}
    assert compiled.with_defaults("text") == "text"


def test_a_compiled_schema_is_found_again() -> None:
    assert compile_schema({"type": "object", "title": "t"}) is compile_schema({"title": "t", "type": "object"})


schemas = st.recursive(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "integer"},
            {"type": ["null", "boolean"]},
            {"minimum": 1},
            {"maxLength": 2},
            {"pattern": "^a"},
            {"enum": [1, "a", None]},
            {"const": {"a": 1}},
            {"required": ["a"]},
            {"minItems": 1},
            {"uniqueItems": True},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(lambda a, b: {"properties": {"a": a, "b": b}}, inner, inner),
        st.builds(lambda a: {"items": a}, inner),
        st.builds(lambda a: {"additionalProperties": a}, inner),
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
        st.builds(lambda a, b: {"oneOf": [a, b]}, inner, inner),
        st.builds(lambda a, b: {"allOf": [a, b]}, inner, inner),
        st.builds(lambda a: {"not": a}, inner),
        st.builds(lambda a, b, c: {"if": a, "then": b, "else": c}, inner, inner, inner),
    ),
    max_leaves=8,
)
values = st.recursive(
    st.sampled_from([None, True, 0, 1, 2.5, "", "a", "abc"]),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=6,
)


@given(schemas, values)
def test_both_engines_give_the_same_verdict(schema: dict[str, Any], value: Any) -> None:
    assert compile_schema(schema).is_valid(value) == jsonschema.Draft202012Validator(schema).is_valid(value)


# Schemas as templates in the wild have them, and values around the edges of each.
CORPUS: list[tuple[dict[str, Any], list[Any]]] = [
    (
        {"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "minLength": 1}}},
        [{}, {"a": ""}, {"a": "x"}],
    ),
    ({"properties": {"a": {"type": "string", "required": True}, "b": {}}, "type": "object"}, [{"a": "x"}, {"b": 1}]),
    ({"type": "string", "nullable": True, "enum": ["a", "b"]}, [None, "a", "c"]),
    ({"x-kubernetes-int-or-string": True}, [1, "25%", 1.5, None, True]),
    ({"type": "integer"}, [1, 1.0, 1.5, True, "1", 10**30]),
    ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, [0, 0.1, -1]),
    ({"type": "number", "exclusiveMaximum": 5, "multipleOf": 0.5}, [5, 4.5, 4.3]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1, "uniqueItems": True}, [[], [1, 1], [1, 2], ["a"]]),
    ({"type": "array", "prefixItems": [{"type": "string"}], "items": False}, [["a"], ["a", 1], [1], []]),
    ({"items": [{"type": "string"}], "additionalItems": {"type": "integer"}}, [["a", 1], ["a", "b"], [1]]),
    ({"contains": {"const": 1}, "minContains": 2, "maxContains": 3}, [[1], [1, 1], [1, 1, 1, 1]]),
    (
        {"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": False},
        [{"x-a": "b"}, {"x-a": 1}, {"a": 1}],
    ),
    ({"additionalProperties": {"type": "integer"}}, [{"a": 1}, {"a": "1"}, {}]),
    ({"propertyNames": {"pattern": "^[a-z]+$"}, "maxProperties": 2}, [{"a": 1}, {"A": 1}, {"a": 1, "b": 1, "c": 1}]),
    ({"dependentRequired": {"card": ["address"]}}, [{"card": 1}, {"card": 1, "address": 1}, {}]),
    ({"dependentSchemas": {"a": {"required": ["b"]}}}, [{"a": 1}, {"a": 1, "b": 1}]),
    ({"dependencies": {"a": ["b"]}}, [{"a": 1}, {"a": 1, "b": 1}]),
    (
        {"if": {"properties": {"kind": {"const": "s3"}}, "required": ["kind"]}, "then": {"required": ["bucket"]}},
        [{"kind": "s3"}, {}],
    ),
    ({"oneOf": [{"required": ["grpc"]}, {"required": ["terminate"]}]}, [{"grpc": 1}, {"grpc": 1, "terminate": 1}, {}]),
    ({"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]}, ["a", {}, {"name": 1}, 1]),
    ({"allOf": [{"required": ["a"]}, {"not": {"required": ["b"]}}]}, [{"a": 1}, {"a": 1, "b": 1}]),
    ({"$defs": {"n": {"type": "integer", "minimum": 1}}, "items": {"$ref": "#/$defs/n"}}, [[1], [0], ["a"]]),
    (
        {"definitions": {"n": {"type": "string"}}, "properties": {"a": {"$ref": "#/definitions/n"}}},
        [{"a": 1}, {"a": "b"}],
    ),
    (
        {"type": "object", "properties": {"child": {"$ref": "#"}}, "additionalProperties": False},
        [{"child": {"child": {}}}, {"child": {"x": 1}}],
    ),
    (
        {"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}], "unevaluatedProperties": False},
        [{"a": 1, "b": 1}, {"c": 1}],
    ),
    ({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True}, [1, 2]),
    (
        {"$schema": "http://json-schema.org/draft-07/schema#", "if": {"type": "string"}, "then": {"maxLength": 1}},
        ["ab", "a", 5],
    ),
    ({"type": ["string", "null"], "maxLength": 2, "pattern": "^a"}, ["ab", "abc", "b", None]),
    ({"pattern": "(?i)^a}"}, ["A}", "b}", 1]),  # draft 7 would not call this a pattern
    ({"const": {"a": [1, 2]}}, [{"a": [1, 2]}, {"a": [2, 1]}, {"a": [1.0, 2.0]}]),
    ({"enum": [0, False, "", None]}, [0, False, 0.0, "", None, [], 1]),
    ({}, [None, 1, "a", [], {}]),
]
BASES = {
    Dialect.DRAFT_4: jsonschema.Draft4Validator,
    Dialect.DRAFT_7: jsonschema.Draft7Validator,
    Dialect.DRAFT_2020_12: jsonschema.Draft202012Validator,
}


@pytest.mark.parametrize(("schema", "candidates"), CORPUS, ids=lambda part: str(part)[:40])
def test_both_engines_agree_on_schemas_as_authors_write_them(schema: dict[str, Any], candidates: list[Any]) -> None:
    dialect = dialect_of(schema)
    reference = BASES[dialect]({key: part for key, part in normalise(schema, dialect).items() if key != "$schema"})
    verdicts = [compile_schema(schema).is_valid(value, Stands.NOTHING) for value in candidates]
    assert verdicts == [reference.is_valid(value) for value in candidates]
    assert not schema or set(verdicts) == {True, False}, "the values should tell the edges of the schema"
    for value, verdict in zip(candidates, verdicts, strict=True):
        assert bool(compile_schema(schema).violations(value, Stands.NOTHING)) is not verdict


stand_ins = st.sampled_from(
    [
        *("{{ inputs.a }}", " ${{ a }} ", "x {{ a }}"),
        *({"$bubuStorageRef": "a"}, {"$bubuStorageRef": "a", "b": "c"}, {"$bubuStorageRef": 1}),
        *({"$bubuSecretRef": "a"}, {"$bubuConfigMapRef": {}}, {"$bubuSecretRef": 1, "a": 2}),
    ]
)
mixed_values = st.recursive(
    stand_ins | st.sampled_from([None, True, 1, "a"]),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=6,
)
schemas_with_definitions = st.builds(
    lambda schema, definition: {**schema, "$defs": {"d": definition}, "propertyNames": {"maxLength": 20}},
    schemas.map(lambda schema: {"anyOf": [schema, {"properties": {"a": {"$ref": "#/$defs/d"}}}], "minProperties": 1}),
    schemas,
)


@given(schemas | schemas_with_definitions, mixed_values, st.sampled_from([Stands.REFERENCES, Stands.TEMPLATES]))
def test_what_stands_for_a_value_is_judged_alike_by_the_fast_and_the_explaining_way(
    schema: dict[str, Any], value: Any, stands: Stands
) -> None:
    compiled = compile_schema(schema)
    accepts = {Stands.REFERENCES: is_reference, Stands.TEMPLATES: is_reference_or_template}[stands]
    as_it_stands = compiled.is_valid(value, Stands.NOTHING)
    searched = not explain(normalise(schema), Dialect.DRAFT_2020_12, value, accepts, 1)
    assert compiled.is_valid(value, stands) == (as_it_stands or searched)


def test_a_value_that_fits_as_it_stands_fits_whatever_could_stand_for_it() -> None:
    schema = {"oneOf": [{"minimum": 1}, {"items": {"type": "string"}}]}
    assert compile_schema(schema).is_valid([{"$bubuStorageRef": "a"}], Stands.REFERENCES)
    assert compile_schema({"not": {"type": "integer"}}).is_valid("{{ inputs.a }}", Stands.TEMPLATES)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "#/properties/b"}, "b": {"type": "integer"}}},
        {"properties": {"a": {"type": "integer"}}, "unevaluatedProperties": False},
        {"$defs": {"x": {"$anchor": "y", "type": "integer"}}, "properties": {"a": {"$ref": "#y"}}},
    ],
)
def test_schemas_that_cannot_be_widened_accept_stand_ins_all_the_same(schema: dict[str, Any]) -> None:
    assert with_stand_ins(schema, (TEMPLATE,)) is None
    assert said(schema, {"a": "{{ inputs.a }}"}, Stands.TEMPLATES) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "properties", "items", "$ref", "required", "allOf", "pattern", "a", "$defs", "minimum"]
                )
                | st.text(),
                x,
            )
        ),
    )
)
def test_no_schema_raises_anything_but_the_documented_error(schema: Any) -> None:
    try:
        compiled = compile_schema(schema)
    except InvalidSchema:
        return
    compiled.violations({"a": 1})
    compiled.with_defaults({"a": {}})
