"""CustomResourceDefinitions become served resources."""

from __future__ import annotations

from functools import cached_property

from bobrapet.local.apiserver.cel import ABSENT, Validator, validator
from bobrapet.local.apiserver.errors import FieldError
from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.schema import Schema, fill_defaults, prune, structural
from bobrapet.local.apiserver.strategy import Strategy, Writing
from bobrapet.local.apiserver.typed import convert, type_schema
from bobrapet.local.apiserver.types import Column, Object, Resource
from bobrapet.local.apiserver.validation import NOTHING, validate

_METADATA = type_schema("meta/v1.ObjectMeta")
_BLOCKING = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)
_UNCHECKED = FieldError(
    "<nil>",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
)


class CustomStrategy(Strategy):
    """A custom resource: generation counts everything but metadata (and status, when that is a subresource)."""

    has_generation = True
    unconditional_update = False

    custom = True

    def __init__(self, schema: Schema, metadata: Schema | None, *, has_status: bool) -> None:
        super().__init__(schema)
        self.has_status = has_status
        self._metadata = metadata

    def default(self, obj: Object) -> None:
        """The defaults of the schema."""
        fill_defaults(self.schema, obj)

    def conform_type(self, obj: Object, unknown: list[str]) -> None:
        """Prunes by the structural schema; metadata by its type."""
        metadata = obj.pop("metadata")
        foreign: list[str] = []
        convert(_METADATA, metadata, foreign)
        unknown += [f"metadata.{path}" for path in foreign]
        prune(self.schema, obj, "", unknown)
        obj["metadata"] = metadata

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """The value checks of the schema, on what changed."""
        content = {name: value for name, value in obj.items() if name != "metadata"}
        faults = validate(self.schema, content, "", NOTHING if old is None else old)
        if self._metadata is not None:
            faults += validate(self._metadata, obj["metadata"], "metadata")
        return faults + self._rule_faults(obj, old, faults)

    def _rule_faults(self, obj: Object, old: Object | None, faults: list[FieldError]) -> list[FieldError]:
        """What the CEL rules of the schema say, unless the object is too wrong to ask them."""
        if self._rules is None:
            return []
        if any(fault.reason in _BLOCKING for fault in faults):
            return [_UNCHECKED]
        return self._rules.check(obj, ABSENT if old is None else old)

    @cached_property
    def _rules(self) -> Validator | None:
        return validator(self.schema, root=True)

    def prepare_status_update(self, obj: Object, old: Object, writing: Writing) -> None:
        """Only the status changes."""
        status = obj.pop("status", None)
        managed = obj["metadata"].get("managedFields")
        version = obj["metadata"].get("resourceVersion")
        obj.clear()
        obj.update({**old, "metadata": {**old["metadata"]}})
        if version:
            obj["metadata"]["resourceVersion"] = version
        if managed is not None:
            obj["metadata"]["managedFields"] = managed
        obj.pop("status", None)
        if status is not None:
            obj["status"] = status

    def desired(self, obj: Object) -> object:
        """Everything that is desired state."""
        ignored = ("metadata", "status") if self.has_status else ("metadata",)
        return {name: value for name, value in obj.items() if name not in ignored}


def serve(registry: Registry, crd: Object) -> None:
    """Serves what a CustomResourceDefinition defines."""
    spec = crd["spec"]
    storage = next((version["name"] for version in spec["versions"] if version.get("storage")), "")
    resources = [_resource(spec, version, storage) for version in spec["versions"] if version.get("served")]
    registry.replace(spec["group"], spec["names"]["plural"], resources)


def withdraw(registry: Registry, crd: Object) -> None:
    """Serves it no longer."""
    registry.replace(crd["spec"]["group"], crd["spec"]["names"]["plural"], [])


def _resource(spec: Object, version: Object, storage_version: str) -> Resource:
    names = spec["names"]
    group = spec["group"]
    subresources = version.get("subresources") or {}
    given = version.get("schema", {}).get("openAPIV3Schema") or {}
    schema = _root(given)
    # The only thing a CRD may say of metadata is how names look.
    metadata = structural(given["properties"]["metadata"]) if "metadata" in (given.get("properties") or {}) else None
    return Resource(
        group=group,
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        list_kind=names.get("listKind", ""),
        singular=names.get("singular", names["kind"].lower()),
        namespaced=spec["scope"] == "Namespaced",
        schema=schema,
        strategy=CustomStrategy(schema, metadata, has_status="status" in subresources),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=frozenset(subresources),
        stored_as="" if version["name"] == storage_version else f"{group}/{storage_version}",
        storage=f"{names['plural']}.{group}",
        columns=tuple(
            Column(
                column["name"],
                column["type"],
                column["jsonPath"],
                column.get("priority", 0),
                column.get("format", ""),
                column.get("description", ""),
            )
            for column in version.get("additionalPrinterColumns") or ()
        ),
        fields={
            field["jsonPath"].lstrip("."): field["jsonPath"].lstrip(".")
            for field in version.get("selectableFields") or ()
        },
    )


def _root(given: Object) -> Schema:
    """The schema of a whole object: what every object has is always known."""
    schema = structural(given)
    for name in ("apiVersion", "kind"):
        schema.properties[name] = Schema("string")
    schema.properties["metadata"] = _METADATA
    return schema
