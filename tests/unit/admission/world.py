"""A cluster of a few objects, and questions about others, in one line each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jsonpatch
import msgspec

from bobrapet.admission import Defaulter, Endpoint, Validator, webhook_configurations
from bobrapet.admission.lookups import Readers
from bobrapet.api import KubernetesObject
from bobrapet.config.operator import parse
from bobrapet.runtime.client.object import ObjectKey, ObjectList
from bobrapet.runtime.errors import NotFound
from bobrapet.runtime.webhook.admission import Request, Response, Webhook
from bobrapet.validation import kind_of


class FakeReader:
    """Reads from what it was given; fails for the kinds in `broken`."""

    def __init__(self, objects: Iterable[dict[str, Any]] = (), broken: dict[str, Exception] | None = None) -> None:
        self.objects = {_key(each): each for each in objects}
        self.broken = broken or {}
        self.asked: list[tuple[str, str]] = []

    async def get(self, cls: type[Any], key: ObjectKey, **options: Any) -> Any:
        kind = self._ask(cls, str(key))
        found = self.objects.get((kind, key.namespace, key.name))
        if found is None:
            raise NotFound(f"{kind} {key} not found")
        return cls.model_validate(found) if issubclass(cls, KubernetesObject) else cls(found)

    async def list(self, cls: type[Any], *, namespace: str | None = None, **options: Any) -> ObjectList[Any]:
        kind = self._ask(cls, f"{namespace}/*")
        return ObjectList(
            [
                cls.model_validate(found)
                for (held, place, _), found in self.objects.items()
                if held == kind and place == namespace
            ]
        )

    def _ask(self, cls: type[Any], what: str) -> str:
        kind: str = cls.KIND
        self.asked.append((kind, what))
        if kind in self.broken:
            raise self.broken[kind]
        return kind


def _key(manifest: dict[str, Any]) -> tuple[str, str, str]:
    kind = kind_of(manifest)
    namespaced = kind is None or kind.NAMESPACED
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", "") if namespaced else "", metadata["name"]


def patient_webhooks(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Our webhook configurations with the longest timeout there is, for webhooks of a process that may have to wait."""
    made = webhook_configurations(endpoint)
    for each in made:
        for hook in each["webhooks"]:
            hook["timeoutSeconds"] = 30
    return made


class World:
    """What the webhooks see. The cache knows what the API server knows, unless `cached` says otherwise."""

    def __init__(
        self,
        *objects: dict[str, Any],
        cached: Iterable[dict[str, Any]] | None = None,
        broken: dict[str, Exception] | None = None,
        **config: str,
    ) -> None:
        self.live = FakeReader(objects, broken)
        self.cached = FakeReader(objects if cached is None else cached, broken)
        self.config = parse({key.replace("__", ".").replace("_", "-"): value for key, value in config.items()}).config

    async def judge(self, given: Any, old: dict[str, Any] | None = None, **request: Any) -> Response:
        """What the validating webhook says."""
        kind = _kind(given, old)
        readers = Readers(cached=self.cached, live=self.live)
        webhook = Webhook(Validator(kind, readers, lambda: self.config))
        return await webhook.handle(question(given, old, **request))

    async def fill(self, given: Any, old: dict[str, Any] | None = None, **request: Any) -> Any:
        """What the mutating webhook makes of the object."""
        webhook = Webhook(Defaulter(_kind(given, old), lambda: self.config))
        response = await webhook.handle(question(given, old, **request))
        assert response.allowed, response
        return jsonpatch.apply_patch(given, [*response.patches]) if response.patches else given


def _kind(given: Any, old: dict[str, Any] | None) -> type[KubernetesObject]:
    kind = kind_of(given if isinstance(given, dict) else old or {})
    assert kind is not None
    return kind


def question(given: Any, old: dict[str, Any] | None = None, **request: Any) -> Request:
    """CREATE, or UPDATE when there is an old object, as an API server asks it."""
    metadata = given["metadata"] if isinstance(given, dict) and isinstance(given.get("metadata"), dict) else {}
    fields: dict[str, Any] = {
        "uid": "u-1",
        "operation": "UPDATE" if old is not None else "CREATE",
        "name": metadata.get("name", ""),
        "namespace": metadata.get("namespace", ""),
        "object": given if isinstance(given, bytes) else msgspec.json.encode(given),
        "old_object": msgspec.json.encode(old) if old is not None else b"",
    }
    return Request(**{**fields, **request})


def causes(response: Response) -> list[tuple[str, str]]:
    """Field and reason of every fault of a refusal by 422."""
    assert not response.allowed
    assert (response.code, response.reason) == (422, "Invalid"), response
    return [(cause["field"], cause["reason"]) for cause in response.details["causes"]]
