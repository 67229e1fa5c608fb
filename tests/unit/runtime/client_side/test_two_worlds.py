"""The fake server answers as the real one: each scenario runs on both, and what a caller sees must be equal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from bobrapet.runtime.client.client import ApiClient, new
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.object import ObjectKey, PartialObjectMetadata, Unstructured
from bobrapet.runtime.client.options import Preconditions
from bobrapet.runtime.client.patch import json_patch, merge_from, raw_patch
from bobrapet.runtime.envtest import Environment, install_crds
from bobrapet.runtime.errors import ApiError
from bobrapet.runtime.rest.interface import MERGE_PATCH, STRATEGIC_MERGE_PATCH
from tests.unit.runtime.client_side.models import DEFINITION, AnyWidget, ConfigMap, Pod, config_map

KEY = ObjectKey("default", "two")
POD = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}
SERVERS_OWN = {"uid", "resourceVersion", "creationTimestamp", "managedFields", "deletionTimestamp"}


class Scenario:
    """What a caller sees, step by step: the object without what differs by nature, or the class of the failure."""

    def __init__(self, client: ApiClient) -> None:
        self.client = client
        self.seen: list[Any] = []

    async def step(self, call: Awaitable[Any]) -> Any:
        try:
            result = await call
        except ApiError as error:
            self.seen.append((type(error).__name__, error.status, error.reason))
            return None
        self.seen.append(visible(result))
        return result

    async def get(self, cls: type[Unstructured] = ConfigMap) -> Unstructured:
        return await self.client.get(cls, KEY)


def visible(result: Any) -> Any:
    if not isinstance(result, Unstructured | PartialObjectMetadata):
        return result
    metadata = {key: value for key, value in result.object["metadata"].items() if key not in SERVERS_OWN}
    marks = sorted(SERVERS_OWN & set(result.object["metadata"]) - {"managedFields"})
    # The real server leaves out maps that are empty.
    body = {key: result.object[key] for key in ("data", "spec", "status") if result.object.get(key)}
    return {"metadata": metadata, "marks": marks, **body}


def two(finalizers: list[str] | None = None, labels: dict[str, str] | None = None, **data: str) -> Unstructured:
    obj = config_map(KEY.name, KEY.namespace, **data)
    if finalizers:
        obj.metadata.finalizers = finalizers
    if labels:
        obj.metadata.labels = labels
    return obj


async def create_twice(s: Scenario) -> None:
    await s.step(s.client.create(two(a="1")))
    await s.step(s.client.create(two(a="2")))
    await s.step(s.client.get(ConfigMap, KEY))


async def create_without_name(s: Scenario) -> None:
    await s.step(s.client.create(ConfigMap({"metadata": {"namespace": "default"}})))


async def lost_update(s: Scenario) -> None:
    stale = await s.client.create(two(a="1"))
    fresh = stale.deep_copy()
    fresh.object["data"]["a"] = "2"
    await s.step(s.client.update(fresh))
    await s.step(s.client.update(stale))
    stale.metadata.resource_version = ""
    stale.metadata.uid = ""
    await s.step(s.client.update(stale, unconditional=True))


async def update_without_change(s: Scenario) -> None:
    stored = await s.client.create(two(a="1"))
    again = await s.client.update(stored)
    s.seen.append(again.metadata.resource_version == stored.metadata.resource_version)


async def update_another_object_of_the_same_name(s: Scenario) -> None:
    first = await s.client.create(two(a="1"))
    await s.client.delete(first)
    await s.step(s.client.update(first))
    await s.client.create(two(a="2"))
    await s.step(s.client.update(first))
    first.metadata.resource_version = ""
    await s.step(s.client.update(first, unconditional=True))


async def patches(s: Scenario) -> None:
    stored = await s.client.create(two(a="1", b="1"))
    changed = stored.deep_copy()
    changed.object["data"] = {"a": "2", "c": "3"}
    await s.step(s.client.patch(changed, merge_from(stored)))
    await s.step(s.client.patch(changed, merge_from(stored, optimistic_lock=True)))
    await s.step(s.client.patch(two(), json_patch([{"op": "test", "path": "/data/a", "value": "9"}])))
    await s.step(s.client.patch(two(), json_patch([{"op": "remove", "path": "/data/nothing"}])))
    await s.step(s.client.patch(two(), json_patch([{"op": "add", "path": "/data/d", "value": "4"}])))
    await s.step(s.client.patch(two(), raw_patch(MERGE_PATCH, b'{"data":null,"metadata":{"labels":{"x":"y"}}}')))
    await s.step(s.client.patch(config_map("missing"), raw_patch(MERGE_PATCH, b'{"data":{"a":"1"}}')))


async def strategic_merge(s: Scenario) -> None:
    obj = two(finalizers=["x.io/a"], labels={"a": "1", "b": "1"})
    await s.client.create(obj)
    patch = {"metadata": {"labels": {"b": None, "c": "1"}, "finalizers": ["x.io/b"]}}
    await s.step(s.client.patch(obj, raw_patch(STRATEGIC_MERGE_PATCH, msgspec.json.encode(patch))))
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x.io/a", "x.io/b"]}}
    await s.step(s.client.patch(obj, raw_patch(STRATEGIC_MERGE_PATCH, msgspec.json.encode(patch))))


async def strategic_merge_by_key(s: Scenario) -> None:
    pod = Pod({"metadata": {"name": KEY.name, "namespace": KEY.namespace}, "spec": POD})
    await s.client.create(pod)
    patch = {"spec": {"containers": [{"name": "b", "image": "2"}]}}
    patched = await s.client.patch(pod, raw_patch(STRATEGIC_MERGE_PATCH, msgspec.json.encode(patch)))
    s.seen.append([(entry["name"], entry["image"]) for entry in patched.get("spec", "containers")])
    await s.client.delete(pod, grace_period_seconds=0)


async def finalizers_hold_an_object(s: Scenario) -> None:
    await s.client.create(two(finalizers=["x.io/a", "x.io/b"]))
    await s.step(s.client.delete(two()))
    marked = await s.get()
    s.seen.append(visible(marked))
    await s.step(s.client.delete(two()))
    marked.metadata.finalizers = ["x.io/b"]
    marked = await s.step(s.client.update(marked))
    added = marked.deep_copy()
    added.metadata.labels = {"still": "writable"}
    marked = await s.step(s.client.update(added))
    await s.step(s.client.create(two()))
    marked.metadata.finalizers = []
    await s.step(s.client.update(marked))
    await s.step(s.client.get(ConfigMap, KEY))


async def preconditions(s: Scenario) -> None:
    stored = await s.client.create(two())
    await s.step(s.client.delete(stored, preconditions=Preconditions(uid="00000000-0000-0000-0000-000000000000")))
    await s.step(s.client.delete(stored, preconditions=Preconditions(resource_version="1234567")))
    own = Preconditions(uid=stored.metadata.uid, resource_version=stored.metadata.resource_version)
    await s.step(s.client.delete(stored, preconditions=own))
    await s.step(s.client.delete(stored))


async def dry_runs(s: Scenario) -> None:
    await s.step(s.client.create(two(a="1"), dry_run=True))
    await s.step(s.client.get(ConfigMap, KEY))
    stored = await s.client.create(two(a="1"))
    stored.object["data"]["a"] = "2"
    await s.step(s.client.update(stored, dry_run=True))
    await s.step(s.client.delete(stored, dry_run=True))
    await s.step(s.client.get(ConfigMap, KEY))


async def a_watch_with_selector(s: Scenario) -> None:
    await s.client.create(two(labels={"x": "2"}))
    since = (await s.client.list(ConfigMap, namespace="default")).resource_version
    for value in ("1", "1", "2", "1"):
        obj = await s.get()
        obj.metadata.labels = {"x": value}
        obj.object["data"] = {"round": str(len(s.seen))}
        await s.client.update(obj)
    await s.client.delete(two())
    async with s.client.watch(ConfigMap, namespace="default", labels={"x": "1"}, resource_version=since) as events:
        async for event in events:
            s.seen.append((event.type, event.object.metadata.labels))
            if len(s.seen) == 4:
                break


async def metadata_only(s: Scenario) -> None:
    await s.client.create(two(a="1", labels=None))
    meta = PartialObjectMetadata.of("v1", "ConfigMap")
    partial = await s.step(s.client.get(meta, KEY))
    base = partial.deep_copy()
    partial.metadata.labels = {"x": "y"}
    await s.step(s.client.patch(partial, merge_from(base, optimistic_lock=True)))
    found = await s.client.list(meta, namespace="default", labels={"x": "y"})
    s.seen.append([visible(item) for item in found])
    await s.step(s.client.get(ConfigMap, KEY))


async def generations(s: Scenario) -> None:
    obj = AnyWidget({"metadata": {"name": KEY.name, "namespace": KEY.namespace}, "spec": {"size": 1}})
    stored = await s.step(s.client.create(obj))
    stored.metadata.labels = {"a": "b"}
    stored = await s.step(s.client.update(stored))
    stored.set("spec", "size", value=2)
    stored = await s.step(s.client.update(stored))
    stored.set("status", value={"phase": "Ready"})
    stored = await s.step(s.client.status().update(stored))
    stored.metadata.finalizers = ["x.io/a"]
    stored = await s.step(s.client.update(stored))
    stored.set("spec", "size", value=-1)
    await s.step(s.client.update(stored))
    await s.step(s.client.delete(stored))
    stored = await s.get(AnyWidget)
    stored.metadata.finalizers = None
    await s.step(s.client.update(stored))


async def pages(s: Scenario) -> None:
    for name in "abcde":
        await s.client.create(ConfigMap({"metadata": {"name": name, "namespace": "default", "labels": {"page": "1"}}}))
    token = None
    while token != "":
        page = await s.client.list(ConfigMap, namespace="default", labels={"page": "1"}, limit=2, continue_=token)
        s.seen.append([item.metadata.name for item in page])
        token = page.continue_
    await s.client.delete_all_of(ConfigMap, namespace="default", labels={"page": "1"})
    s.seen.append(len(await s.client.list(ConfigMap, namespace="default", labels={"page": "1"})))


SCENARIOS: list[Callable[[Scenario], Awaitable[None]]] = [
    create_twice,
    create_without_name,
    lost_update,
    update_without_change,
    update_another_object_of_the_same_name,
    patches,
    strategic_merge,
    strategic_merge_by_key,
    finalizers_hold_an_object,
    preconditions,
    dry_runs,
    a_watch_with_selector,
    metadata_only,
    generations,
    pages,
]


@pytest.mark.real
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_a_caller_sees_the_same(
    scenario: Callable[[Scenario], Awaitable[None]], environment: Environment
) -> None:
    names = await install_crds(environment.config, [DEFINITION], timeout=60)
    assert names
    fake = Scenario(ClientBuilder().with_crds(DEFINITION).build())
    await scenario(fake)
    async with new(environment.config) as client:
        real = Scenario(client)
        try:
            await scenario(real)
        finally:
            await _clean(client)
    assert fake.seen
    assert fake.seen == real.seen


async def _clean(client: ApiClient) -> None:
    for cls in (ConfigMap, AnyWidget, Pod):
        for obj in await client.list(cls, namespace="default", fields={"metadata.name": KEY.name}):
            obj.metadata.finalizers = None
            await client.update(obj)
            try:
                await client.delete(obj, grace_period_seconds=0)
            except ApiError:
                continue
