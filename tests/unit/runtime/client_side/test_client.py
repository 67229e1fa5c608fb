"""The client over a fake server: routing, projections, updates, paging (spec runtime section 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from bobrapet.runtime.client.client import ApiClient, CacheOptions
from bobrapet.runtime.client.fake import ClientBuilder, FakeClient
from bobrapet.runtime.client.interfaces import get_or_none, ignore_already_exists, ignore_not_found
from bobrapet.runtime.client.object import ObjectKey, ObjectList, PartialObjectMetadata, Unstructured, to_dict
from bobrapet.runtime.client.options import Preconditions
from bobrapet.runtime.client.patch import merge_from
from bobrapet.runtime.client.typed_client import PAGE_SIZE
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.errors import (
    AlreadyExists,
    ClientError,
    Conflict,
    Expired,
    MissingResourceVersion,
    NamespaceMismatch,
    NotFound,
    UndecodableObject,
    UnsupportedOperation,
)
from bobrapet.runtime.retry import DEFAULT_BACKOFF, DEFAULT_RETRY, Backoff, retry_on_conflict
from bobrapet.runtime.scheme import GroupVersionKind
from tests.unit.runtime.client_side.models import (
    AnyWidget,
    ConfigMap,
    Meta,
    Namespace,
    Planet,
    Pod,
    Secret,
    Widget,
    WidgetStatus,
    config_map,
    widget,
)

KEY = ObjectKey("default", "w")
WidgetMeta = PartialObjectMetadata.of("test.example.com/v1", "Widget")


@pytest.fixture
def client() -> FakeClient:
    return ClientBuilder().with_types(Widget, Planet).build()


class CacheDouble:
    """Remembers which classes were read from it."""

    def __init__(self) -> None:
        self.reads: list[type[Any]] = []

    async def get(self, cls: type[Any], key: ObjectKey, **_: Any) -> Any:
        self.reads.append(cls)
        return cls.model_validate({"metadata": {"name": "from-cache"}})

    async def list(self, cls: type[Any], **_: Any) -> ObjectList[Any]:
        self.reads.append(cls)
        return ObjectList()


@pytest.mark.spec("runtime-86")
@pytest.mark.parametrize(
    ("cls", "options", "cached"),
    [
        (Widget, {}, True),
        (Widget, {"disable_for": (Widget,)}, False),
        (Widget, {"disable_for": (Planet,)}, True),
        (AnyWidget, {}, False),
        (AnyWidget, {"unstructured": True}, True),
        (AnyWidget, {"unstructured": True, "disable_for": (AnyWidget,)}, False),
        (WidgetMeta, {}, True),
        (WidgetMeta, {"disable_for": (WidgetMeta,)}, False),
    ],
)
async def test_which_reads_go_to_the_cache(cls: type[Any], options: dict[str, Any], cached: bool) -> None:
    fake = ClientBuilder().with_types(Widget, Planet).with_objects(widget()).build()
    cache = CacheDouble()
    client = ApiClient(fake.server, fake.scheme, fake.rest_mapper, cache=CacheOptions(reader=cache, **options))
    got = await client.get(cls, KEY)
    listed = await client.list(cls)
    assert cache.reads == ([cls, cls] if cached else [])
    assert got.metadata.name == ("from-cache" if cached else "w")
    assert len(listed) == (0 if cached else 1)


@pytest.mark.spec("runtime-86")
async def test_writes_subresources_and_reads_at_a_version_are_always_live() -> None:
    fake = ClientBuilder().with_types(Widget).build()
    cache = CacheDouble()
    client = ApiClient(fake.server, fake.scheme, fake.rest_mapper, cache=CacheOptions(reader=cache))
    created = await client.create(widget())
    created = await client.update(created)
    created = await client.status().update(created)
    await client.get(Widget, KEY, resource_version="0")
    async with client.watch(Widget):
        pass
    await client.delete(created)
    assert cache.reads == []


@pytest.mark.spec("runtime-86")
async def test_the_api_reader_needs_no_cache(client: FakeClient) -> None:
    reader = ApiClient(client.server, client.scheme, client.rest_mapper)
    await client.create(widget())
    assert (await reader.get(Widget, KEY)).metadata.name == "w"


async def test_one_object_in_three_projections(client: FakeClient) -> None:
    typed = await client.create(widget(size=3))
    loose = await client.get(AnyWidget, KEY)
    meta = await client.get(WidgetMeta, KEY)
    assert (type(typed), type(loose), type(meta)) == (Widget, AnyWidget, WidgetMeta)
    assert loose.get("spec", "size") == 3
    assert (meta.api_version, meta.kind, meta.metadata.uid) == ("test.example.com/v1", "Widget", typed.metadata.uid)
    assert set(meta.object) == {"apiVersion", "kind", "metadata"}
    assert [item.kind for item in await client.list(WidgetMeta)] == ["Widget"]


async def test_writes_return_the_stored_object_and_leave_the_argument(client: FakeClient) -> None:
    given = widget(size=1)
    before = to_dict(given)
    stored = await client.create(given)
    assert to_dict(given) == before
    assert stored.metadata.resource_version == "1"
    assert stored.metadata.uid


async def test_items_of_built_in_lists_know_their_kind(client: FakeClient) -> None:
    await client.create(config_map())
    listed = await client.list(ConfigMap)
    assert [(item.api_version, item.kind) for item in listed] == [("v1", "ConfigMap")]


@pytest.mark.spec("runtime-87")
async def test_a_stale_update_conflicts(client: FakeClient) -> None:
    first = await client.create(widget())
    await client.patch(first, merge_from(widget()), field_owner="x")
    changed = first.model_copy(deep=True)
    changed.spec = widget(size=2).spec
    await client.update(changed)
    with pytest.raises(Conflict):
        await client.update(first)


@pytest.mark.spec("runtime-87")
async def test_an_update_without_version_is_refused_unless_it_is_meant(client: FakeClient) -> None:
    await client.create(config_map(a="1"))
    with pytest.raises(MissingResourceVersion, match="unconditional=True"):
        await client.update(config_map(a="2"))
    assert (await client.update(config_map(a="2"), unconditional=True)).object["data"] == {"a": "2"}
    with pytest.raises(MissingResourceVersion):
        await client.status().update(config_map())


@pytest.mark.spec("runtime-87")
async def test_retry_on_conflict_reads_again_and_succeeds_on_the_third_try(
    client: FakeClient, clock: FakeClock
) -> None:
    await client.create(config_map(count="0"))
    key, reads = ObjectKey("default", "c"), []

    async def write() -> Unstructured:
        obj = await client.get(ConfigMap, key)
        reads.append(obj.metadata.resource_version)
        if len(reads) < 3:
            other = await client.get(ConfigMap, key)
            other.object["data"]["other"] = str(len(reads))
            await client.update(other)
        obj.object["data"]["count"] = "1"
        return await client.update(obj)

    stored = await _in_virtual_time(clock, lambda: retry_on_conflict(write, clock=clock))
    assert stored.object["data"] == {"count": "1", "other": "2"}
    assert reads == ["1", "2", "3"]


@pytest.mark.spec("runtime-87")
async def test_retry_on_conflict_gives_up_after_five(clock: FakeClock) -> None:
    times: list[float] = []

    async def always() -> None:
        times.append(clock.monotonic())
        raise Conflict(f"number {len(times)}")

    with pytest.raises(Conflict, match="number 5"):
        await _in_virtual_time(clock, lambda: retry_on_conflict(always, clock=clock))
    pauses = [b - a for a, b in pairwise(times)]
    assert len(times) == DEFAULT_RETRY.steps == 5
    assert all(0.01 <= pause <= 0.011 + 1e-9 for pause in pauses)


async def test_other_errors_are_not_retried(clock: FakeClock) -> None:
    calls = []

    async def fail() -> None:
        calls.append(1)
        raise AlreadyExists("taken")

    with pytest.raises(AlreadyExists):
        await retry_on_conflict(fail, clock=clock)
    assert len(calls) == 1


def test_the_other_profile_of_pauses() -> None:
    assert [round(DEFAULT_BACKOFF.pause(n, lambda: 0.0), 4) for n in (1, 2, 3)] == [0.01, 0.05, 0.25]
    assert Backoff(steps=2, duration=1, jitter=0.5).pause(1, lambda: 1.0) == 1.5


async def test_metadata_objects_are_patched_and_deleted_but_never_created_or_updated(client: FakeClient) -> None:
    await client.create(widget(size=3))
    meta = await client.get(WidgetMeta, KEY)
    base = meta.deep_copy()
    meta.metadata.labels = {"a": "b"}
    patched = await client.patch(meta, merge_from(base))
    assert patched.metadata.labels == {"a": "b"}
    for write in (client.create, client.update):
        with pytest.raises(UnsupportedOperation, match="metadata only"):
            await write(meta)
    stored = await client.get(Widget, KEY)
    assert stored.spec is not None
    assert stored.spec.size == 3
    await client.delete(meta)
    assert await get_or_none(client, Widget, KEY) is None


async def test_a_namespaced_kind_needs_a_namespace_and_a_cluster_kind_has_none(client: FakeClient) -> None:
    with pytest.raises(NamespaceMismatch, match="lives in a namespace"):
        await client.get(Widget, ObjectKey("", "w"))
    with pytest.raises(NamespaceMismatch):
        await client.create(Widget(metadata=Meta(name="w")))
    with pytest.raises(NamespaceMismatch, match="needs a namespace"):
        await client.delete_all_of(Widget)
    await client.create(Planet(metadata=Meta(name="earth")))
    assert (await client.get(Planet, ObjectKey("ignored", "earth"))).metadata.name == "earth"
    assert await client.is_object_namespaced(Widget)
    assert not await client.is_object_namespaced(Planet(metadata=Meta(name="x")))


async def test_an_object_without_name_is_refused(client: FakeClient) -> None:
    with pytest.raises(ClientError, match=r"set metadata\.name"):
        await client.get(ConfigMap, ObjectKey("default", ""))


async def test_kinds_of_objects_and_classes(client: FakeClient) -> None:
    gvk = GroupVersionKind("test.example.com", "v1", "Widget")
    assert client.group_version_kind_for(Widget) == client.group_version_kind_for(widget()) == gvk
    assert client.group_version_kind_for(Pod()) == GroupVersionKind("", "v1", "Pod")


async def test_lists_are_paged_without_the_caller_noticing() -> None:
    objects = [config_map(f"c{i:04}") for i in range(1200)]
    client = ClientBuilder().with_objects(*objects).build()
    limits: list[str | None] = []
    request = client.server.request

    async def counting(method: str, path: str, params: Any = None, *rest: Any, **options: Any) -> bytes:
        limits.append(params.get("limit"))
        return await request(method, path, params, *rest, **options)

    client.server.request = counting  # type: ignore[method-assign]
    listed = await client.list(ConfigMap)
    assert [obj.metadata.name for obj in listed] == [f"c{i:04}" for i in range(1200)]
    assert limits == [str(PAGE_SIZE)] * 3
    assert (listed.continue_, listed.remaining_item_count) == ("", None)


async def test_pages_by_hand(client: FakeClient) -> None:
    for name in "abcde":
        await client.create(config_map(name))
    names, token = [], None
    while True:
        page = await client.list(ConfigMap, limit=2, continue_=token)
        names.append([obj.metadata.name for obj in page])
        token = page.continue_
        if not token:
            break
    assert names == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_continue_token_that_expires_on_the_way_leads_to_one_full_list() -> None:
    client = ClientBuilder().with_objects(*(config_map(f"c{i:04}") for i in range(700))).build()
    asked: list[dict[str, str]] = []
    request = client.server.request

    async def expiring(method: str, path: str, params: Any = None, *rest: Any, **options: Any) -> bytes:
        asked.append(dict(params))
        if params.get("continue"):
            raise Expired("the token is too old")
        return await request(method, path, params, *rest, **options)

    client.server.request = expiring  # type: ignore[method-assign]
    assert len(await client.list(ConfigMap)) == 700
    assert [("limit" in params, "continue" in params) for params in asked] == [
        (True, False),
        (True, True),
        (False, False),
    ]


async def test_lists_by_namespace_label_and_field(client: FakeClient) -> None:
    for namespace, name, labels in (("n1", "a", {"x": "1"}), ("n1", "b", {"x": "2"}), ("n2", "c", {"x": "1"})):
        await client.create(ConfigMap({"metadata": {"name": name, "namespace": namespace, "labels": labels}}))

    async def names(**options: Any) -> list[str]:
        return [obj.metadata.name for obj in await client.list(ConfigMap, **options)]

    assert await names() == ["a", "b", "c"]
    assert await names(namespace="n1") == ["a", "b"]
    assert await names(labels={"x": "1"}) == ["a", "c"]
    assert await names(namespace="n1", labels="x in (1,3)") == ["a"]
    assert await names(fields={"metadata.name": "c"}) == ["c"]


async def test_delete_with_preconditions(client: FakeClient) -> None:
    stored = await client.create(config_map())
    with pytest.raises(Conflict):
        await client.delete(stored, preconditions=Preconditions(uid="other"))
    with pytest.raises(Conflict):
        await client.delete(stored, preconditions=Preconditions(resource_version="77"))
    await client.delete(stored, preconditions=Preconditions(uid=stored.metadata.uid, resource_version="1"))
    with pytest.raises(NotFound):
        await client.delete(stored)
    with ignore_not_found():
        await client.delete(stored)


async def test_ignoring_only_what_was_asked_for(client: FakeClient) -> None:
    await client.create(config_map())
    with ignore_already_exists():
        await client.create(config_map())
    with pytest.raises(AlreadyExists), ignore_not_found():
        await client.create(config_map())


async def test_delete_all_of_a_namespace(client: FakeClient) -> None:
    for namespace, name, label in (("n1", "a", "1"), ("n1", "b", "2"), ("n2", "c", "1")):
        await client.create(ConfigMap({"metadata": {"name": name, "namespace": namespace, "labels": {"x": label}}}))
    await client.delete_all_of(ConfigMap, namespace="n1", labels={"x": "1"})
    assert [obj.metadata.name for obj in await client.list(ConfigMap)] == ["b", "c"]


async def test_a_watch_gives_typed_events(client: FakeClient) -> None:
    seen = []
    async with client.watch(Widget, namespace="default") as events:
        stored = await client.create(widget(size=1))
        changed = stored.model_copy(deep=True)
        assert changed.spec is not None
        changed.spec.size = 2
        changed = await client.update(changed)
        await client.create(widget("elsewhere", "other"))
        await client.delete(changed)
        async for event in events:
            seen.append((event.type, event.object.spec and event.object.spec.size))
            if event.type == "DELETED":
                break
    assert seen == [("ADDED", 1), ("MODIFIED", 2), ("DELETED", 2)]


async def test_a_watch_too_far_back_raises(client: FakeClient) -> None:
    await client.create(widget())
    await client.create(widget("b"))
    client.tracker.compact()
    with pytest.raises(Expired):
        async with client.watch(Widget, resource_version="1"):
            pytest.fail("the watch began")


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[str, ...]] = []

    def written(self, gvk: GroupVersionKind, key: ObjectKey, resource_version: str) -> None:
        self.heard.append((gvk.kind, str(key), resource_version))

    def deleted(self, gvk: GroupVersionKind, key: ObjectKey, uid: str) -> None:
        self.heard.append((gvk.kind, str(key), "gone", uid))


async def test_a_listener_hears_of_every_write_that_was_stored() -> None:
    fake = ClientBuilder().with_types(Widget).build()
    listener = Listener()
    client = ApiClient(fake.server, fake.scheme, fake.rest_mapper, listener=listener)
    stored = await client.create(widget())
    stored.metadata.finalizers = ["f"]
    stored = await client.update(stored)
    stored = await client.status().update(stored.model_copy(update={"status": WidgetStatus(phase="x")}))
    await client.update(stored, dry_run=True)
    await client.delete(stored)
    stored = await client.get(Widget, KEY)
    stored.metadata.finalizers = []
    await client.update(stored)
    other = await client.create(widget("b"))
    await client.delete(other)
    assert listener.heard == [
        ("Widget", "default/w", "1"),
        ("Widget", "default/w", "2"),
        ("Widget", "default/w", "3"),
        ("Widget", "default/w", "4"),
        ("Widget", "default/w", "5"),
        ("Widget", "default/b", "1"),
        ("Widget", "default/b", "gone", other.metadata.uid),
    ]


async def test_a_fence_stops_writes_and_lets_reads_pass() -> None:
    fake = ClientBuilder().with_types(Widget).with_objects(widget()).build()

    def fence() -> None:
        raise ClientError("the lease is lost")

    client = ApiClient(fake.server, fake.scheme, fake.rest_mapper, fence=fence)
    stored = await client.get(Widget, KEY)
    writes: list[Callable[[], Any]] = [
        lambda: client.create(widget("b")),
        lambda: client.update(stored),
        lambda: client.status().update(stored),
        lambda: client.patch(widget(size=9), merge_from(stored)),
        lambda: client.delete(stored),
        lambda: client.delete_all_of(Widget, namespace="default"),
    ]
    for write in writes:
        with pytest.raises(ClientError, match="the lease is lost"):
            await write()
    assert len(await client.list(Widget)) == 1


async def test_other_subresources() -> None:
    pod = Pod({"metadata": {"name": "p", "namespace": "n"}})
    account = Unstructured.of("v1", "ServiceAccount")({"metadata": {"name": "s", "namespace": "n"}})
    deployment = Unstructured.of("apps/v1", "Deployment")(
        {"metadata": {"name": "d", "namespace": "n"}, "spec": {"replicas": 2}}
    )
    client = ClientBuilder().with_objects(pod, account, deployment).build()
    request = Unstructured.of("authentication.k8s.io/v1", "TokenRequest")({"spec": {"expirationSeconds": 600}})
    answer = await client.sub_resource("token").create(account, request)
    assert answer.get("status", "expirationSeconds") == 600
    scale = await client.sub_resource("scale").get(deployment, Unstructured.of("autoscaling/v1", "Scale"))
    assert scale.get("spec", "replicas") == 2
    eviction = Unstructured.of("policy/v1", "Eviction")({"metadata": {"name": "p", "namespace": "n"}})
    await client.sub_resource("eviction").create(pod, eviction)
    assert await get_or_none(client, Pod, ObjectKey("n", "p")) is None


async def test_an_object_that_does_not_fit_its_model_is_named(client: FakeClient) -> None:
    await client.create(AnyWidget({"metadata": {"name": "odd", "namespace": "default"}, "spec": {"size": "huge"}}))
    for read in (lambda: client.get(Widget, ObjectKey("default", "odd")), lambda: client.list(Widget)):
        with pytest.raises(UndecodableObject, match=r"(?s)Widget default/odd does not fit.*spec\.size"):
            await read()


async def test_names_in_urls_are_escaped(client: FakeClient) -> None:
    with pytest.raises(NotFound):
        await client.get(Secret, ObjectKey("default", "a/b?c=d#e"))
    with pytest.raises(NotFound):
        await client.get(Namespace, ObjectKey("", "a/status"))


async def _in_virtual_time(clock: FakeClock, run: Callable[[], Any]) -> Any:
    task = asyncio.ensure_future(run())
    while not task.done():
        await clock.advance(0.001)
    return await task
