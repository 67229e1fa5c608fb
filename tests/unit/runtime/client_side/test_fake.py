"""The fake client keeps the promises that tests of controllers rely on (spec runtime FK-1 to FK-7)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from bobrapet.runtime.client.apiutil import DynamicRESTMapper
from bobrapet.runtime.client.fake import ClientBuilder, FakeServer
from bobrapet.runtime.client.interceptor import Funcs
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.errors import (
    AlreadyExists,
    BadRequest,
    ClientError,
    Conflict,
    Invalid,
    MethodNotSupported,
    NotFound,
)
from bobrapet.runtime.scheme import GroupVersionKind
from tests.unit.runtime.client_side.models import (
    DEFINITION,
    AnyWidget,
    ConfigMap,
    Meta,
    Planet,
    Widget,
    config_map,
    widget,
)

KEY = ObjectKey("default", "c")


async def test_versions_start_at_999_for_seeded_and_at_1_for_created_objects() -> None:
    client = ClientBuilder().with_objects(config_map("seeded"), ConfigMap({"metadata": {
        "name": "versioned", "namespace": "default", "resourceVersion": "42"}})).build()  # fmt: skip
    assert (await client.get(ConfigMap, ObjectKey("default", "seeded"))).metadata.resource_version == "999"
    assert (await client.get(ConfigMap, ObjectKey("default", "versioned"))).metadata.resource_version == "42"
    created = await client.create(config_map())
    assert created.metadata.resource_version == "1"
    created.object["data"] = {"a": "1"}
    assert (await client.update(created)).metadata.resource_version == "2"


async def test_a_write_without_change_keeps_the_version_and_is_no_event() -> None:
    client = ClientBuilder().build()
    created = await client.create(config_map(a="1"))
    assert (await client.update(created)).metadata.resource_version == "1"


async def test_what_cannot_be_created() -> None:
    client = ClientBuilder().build()
    stored = await client.create(config_map())
    with pytest.raises(AlreadyExists):
        await client.create(config_map())
    with pytest.raises(BadRequest, match="resourceVersion"):
        await client.create(stored)
    with pytest.raises(Invalid, match=r"metadata\.name is required"):
        await client.create(ConfigMap({"metadata": {"namespace": "default"}}))


async def test_names_can_be_generated() -> None:
    client = ClientBuilder().build()
    names = set()
    for _ in range(20):
        created = await client.create(ConfigMap({"metadata": {"generateName": "run-", "namespace": "default"}}))
        names.add(created.metadata.name)
    assert len(names) == 20
    assert all(name.startswith("run-") and len(name) == len("run-") + 5 for name in names)


async def test_two_runs_of_a_test_see_the_same_names_and_uids() -> None:
    seen = []
    for _ in range(2):
        client = ClientBuilder(FakeClock()).build()
        created = await client.create(ConfigMap({"metadata": {"generateName": "run-", "namespace": "default"}}))
        seen.append(created.object)
    assert seen[0] == seen[1]


async def test_deletion_waits_for_finalizers(clock: FakeClock) -> None:
    client = ClientBuilder(clock).build()
    obj = config_map()
    obj.metadata.finalizers = ["a", "b"]
    stored = await client.create(obj)
    await client.delete(stored)
    marked = await client.get(ConfigMap, KEY)
    assert marked.metadata.deletion_timestamp == "2026-01-01T00:00:00Z"
    await clock.advance(60)
    await client.delete(marked)
    again = await client.get(ConfigMap, KEY)
    assert again.object == marked.object, "deleting again changes nothing"
    again.metadata.finalizers = ["b"]
    again.metadata.deletion_timestamp = None
    still = await client.update(again)
    assert still.metadata.deletion_timestamp == "2026-01-01T00:00:00Z", "a write cannot take the deletion back"
    still.metadata.finalizers = []
    await client.update(still)
    with pytest.raises(NotFound):
        await client.get(ConfigMap, KEY)


def test_an_object_that_could_not_exist_cannot_be_seeded() -> None:
    gone = config_map()
    gone.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
    with pytest.raises(ClientError, match="deletionTimestamp without finalizers"):
        ClientBuilder().with_objects(gone).build()
    with pytest.raises(ClientError, match="needs a name"):
        ClientBuilder().with_objects(ConfigMap({"metadata": {}})).build()
    with pytest.raises(AlreadyExists):
        ClientBuilder().with_objects(config_map(), config_map()).build()


async def test_identity_and_times_cannot_be_written() -> None:
    client = ClientBuilder().build()
    stored = await client.create(config_map())
    changed = stored.deep_copy()
    changed.metadata.creation_timestamp = "1999-01-01T00:00:00Z"
    changed.metadata.generation = 77
    changed.object["data"] = {"a": "1"}
    updated = await client.update(changed)
    assert updated.metadata.creation_timestamp == stored.metadata.creation_timestamp
    assert updated.metadata.generation == stored.metadata.generation
    updated.metadata.uid = "other"
    with pytest.raises(Conflict):
        await client.update(updated)


async def test_the_generation_counts_changes_of_what_is_wanted() -> None:
    client = ClientBuilder().with_types(Widget).build()
    stored = await client.create(widget(size=1))
    stored.metadata.labels = {"a": "b"}
    stored = await client.update(stored)
    assert stored.metadata.generation == 1
    assert stored.spec is not None
    stored.spec.size = 2
    stored = await client.update(stored)
    assert stored.metadata.generation == 2


async def test_status_is_opt_in_per_kind() -> None:
    client = ClientBuilder().build()
    stored = await client.create(AnyWidget({"metadata": {"name": "w", "namespace": "d"}, "status": {"phase": "A"}}))
    assert stored.get("status", "phase") == "A"
    with pytest.raises(NotFound, match="with_status_subresource"):
        await client.status().update(stored)
    client = ClientBuilder().with_status_subresource(AnyWidget).build()
    stored = await client.create(AnyWidget({"metadata": {"name": "w", "namespace": "d"}, "status": {"phase": "A"}}))
    assert stored.get("status") is None
    stored.set("status", value={"phase": "B"})
    assert (await client.status().update(stored)).get("status", "phase") == "B"


async def test_types_with_a_status_are_opted_in_and_others_are_not() -> None:
    client = ClientBuilder().with_types(Widget, Planet).build()
    stored = await client.create(widget())
    await client.status().update(stored)
    planet = await client.create(Planet(metadata=Meta(name="earth")))
    with pytest.raises(NotFound):
        await client.status().update(planet)


async def test_field_selectors_need_an_index() -> None:
    def sizes(obj: Widget) -> list[str]:
        return [str(obj.spec.size)] if obj.spec and obj.spec.size is not None else []

    builder = ClientBuilder().with_types(Widget).with_objects(widget("a", size=1), widget("b", size=2))
    with pytest.raises(BadRequest, match="with_index"):
        await builder.build().list(Widget, fields={"spec.size": "1"})
    client = builder.with_index(Widget, "spec.size", sizes).build()
    assert [obj.metadata.name for obj in await client.list(Widget, fields={"spec.size": "2"})] == ["b"]
    assert [obj.metadata.name for obj in await client.list(Widget, fields="spec.size!=2")] == ["a"]


async def test_a_definition_gives_scope_status_and_schema() -> None:
    client = ClientBuilder().with_crds(DEFINITION).build()
    obj = AnyWidget({"metadata": {"name": "w", "namespace": "d"}, "spec": {"size": -1, "parts": ["a", 2]}})
    with pytest.raises(Invalid) as raised:
        await client.create(obj)
    assert [cause["field"] for cause in raised.value.causes] == ["spec.parts[1]", "spec.size"]
    obj.set("spec", value={"size": 1})
    stored = await client.create(obj)
    stored.set("status", value={"ready": "many"})
    with pytest.raises(Invalid, match=r"status\.ready"):
        await client.status().update(stored)


def test_schema_features_of_kubernetes() -> None:
    from bobrapet.runtime.client.fake.schema import SchemaValidator

    validator = SchemaValidator(
        GroupVersionKind("g", "v1", "K"),
        {
            "type": "object",
            "required": ["metadata", "spec"],
            "properties": {
                "metadata": {"type": "object", "required": ["impossible"]},
                "spec": {
                    "type": "object",
                    "properties": {
                        "port": {"x-kubernetes-int-or-string": True},
                        "maybe": {"type": "string", "nullable": True, "enum": ["a"]},
                        "many": {"type": "object", "additionalProperties": {"type": "integer", "format": "int32"}},
                        "positive": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                    },
                },
            },
        },
    )
    validator.check({"metadata": {}, "spec": {"port": "http", "maybe": None, "many": {"x": 1}, "positive": 1}})
    for wrong in ({"port": 1.5}, {"maybe": "b"}, {"many": {"x": "1"}}, {"positive": 0}):
        with pytest.raises(Invalid):
            validator.check({"metadata": {}, "spec": wrong})
    with pytest.raises(Invalid):
        validator.check({"metadata": {}})


# Watch


async def raw_events(server: FakeServer, params: dict[str, str], until: int) -> list[tuple[str, str]]:
    """(type, name) of the first events of a watch of ConfigMaps."""
    seen = []
    async with server.stream("/api/v1/configmaps", {"watch": "true", **params}) as lines:
        async for line in lines:
            event = msgspec.json.decode(line)
            seen.append((event["type"], event["object"]["metadata"].get("name", "")))
            if len(seen) == until:
                break
    return seen


async def test_a_watch_from_a_list_misses_nothing() -> None:
    client = ClientBuilder().with_objects(config_map("a")).build()
    listed = await client.list(ConfigMap)
    await client.create(config_map("b"))
    await client.delete(config_map("a"))
    events = await raw_events(client.server, {"resourceVersion": listed.resource_version}, 2)
    assert events == [("ADDED", "b"), ("DELETED", "a")]


async def test_a_watch_without_version_begins_with_what_is_there() -> None:
    client = ClientBuilder().with_objects(config_map("a"), config_map("b")).build()
    assert await raw_events(client.server, {}, 2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_a_streaming_list_ends_with_a_bookmark() -> None:
    client = ClientBuilder().with_objects(config_map("a")).build()
    params = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    assert await raw_events(client.server, params, 2) == [("ADDED", "a"), ("BOOKMARK", "")]


async def test_a_watch_with_selector_reports_what_begins_and_ceases_to_match() -> None:
    client = ClientBuilder().build()

    async def relabel(value: str) -> None:
        stored = await client.get(ConfigMap, KEY)
        stored.metadata.labels = {"x": value}
        await client.update(stored)

    seen = []
    async with client.watch(ConfigMap, labels={"x": "1"}) as events:
        await client.create(config_map())
        for value in ("1", "1", "2", "1"):
            await relabel(value)
        await client.delete(config_map())
        async for event in events:
            seen.append(event.type)
            if len(seen) == 4:
                break
    assert seen == ["ADDED", "DELETED", "ADDED", "DELETED"]


async def test_watches_can_be_ended_by_the_test() -> None:
    client = ClientBuilder().build()
    async with client.watch(ConfigMap) as events:
        await client.create(config_map())
        client.tracker.end_watches()
        assert [event.type async for event in events] == ["ADDED"]


async def test_watchers_do_not_share_objects() -> None:
    client = ClientBuilder().build()
    async with client.watch(ConfigMap) as first, client.watch(ConfigMap) as second:
        await client.create(config_map(a="1"))
        one = await anext(aiter(first))
        one.object.object["data"]["a"] = "changed"
        two = await anext(aiter(second))
    assert two.object.object["data"] == {"a": "1"}
    assert (await client.get(ConfigMap, KEY)).object["data"] == {"a": "1"}


async def test_concurrent_writers_lose_no_update() -> None:
    client = ClientBuilder().with_objects(config_map(count="0")).build()

    async def count() -> None:
        while True:
            obj = await client.get(ConfigMap, KEY)
            obj.object["data"]["count"] = str(int(obj.object["data"]["count"]) + 1)
            await asyncio.sleep(0)
            try:
                await client.update(obj)
            except Conflict:
                continue
            return

    await asyncio.gather(*(count() for _ in range(20)))
    assert (await client.get(ConfigMap, KEY)).object["data"]["count"] == "20"


# The rest


async def test_discovery_works_so_that_the_real_mapper_can_be_used() -> None:
    server = ClientBuilder().with_types(Widget).build().server
    mapping = await DynamicRESTMapper(server).rest_mapping(GroupVersionKind.parse(Widget.API_VERSION, Widget.KIND))
    assert (mapping.resource, mapping.namespaced) == ("widgets", True)


@pytest.mark.parametrize(
    ("kind", "plural"), [("Story", "stories"), ("Box", "boxes"), ("Day", "days"), ("Class", "classes"), ("Pod", "pods")]
)
def test_plurals_are_guessed(kind: str, plural: str) -> None:
    from bobrapet.runtime.client.fake.kinds import FakeRESTMapper

    assert FakeRESTMapper().mapping(GroupVersionKind("x.io", "v1", kind)).resource == plural


async def test_requests_that_make_no_sense() -> None:
    server = ClientBuilder().build().server
    with pytest.raises(NotFound):
        await server.request("GET", "/version")
    with pytest.raises(NotFound):
        await server.request("GET", "/apis/x.io/v1/widgets")
    with pytest.raises(MethodNotSupported):
        await server.request("OPTIONS", "/api/v1/pods")
    with pytest.raises(BadRequest, match="the object is a v1 Pod"):
        await server.request(
            "POST", "/api/v1/namespaces/d/configmaps", body=b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}'
        )


async def test_the_interceptor_replaces_single_verbs() -> None:
    calls: list[str] = []

    async def refuse(inner: Any, obj: Any, **options: Any) -> Any:
        calls.append(obj.metadata.name)
        raise Conflict("somebody was faster")

    async def noted(inner: Any, name: str, obj: Any, **options: Any) -> Any:
        calls.append(f"{name} of {obj.metadata.name}")
        return await inner.sub_resource(name).update(obj, **options)

    client = (
        ClientBuilder()
        .with_types(Widget)
        .with_interceptor_funcs(Funcs(update=refuse, sub_resource_update=noted))
        .build_intercepted()
    )
    stored = await client.create(widget())
    with pytest.raises(Conflict, match="faster"):
        await client.update(stored)
    await client.status().update(stored)
    assert (await client.get(Widget, ObjectKey.of(stored))).metadata.name == "w"
    assert calls == ["w", "status of w"]
    assert isinstance(client.group_version_kind_for(Unstructured.of("v1", "Pod")), GroupVersionKind)
