"""Random JSON values by the CRD of a kind: valid ones, and ones with something wrong somewhere."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from bobrapet.api import crd_manifests

SCHEMAS: dict[str, dict[str, Any]] = {
    crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for crd in crd_manifests()
}
MAX_DEPTH = 4
"""Below it, only required members are made: affinities and probes would fill every example."""

_scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4) | st.just(1.5)
free_objects = st.dictionaries(
    st.text("abc$.", min_size=1, max_size=4), _scalars | st.lists(_scalars, max_size=2), max_size=2
)
_junk = st.sampled_from([None, True, -1, 2**31 - 1, "", "Not a label!", "x" * 400, [], {}, [{}], {"surprise": 1}, 1.5])


def values(schema: dict[str, Any], depth: int = 0, *, spoilt: bool = False) -> st.SearchStrategy[Any]:
    """Values of a structural schema; `spoilt` ones often break a rule of it."""
    good = _good(schema, depth, spoilt)
    # kube-apiserver takes an empty list for text with a format; nobody writes one.
    junk = _junk.filter(lambda value: value != []) if schema.get("format") == "date-time" else _junk
    return st.integers(0, 40).flatmap(lambda dice: junk if dice == 0 else good) if spoilt else good


def _good(schema: dict[str, Any], depth: int, spoilt: bool) -> st.SearchStrategy[Any]:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return free_objects
    if schema.get("x-kubernetes-int-or-string"):
        return st.integers(0, 9) | st.just("1Gi")
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "object" if "properties" in schema:
            return _objects(schema, depth, spoilt)
        case "object":
            extra = schema.get("additionalProperties", {"type": "string"})
            child = values(extra, depth + 1, spoilt=spoilt)
            return st.dictionaries(st.text("abc", min_size=1, max_size=3), child, max_size=2)
        case "array":
            items = values(schema["items"], depth + 1, spoilt=spoilt)
            keys = schema.get("x-kubernetes-list-map-keys")
            unique = (lambda item: str([item.get(key) for key in keys])) if keys and not spoilt else None
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=2, unique_by=unique)
        case "integer":
            return st.integers(schema.get("minimum", 0), schema.get("maximum", 2**31 - 1))
        case "boolean":
            return st.booleans()
        case _:
            return _strings(schema)


def _objects(schema: dict[str, Any], depth: int, spoilt: bool) -> st.SearchStrategy[Any]:
    needed = set(schema.get("required", ()))
    members = {
        name: values(child, depth + 1, spoilt=spoilt)
        for name, child in schema["properties"].items()
        if name in needed or depth <= MAX_DEPTH
    }
    made = st.fixed_dictionaries(
        {name: child for name, child in members.items() if name in needed},
        optional={name: child for name, child in members.items() if name not in needed},
    )
    if spoilt:
        return made
    for rule in schema.get("x-kubernetes-validations", ()):
        made = made.map(_RULES[rule["rule"]])
    return made


def _strings(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.sampled_from(["2026-01-01T10:00:00Z", "2026-01-01T10:00:00.123456+02:00"])
    pattern = schema.get("pattern", "")
    if "Za-z" in pattern:
        return st.sampled_from(["Ready", "Pending"])
    if pattern.startswith("^[a-z0-9]"):
        return st.text("abc0", min_size=1, max_size=4)
    return st.text("ab-.{} é", min_size=schema.get("minLength", 0), max_size=4)


def _either(first: str, second: str) -> Any:
    def fix(value: dict[str, Any]) -> dict[str, Any]:
        if first in value and second in value:
            return {name: child for name, child in value.items() if name != second}
        return value if first in value or second in value else {**value, first: {"name": "x"}}

    return fix


def _at_least(first: str, second: str, default: Any) -> Any:
    return lambda value: value if first in value or second in value else {**value, first: default}


def _with_ready(status: dict[str, Any]) -> dict[str, Any]:
    conditions = status.get("conditions")
    if conditions is None or any(condition["type"] == "Ready" for condition in conditions):
        return status
    return {name: value for name, value in status.items() if name != "conditions"}


_RULES: dict[str, Any] = {
    "has(self.ref) != has(self.type)": _either("ref", "type"),
    "has(self.authentication) || has(self.auth)": _at_least("authentication", "auth", {}),
    "has(self.endpoint) || has(self.address)": _at_least("endpoint", "address", "a:1"),
    "!has(self.conditions) || self.conditions.exists(c, c.type == 'Ready')": _with_ready,
    "!has(self.conditions) || self.conditions.all(c, has(c.lastTransitionTime))": lambda status: status,
    "!has(self.conditions) || self.conditions.all(c, !has(c.reason) || size(c.reason) <= 64)": lambda status: status,
    "!has(self.conditions) || self.conditions.all(c, !has(c.message) || size(c.message) <= 2048)": lambda status: (
        status
    ),
}
