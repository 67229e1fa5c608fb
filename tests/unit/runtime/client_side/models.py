"""A typed kind for tests, as a user of the runtime would write it."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from bobrapet.runtime.client.object import Unstructured


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")


class OwnerRef(Model):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Meta(Model):
    name: str | None = None
    namespace: str | None = None
    generate_name: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    owner_references: list[OwnerRef] | None = None


class WidgetSpec(Model):
    size: int | None = None
    parts: list[str] | None = None
    colour: str | None = None


class WidgetStatus(Model):
    phase: str | None = None
    ready: int | None = None


class Widget(Model):
    API_VERSION: ClassVar[str] = "test.example.com/v1"
    KIND: ClassVar[str] = "Widget"
    PLURAL: ClassVar[str] = "widgets"
    NAMESPACED: ClassVar[bool] = True

    api_version: str = "test.example.com/v1"
    kind: str = "Widget"
    metadata: Meta = Meta()
    spec: WidgetSpec | None = None
    status: WidgetStatus | None = None


class Planet(Model):
    """Cluster-scoped, without a status."""

    API_VERSION: ClassVar[str] = "test.example.com/v1"
    KIND: ClassVar[str] = "Planet"
    PLURAL: ClassVar[str] = "planets"
    NAMESPACED: ClassVar[bool] = False

    api_version: str = "test.example.com/v1"
    kind: str = "Planet"
    metadata: Meta = Meta()


ConfigMap = Unstructured.of("v1", "ConfigMap")
Secret = Unstructured.of("v1", "Secret")
Pod = Unstructured.of("v1", "Pod")
Job = Unstructured.of("batch/v1", "Job")
Namespace = Unstructured.of("v1", "Namespace")
AnyWidget = Unstructured.of("test.example.com/v1", "Widget")

DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.test.example.com"},
    "spec": {
        "group": "test.example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "size": {"type": "integer", "minimum": 0},
                                    "parts": {"type": "array", "items": {"type": "string"}},
                                    "colour": {"type": "string"},
                                },
                            },
                            "status": {
                                "type": "object",
                                "properties": {"phase": {"type": "string"}, "ready": {"type": "integer"}},
                            },
                        },
                    }
                },
            }
        ],
    },
}


def widget(name: str = "w", namespace: str = "default", **spec: Any) -> Widget:
    return Widget(metadata=Meta(name=name, namespace=namespace), spec=WidgetSpec(**spec))


def config_map(name: str = "c", namespace: str = "default", **data: str) -> Unstructured:
    return ConfigMap({"metadata": {"name": name, "namespace": namespace}, "data": data})
