"""No object, however wrong, makes a check raise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bobrapet.api import KINDS
from bobrapet.config.operator import OperatorConfig
from bobrapet.validation import check_manifest, with_defaults, with_schema_defaults
from tests.unit.api.strategies import SCHEMAS, values
from tests.unit.validation.builders import engram, manifest, scene, story, template

FEW = settings().max_examples // 4  # these examples are large
AROUND = scene(
    engram("a"),
    template(inputSchema={"type": "object", "required": ["a"]}),
    story("name: a", name="b", inputsSchema={"properties": {"a": {"type": "integer", "default": 1}}}),
    manifest("Transport", {"provider": "p", "driver": "d", "supportedBinary": ["a/b"]}, "a"),
    policy="grant",
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def _objects(kind: Any, data: st.DataObject) -> dict[str, Any]:
    properties = SCHEMAS[kind.KIND]
    made = {
        "apiVersion": kind.API_VERSION,
        "kind": kind.KIND,
        "metadata": data.draw(st.fixed_dictionaries({"name": st.just("x"), "namespace": st.just("ns")}) | _json),
        "spec": data.draw(values(properties["spec"], spoilt=data.draw(st.booleans())) | _json),
    }
    if data.draw(st.booleans()):
        made["status"] = data.draw(values(properties["status"], spoilt=True))
    return made


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.KIND != "Impulse"], ids=lambda kind: kind.KIND)
@settings(max_examples=FEW)
@given(st.data())
def test_every_object_gets_an_answer(kind: Any, data: st.DataObject) -> None:
    written = _objects(kind, data)
    filled = with_schema_defaults(written)
    assert with_schema_defaults(filled) == filled
    admitted = with_defaults(filled, OperatorConfig())
    assert with_defaults(admitted, OperatorConfig()) == admitted
    check_manifest(admitted, AROUND)
    check_manifest(admitted, AROUND, old=filled)


@settings(max_examples=FEW)
@given(_json)
def test_anything_in_a_primitive_gets_an_answer(block: Any) -> None:
    for step_type in ("sleep", "stop", "wait", "gate", "parallel", "executeStory", "condition"):
        for shape in (
            block,
            {"steps": block, "storyRef": block, "until": block, "duration": block, "phase": block, "timeout": block},
            {"steps": [block], "storyRef": {"name": block}, "mode": block, "onTimeout": block, "with": block},
        ):
            made = manifest("Story", {"steps": [{"name": "a", "type": step_type, "with": shape}]})
            check_manifest(made, AROUND)
