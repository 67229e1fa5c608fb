"""The cache: options, reads, read-your-writes (spec runtime 5.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.runtime import cache
from bobrapet.runtime.cache import ByObject, Cache, CacheNotStarted, Config, Options, ResourceNotCached
from bobrapet.runtime.cache.cache import inherit, resolve
from bobrapet.runtime.cache.errors import CacheError, NamespaceNotCached, UnsupportedByCache
from bobrapet.runtime.cache.informer_cache import InformerCache
from bobrapet.runtime.cache.internal.cache_reader import CONTINUE_NOT_SUPPORTED
from bobrapet.runtime.client.apiutil import RESTMapping
from bobrapet.runtime.client.client import ApiClient, CacheOptions
from bobrapet.runtime.client.fake.client import ClientBuilder, FakeClient
from bobrapet.runtime.client.object import ObjectKey, PartialObjectMetadata, Unstructured
from bobrapet.runtime.client.patch import merge_from
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.controller.priorityqueue import PriorityQueue
from bobrapet.runtime.errors import NotFound
from bobrapet.runtime.handler import LOW_PRIORITY, EnqueueRequestForObject
from bobrapet.runtime.internal.source.kind import Kind
from bobrapet.runtime.scheme import GroupVersionKind
from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer
from bobrapet.runtime.toolscache.store import UnknownIndex
from tests.unit.runtime.controller_side.fakes import WIDGET, Script, bookmark, line, page, widget

Widget = Unstructured.of(WIDGET)
WidgetMetadata = PartialObjectMetadata.of(WIDGET)
Galaxy = Unstructured.of("example.org/v1", "Galaxy")


@pytest.fixture
def client() -> FakeClient:
    return (
        ClientBuilder()
        .with_rest_mapping(
            RESTMapping(WIDGET, "widgets", True),
            RESTMapping(GroupVersionKind("example.org", "v1", "Galaxy"), "galaxies", False),
        )
        .build()
    )


def make(name: str, namespace: str = "ns", **more: Any) -> Unstructured:
    return Widget({"metadata": {"name": name, "namespace": namespace, **more.pop("metadata", {})}, **more})


async def new(client: FakeClient, clock: FakeClock, options: Options | None = None) -> Cache:
    return await cache.new(client.rest, client.scheme, client.rest_mapper, options, clock=clock)


@asynccontextmanager
async def running(made: Cache) -> AsyncIterator[Cache]:
    task = asyncio.create_task(made.start())
    await settle()
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def names(objects: Any) -> list[str]:
    return sorted(obj.metadata.name for obj in objects)


@pytest.mark.spec("runtime-59")
async def test_a_read_before_the_start_is_no_proof_of_absence(client: FakeClient, clock: FakeClock) -> None:
    made = await new(client, clock)
    with pytest.raises(CacheNotStarted, match="API reader"):
        await made.get(Widget, ObjectKey("ns", "a"))
    with pytest.raises(CacheNotStarted):
        await made.list(Widget)


@pytest.mark.spec("runtime-59")
async def test_reads_of_an_unwatched_kind_raise_where_they_may_not_start_watching(
    client: FakeClient, clock: FakeClock
) -> None:
    async with running(await new(client, clock, Options(reader_fail_on_missing_informer=True))) as made:
        with pytest.raises(ResourceNotCached):
            await made.get(Widget, ObjectKey("ns", "a"))
        await made.get_informer(Widget)
        assert names(await made.list(Widget)) == []


@pytest.mark.spec("runtime-59")
async def test_fifty_first_reads_start_one_informer(client: FakeClient, clock: FakeClock) -> None:
    await client.create(make("a"))
    started: list[str] = []

    class Counting(SharedIndexInformer):
        async def run(self) -> None:
            started.append(self.name)
            await super().run()

    async with running(await new(client, clock, Options(new_informer=Counting))) as made:
        found = await asyncio.gather(*(made.get(Widget, ObjectKey("ns", "a")) for _ in range(50)))
    assert len(found) == 50
    assert started == ["Widget"]


@pytest.mark.spec("runtime-60")
async def test_what_a_reader_does_to_an_object_stays_with_the_reader(client: FakeClient, clock: FakeClock) -> None:
    await client.create(make("a", spec={"size": 1}))
    key = ObjectKey("ns", "a")
    async with running(await new(client, clock)) as made:
        mine = await made.get(Widget, key)
        mine.object["spec"]["size"] = 2
        assert (await made.get(Widget, key)).get("spec", "size") == 1
        shared = await made.get(Widget, key, unsafe_disable_copy=True)
        shared.object["spec"]["size"] = 3
        assert (await made.get(Widget, key, unsafe_disable_copy=True)).get("spec", "size") == 3
        assert (await made.get(Widget, key)).get("spec", "size") == 1


@pytest.mark.spec("runtime-61")
async def test_a_limit_cuts_and_nothing_can_be_continued(client: FakeClient, clock: FakeClock) -> None:
    for number in range(8):
        await client.create(make(f"w{number}", metadata={"labels": {"team": "a" if number < 5 else "b"}}))
    async with running(await new(client, clock)) as made:
        cut = await made.list(Widget, labels="team=a", limit=2)
        assert len(cut) == 2
        assert cut.continue_ == CONTINUE_NOT_SUPPORTED
        with pytest.raises(UnsupportedByCache):
            await made.list(Widget, limit=2, continue_=cut.continue_)
        assert len(await made.list(Widget, labels="team in (b)")) == 3
        assert (await made.list(Widget, limit=8)).continue_ == ""


@pytest.mark.spec("runtime-58")
async def test_field_indexes_answer_within_a_namespace_and_everywhere(client: FakeClient, clock: FakeClock) -> None:
    await client.create(make("a", "one", spec={"story": "s", "tags": ["x", "y"]}))
    await client.create(make("b", "two", spec={"story": "s", "tags": ["y"]}))
    await client.create(make("c", "two", spec={"story": "t", "tags": ["y"]}))
    async with running(await new(client, clock)) as made:
        await made.index_field(Widget, "spec.story", lambda obj: [obj.get("spec", "story")])
        await made.index_field(Widget, "spec.tags", lambda obj: obj.get("spec", "tags"))
        assert names(await made.list(Widget, fields={"spec.story": "s"})) == ["a", "b"]
        assert names(await made.list(Widget, fields={"spec.story": "s"}, namespace="two")) == ["b"]
        assert names(await made.list(Widget, fields="spec.tags=y")) == ["a", "b", "c"]
        assert names(await made.list(Widget, fields="spec.tags=y,spec.story=s", namespace="two")) == ["b"]
        assert names(await made.list(Widget, fields="spec.tags=none")) == []
        with pytest.raises(UnknownIndex):
            await made.list(Widget, fields="spec.other=x")
        with pytest.raises(UnsupportedByCache):
            await made.list(Widget, fields="spec.story!=s")


async def test_metadata_is_read_from_whole_objects_where_those_are_cached(client: FakeClient, clock: FakeClock) -> None:
    await client.create(make("a", spec={"size": 1}, metadata={"annotations": {"k": "v"}}))
    async with running(await new(client, clock)) as made:
        whole = await made.get_informer(Widget)
        assert await made.get_informer(WidgetMetadata) is whole
        partial = await made.get(WidgetMetadata, ObjectKey("ns", "a"))
        assert partial.metadata.annotations == {"k": "v"}
        assert partial.kind == "Widget"
        assert "spec" not in partial.object


async def test_a_removed_informer_is_made_anew(client: FakeClient, clock: FakeClock) -> None:
    await client.create(make("a"))
    async with running(await new(client, clock)) as made:
        first = await made.get_informer(Widget)
        await made.remove_informer(Widget)
        assert first.is_stopped
        assert names(await made.list(Widget)) == ["a"]
        assert await made.get_informer(Widget) is not first


@pytest.mark.spec("runtime-62")
async def test_named_namespaces_and_the_rest_share_no_object(client: FakeClient, clock: FakeClock) -> None:
    asked: list[tuple[str, str]] = []

    class Watching(SharedIndexInformer):
        def __init__(self, list_watch: Any, *args: Any, **options: Any) -> None:
            asked.append((list_watch._path, list_watch._selectors.get("fieldSelector", "")))
            super().__init__(list_watch, *args, **options)

    for namespace in ("a", "b"):
        await client.create(make(f"in-{namespace}", namespace))
    await client.create(Galaxy({"metadata": {"name": "milky-way"}}))
    options = Options(default_namespaces={"a": Config(), "": Config()}, new_informer=Watching)
    async with running(await new(client, clock, options)) as made:
        informer: Any = await made.get_informer(Widget)
        assert sorted(asked) == [
            ("/apis/example.org/v1/namespaces/a/widgets", ""),
            ("/apis/example.org/v1/widgets", "metadata.namespace!=a"),
        ]
        assert [key.name for key in informer.informers["a"].store.list_keys()] == ["in-a"]
        assert [key.name for key in informer.informers[""].store.list_keys()] == ["in-b"]
        assert names(await made.list(Widget)) == ["in-a", "in-b"]
        assert names(await made.list(Galaxy)) == ["milky-way"]
        assert (await made.get(Widget, ObjectKey("b", "in-b"))).metadata.name == "in-b"


async def test_a_namespace_that_is_not_cached_is_no_proof_of_absence(client: FakeClient, clock: FakeClock) -> None:
    async with running(await new(client, clock, Options(default_namespaces={"a": Config(), "c": Config()}))) as made:
        with pytest.raises(NamespaceNotCached, match="a, c"):
            await made.get(Widget, ObjectKey("b", "x"))
        with pytest.raises(NotFound):
            await made.get(Widget, ObjectKey("a", "x"))


async def test_namespaces_of_a_kind_without_namespaces_are_refused(client: FakeClient, clock: FakeClock) -> None:
    with pytest.raises(CacheError, match="does not live in namespaces"):
        await new(client, clock, Options(by_object={Galaxy: ByObject(namespaces={"a": Config()})}))


async def test_kinds_may_be_cached_differently(client: FakeClient, clock: FakeClock) -> None:
    await client.create(make("a", metadata={"labels": {"mine": "yes"}}))
    await client.create(make("b"))
    async with running(await new(client, clock, Options(by_object={Widget: ByObject(label="mine=yes")}))) as made:
        assert names(await made.list(Widget)) == ["a"]


LEVELS = ("kind in namespace", "kind", "namespace", "default")


@pytest.mark.spec("runtime-63")
@given(given=st.sets(st.sampled_from(LEVELS[:3])), value=st.sampled_from(["label", "field", "sync_period"]))
def test_the_most_specific_setting_wins(given: set[str], value: str) -> None:
    def at(level: str) -> Any:
        if level not in given and level != "default":
            return None
        return float(LEVELS.index(level) + 1) if value == "sync_period" else f"x={LEVELS.index(level)}"

    def config(level: str) -> Config:
        return Config(**{value: at(level)})

    options = Options(default_namespaces={"ns": config("namespace")})
    by_object = ByObject(namespaces={"ns": config("kind in namespace")})
    resolved = resolve(options, by_object, config("kind"), config("default"))
    assert getattr(resolved["ns"], value) == at(next(level for level in LEVELS if level in given or level == "default"))


@pytest.mark.spec("runtime-63")
def test_an_empty_map_of_namespaces_means_all_and_none_inherits() -> None:
    options = Options(default_namespaces={"ns": Config(label="a=b")})
    everywhere = resolve(options, ByObject(namespaces={}), Config(), Config())
    assert [*everywhere] == [""]
    assert everywhere[""].label is None
    assert [*resolve(options, ByObject(), Config(), Config())] == ["ns"]
    assert inherit(Config(label="x=y"), Config(label="a=b", field="f=g")) == Config(label="x=y", field="f=g")


@pytest.mark.spec("runtime-64")
async def test_resync_periods_differ_and_resyncs_have_low_priority(client: FakeClient, clock: FakeClock) -> None:
    periods = []
    for _ in range(20):
        made = await new(client, clock, Options(sync_period=100))
        assert isinstance(made, InformerCache)
        periods.append((await made.get_informer(Widget))._resync_period)
    assert all(90 <= period < 110 for period in periods)
    assert len(set(periods)) > 10
    await client.create(make("a"))
    queue: PriorityQueue[Any] = PriorityQueue(clock=clock)
    async with running(await new(client, clock, Options(sync_period=100))) as made:
        source = Kind(made, Widget, EnqueueRequestForObject(), clock=clock)
        await source.start(queue)
        await source.wait_for_sync()
        request, priority, _ = await queue.get_with_priority()
        queue.done(request)
        assert priority == LOW_PRIORITY
        await clock.advance(110)
        assert (await queue.get_with_priority())[1] == LOW_PRIORITY
        await source.stop()


class Lagging:
    """A cache whose watch the test feeds, and a client that writes to a server the watch has not heard from."""

    def __init__(self, client: FakeClient, clock: FakeClock) -> None:
        self.script = Script(lists=[page([], 0)])
        script = self.script

        class Fed(SharedIndexInformer):
            def __init__(self, _: Any, *args: Any, **options: Any) -> None:
                super().__init__(script, *args, **{**options, "streaming_lists": False})

        self.options = Options(new_informer=Fed)
        self.client = client
        self.clock = clock

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ApiClient]:
        async with running(await new(self.client, self.clock, self.options)) as made:
            await made.get_informer(Widget)
            self.cache: Any = made
            yield ApiClient(
                self.client.rest,
                self.client.scheme,
                self.client.rest_mapper,
                cache=CacheOptions(reader=made, unstructured=True),
                listener=made,
            )

    @property
    def misses(self) -> int:
        return sum(entry.expectations.misses for entry in self.cache._informers.of_kind(WIDGET))


@pytest.mark.spec("runtime-65")
@pytest.mark.parametrize("read", ["get", "list"])
async def test_a_read_waits_for_our_own_write(client: FakeClient, clock: FakeClock, read: str) -> None:
    lagging = Lagging(client, clock)
    async with lagging.running() as writer:
        created = await writer.create(make("a"))
        changed = created.deep_copy()
        changed.set("spec", "size", value=2)
        changed = await writer.patch(changed, merge_from(created))

        async def size() -> Any:
            if read == "get":
                return (await writer.get(Widget, ObjectKey("ns", "a"))).get("spec", "size")
            return (await writer.list(Widget, namespace="ns"))[0].get("spec", "size")

        reading = asyncio.create_task(size())
        lagging.script.open.send(line("ADDED", created.object))
        await settle()
        assert not reading.done(), "the cache has only the first of our two writes"
        lagging.script.open.send(line("MODIFIED", changed.object))
        assert await reading == 2
        assert lagging.misses == 0


@pytest.mark.spec("runtime-65")
async def test_reads_of_others_do_not_wait(client: FakeClient, clock: FakeClock) -> None:
    lagging = Lagging(client, clock)
    async with lagging.running() as writer:
        await writer.create(make("a"))
        with pytest.raises(NotFound):
            await writer.get(Widget, ObjectKey("ns", "b"))
        assert len(await writer.list(Widget, namespace="other")) == 0


@pytest.mark.spec("runtime-65")
async def test_a_read_gives_up_after_two_seconds_and_counts_it(client: FakeClient, clock: FakeClock) -> None:
    lagging = Lagging(client, clock)
    async with lagging.running() as writer:
        await writer.create(make("a"))
        reading = asyncio.create_task(writer.get(Widget, ObjectKey("ns", "a")))
        await clock.advance(1.9)
        assert not reading.done()
        await clock.advance(0.1)
        with pytest.raises(NotFound):
            await reading
        assert lagging.misses == 1


@pytest.mark.spec("runtime-65")
async def test_a_deletion_that_was_seen_ends_the_wait(client: FakeClient, clock: FakeClock) -> None:
    lagging = Lagging(client, clock)
    async with lagging.running() as writer:
        created = await writer.create(make("a"))
        reading = asyncio.create_task(writer.get(Widget, ObjectKey("ns", "a")))
        await settle()
        deleted = {**created.object, "metadata": {**created.object["metadata"], "resourceVersion": "999"}}
        lagging.script.open.send(line("ADDED", created.object), line("DELETED", deleted))
        with pytest.raises(NotFound):
            await reading
        assert lagging.misses == 0


@pytest.mark.spec("runtime-65")
async def test_a_read_after_our_own_delete_does_not_find_the_object(client: FakeClient, clock: FakeClock) -> None:
    lagging = Lagging(client, clock)
    async with lagging.running() as writer:
        created = await writer.create(make("a"))
        lagging.script.open.send(line("ADDED", created.object))
        await writer.get(Widget, ObjectKey("ns", "a"))
        await writer.delete(created)
        reading = asyncio.create_task(writer.get(Widget, ObjectKey("ns", "a")))
        await settle()
        assert not reading.done()
        deleted = {**created.object, "metadata": {**created.object["metadata"], "resourceVersion": "999"}}
        lagging.script.open.send(line("DELETED", deleted))
        with pytest.raises(NotFound):
            await reading


@pytest.mark.spec("runtime-65")
async def test_a_watch_that_passed_the_write_ends_the_wait_for_an_object_it_does_not_select(
    client: FakeClient, clock: FakeClock
) -> None:
    lagging = Lagging(client, clock)
    async with lagging.running() as writer:
        lagging.cache.written(WIDGET, ObjectKey("ns", "unlabelled"), "20")
        reading = asyncio.create_task(writer.list(Widget))
        lagging.script.open.send(bookmark(19))
        await settle()
        assert not reading.done()
        lagging.script.open.send(line("ADDED", widget("other", 21)))
        assert names(await reading) == ["other"]
