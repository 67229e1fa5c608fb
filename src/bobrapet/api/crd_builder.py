"""CustomResourceDefinitions, built from the models.

`build_crd` walks a kind's type hints: structure from the types, limits from `Schema` marks, rules from `RULES`,
descriptions from the text below each field. Only `hack/generate` and tests need this; a program that wants the CRDs
asks `bobrapet.api.crds`. Rules: spec api 1.2, 2; structural schemas as apiextensions.k8s.io/v1 defines them.
"""

from __future__ import annotations

import ast
import copy
import inspect
import sys
import textwrap
import types
from enum import Enum
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from bobrapet.api.kinds import KINDS
from bobrapet.api.meta import KubernetesObject
from bobrapet.api.wire import Model, Schema

_API_VERSION_TEXT: Final = "Group and version of the API, for example bubustack.io/v1alpha1."
_KIND_TEXT: Final = "Kind of the object, in CamelCase. Cannot be changed."


def build_crds() -> list[dict[str, Any]]:
    """The twelve CRDs, built from the models. Slow: reads the models' source."""
    return [build_crd(kind) for kind in KINDS]


def build_crd(kind: type[KubernetesObject]) -> dict[str, Any]:
    """The CRD of one kind."""
    group, _, version = kind.API_VERSION.partition("/")
    names: dict[str, Any] = {
        "categories": list(kind.CATEGORIES),
        "kind": kind.KIND,
        "listKind": f"{kind.KIND}List",
        "plural": kind.PLURAL,
        "shortNames": list(kind.SHORT_NAMES),
        "singular": kind.KIND.lower(),
    }
    served: dict[str, Any] = {"name": version}
    if kind.COLUMNS:
        served["additionalPrinterColumns"] = [
            {"name": name, "type": type, "jsonPath": path} for name, type, path in kind.COLUMNS
        ] + [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]
    served["schema"] = {"openAPIV3Schema": root_schema(kind)}
    if kind.SELECTABLE:
        served["selectableFields"] = [{"jsonPath": path} for path in kind.SELECTABLE]
    served |= {"served": True, "storage": True, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.PLURAL}.{group}"},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced" if kind.NAMESPACED else "Cluster",
            "versions": [served],
        },
    }


def root_schema(kind: type[KubernetesObject]) -> dict[str, Any]:
    """The structural OpenAPI schema of a kind."""
    hints = get_type_hints(kind, include_extras=True)
    texts = _texts(kind)
    return {
        "description": _flat(inspect.getdoc(kind)),
        "type": "object",
        "properties": {
            "apiVersion": {"description": _API_VERSION_TEXT, "type": "string"},
            "kind": {"description": _KIND_TEXT, "type": "string"},
            "metadata": {"type": "object"},
            "spec": {**_schema(hints["spec"]), "description": texts["spec"]},
            "status": {**_schema(hints["status"]), "description": texts["status"]},
        },
        "required": ["spec"],
    }


def _schema(hint: Any) -> dict[str, Any]:
    origin = get_origin(hint)
    if origin is Annotated:
        base, *marks = get_args(hint)
        return _marked(_schema(base), marks)
    if origin in (Union, types.UnionType):
        return _union([member for member in get_args(hint) if member is not type(None)])
    if origin is list:
        (item,) = get_args(hint)
        return {"type": "array", "items": _schema(item)}
    if origin is dict:
        _, value = get_args(hint)
        return {"type": "object"} if value is Any else {"type": "object", "additionalProperties": _schema(value)}
    if origin is Literal:
        return {"type": "string", "enum": list(get_args(hint))}
    if isinstance(hint, type):
        if issubclass(hint, Model):
            return copy.deepcopy(_object(hint))
        if issubclass(hint, Enum):
            return {"type": "string", "enum": [member.value for member in hint]}
        if hint in _SCALARS:
            return {"type": _SCALARS[hint]}
    raise TypeError(f"{hint!r} has no structural schema")


_SCALARS: Final[dict[type, str]] = {str: "string", int: "integer", bool: "boolean"}


def _union(members: list[Any]) -> dict[str, Any]:
    if len(members) == 1:
        return _schema(members[0])
    # The one union that a structural schema can express; its keywords come from the Schema mark around it.
    if {_schema(member)["type"] for member in members} == {"integer", "string"}:
        return {}
    raise TypeError(f"a union of {members!r} has no structural schema")


def _marked(schema: dict[str, Any], marks: list[Any]) -> dict[str, Any]:
    for mark in marks:
        if isinstance(mark, Schema):
            schema |= {
                name: list(value) if isinstance(value, tuple) else value for name, value in mark.keywords.items()
            }
    return schema


@cache
def _object(model: type[Model]) -> dict[str, Any]:
    hints = get_type_hints(model, include_extras=True)
    texts = _texts(model)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, field in model.model_fields.items():
        wire = field.alias or name
        properties[wire] = {"description": texts[name], **_schema(hints[name])}
        if field.is_required() or _must_be_written(hints[name]):
            required.append(wire)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = sorted(required)
    mark = getattr(model, "SCHEMA", None)
    schema = _marked(schema, [mark] if mark else [])
    if rules := getattr(model, "RULES", ()):
        schema["x-kubernetes-validations"] = [{"rule": rule.rule, "message": rule.message} for rule in rules]
    return schema


def _must_be_written(hint: Any) -> bool:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return any(isinstance(mark, Schema) and mark.required for mark in marks)


@cache
def _texts(model: type[Model]) -> dict[str, str]:
    """The text that stands below each field, inherited ones included."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not (issubclass(base, Model) and base is not Model):
            continue
        fields = _syntax(base).body
        for statement, following in pairwise(fields):
            match statement, following:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    texts[name] = _flat(text)
    return texts


@cache
def _syntax(model: type[Model]) -> ast.ClassDef:
    return _classes(model.__module__)[model.__name__]


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _flat(text: str | None) -> str:
    return " ".join(textwrap.dedent(text or "").split())
