"""The EngramTemplate of a component says what its code says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypedDict

import jsonschema
import msgspec
import pydantic
import pytest

from bobrapet.sdk import Context, SecretNeed, engram
from bobrapet.sdk.template import NoSchema, engram_template, schema_of


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Address:
    street: str
    """Street and number."""

    country: str = "CH"


@dataclass
class Person:
    """Somebody who is greeted."""

    name: str
    """How to address them.

    Not in the schema: only the first paragraph is.
    """
    born: datetime | None = None
    address: Address = field(default_factory=lambda: Address("unknown"))
    friends: list[str] = field(default_factory=list)
    colour: Colour = Colour.RED


class Settings(pydantic.BaseModel):
    how_often: int = pydantic.Field(1, alias="howOften", ge=1)
    """How many times."""
    tone: Literal["warm", "cold"] = "warm"


class Tree(msgspec.Struct, rename="camel"):
    the_value: int
    """What it holds."""
    children: list[Tree] = []


class Typed(TypedDict):
    text: str


@engram(
    name="greeter",
    version="2.0.0",
    image="example/greeter:2",
    secrets={
        "api": SecretNeed(description="Token of the greeting service", keys=("token",), required=True, mount="env")
    },
    rights=[{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}],
    timeout="2m",
    max_retries=1,
)
def greet(input: Person, ctx: Context[Settings]) -> Typed:
    """Greets one person.

    More for readers of the code.
    """
    return {"text": ""}


def test_everything_that_was_declared_is_in_the_manifest() -> None:
    template = engram_template(greet)
    assert template["metadata"] == {"name": "greeter"}
    spec = template["spec"]
    assert (spec["version"], spec["description"]) == ("2.0.0", "Greets one person")
    assert (spec["supportedModes"], spec["image"]) == (["job"], "example/greeter:2")
    assert spec["secretSchema"] == {
        "api": {
            "required": True,
            "description": "Token of the greeting service",
            "mountType": "env",
            "expectedKeys": ["token"],
        }
    }
    assert spec["execution"] == {
        "timeout": "2m",
        "retry": {"recommendedMaxRetries": 1},
        "rbac": {"rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]},
    }


def test_arguments_win_over_the_decorator_and_a_plain_function_needs_none() -> None:
    @engram
    def do_it(ctx: Context) -> None: ...

    template = engram_template(do_it, image="i:1", version="3", modes=("job", "deployment"))
    assert template["metadata"]["name"] == "do-it"
    assert template["spec"] == {"version": "3", "supportedModes": ["job", "deployment"], "image": "i:1"}


def test_schemas_come_from_the_types_and_descriptions_from_the_strings_below_fields() -> None:
    schema = engram_template(greet)["spec"]["inputSchema"]
    assert schema["description"] == "Somebody who is greeted."
    assert schema["required"] == ["name"]
    properties = schema["properties"]
    assert properties["name"] == {"type": "string", "description": "How to address them"}
    assert properties["address"]["properties"]["street"]["description"] == "Street and number"
    assert properties["address"]["required"] == ["street"]
    assert properties["colour"] == {"enum": ["blue", "red"], "default": "red"}
    assert properties["friends"] == {"type": "array", "items": {"type": "string"}}
    assert "default" not in properties["born"]
    jsonschema.validate({"name": "Ada", "born": "1815-12-10T00:00:00Z"}, schema)


def test_pydantic_models_keep_aliases_constraints_and_descriptions() -> None:
    schema = schema_of(Settings)
    assert schema["properties"]["howOften"] == {
        "type": "integer",
        "description": "How many times",
        "default": 1,
        "minimum": 1,
    }
    assert "title" not in schema["properties"]["tone"]


def test_a_type_that_contains_itself_stays_a_reference() -> None:
    schema = schema_of(Tree)
    (name,) = schema["$defs"]
    assert schema["$defs"][name]["properties"]["theValue"]["description"] == "What it holds"
    jsonschema.validate({"theValue": 1, "children": [{"theValue": 2, "children": []}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"theValue": 1, "children": [{"theValue": "x"}]}, schema)


@pytest.mark.parametrize("kind", [Any, dict, None, object])
def test_a_type_that_says_nothing_gives_no_schema(kind: Any) -> None:
    assert schema_of(kind) == {}


def test_constraints_of_msgspec_are_kept() -> None:
    @dataclass
    class Limited:
        n: Annotated[int, msgspec.Meta(ge=1, le=9)]

    assert schema_of(Limited)["properties"]["n"] == {"type": "integer", "minimum": 1, "maximum": 9}


def test_a_type_without_a_schema_is_named() -> None:
    @dataclass
    class Odd:
        what: complex

    with pytest.raises(NoSchema, match=r"Odd.*complex"):
        schema_of(Odd)


def test_a_model_inside_a_dataclass_is_told_too() -> None:
    @dataclass
    class Outer:
        settings: Settings

    assert schema_of(Outer)["properties"]["settings"]["properties"]["howOften"]["minimum"] == 1
