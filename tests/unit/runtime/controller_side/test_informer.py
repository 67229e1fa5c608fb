"""The shared informer and its store (spec runtime 5.3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.event import DeleteEvent
from bobrapet.runtime.handler import Funcs
from bobrapet.runtime.internal.source.event_handler import EventAdapter
from bobrapet.runtime.toolscache.deltas import DeletedFinalStateUnknown
from bobrapet.runtime.toolscache.record import Record
from bobrapet.runtime.toolscache.shared_informer import InformerStarted, InformerStopped, SharedIndexInformer
from bobrapet.runtime.toolscache.store import IndexConflict, Indexer, UnknownIndex
from tests.unit.runtime.controller_side.fakes import WIDGET, Script, bookmark, line, page, status, widget


class Listener:
    """Remembers what it was told, as words."""

    def __init__(self, delay: asyncio.Event | None = None) -> None:
        self.heard: list[str] = []
        self.records: list[Any] = []
        self.fail_on: str | None = None
        self._delay = delay

    async def on_add(self, obj: Record, is_in_initial_list: bool) -> None:
        await self._hear(f"{'initial' if is_in_initial_list else 'add'} {_words(obj)}", obj)

    async def on_update(self, old: Record, new: Record) -> None:
        await self._hear(f"update {_words(old)}->{new.metadata.resource_version}", (old, new))

    async def on_delete(self, obj: Record | DeletedFinalStateUnknown) -> None:
        if isinstance(obj, DeletedFinalStateUnknown):
            await self._hear(f"tombstone {_words(obj.obj)}", obj)
        else:
            await self._hear(f"delete {_words(obj)}", obj)

    async def _hear(self, words: str, what: Any) -> None:
        if self._delay is not None:
            await self._delay.wait()
        if self.fail_on is not None and self.fail_on in words:
            raise RuntimeError("the handler fails")
        self.heard.append(words)
        self.records.append(what)


def _words(record: Record) -> str:
    return f"{record.key.name}@{record.metadata.resource_version}"


@asynccontextmanager
async def running(
    script: Script, clock: FakeClock, *listeners: Listener, **options: Any
) -> AsyncIterator[SharedIndexInformer]:
    informer = SharedIndexInformer(script, WIDGET, clock=clock, streaming_lists=False, **options)
    for listener in listeners:
        informer.add_event_handler(listener)
    task = asyncio.create_task(informer.run())
    await settle()
    try:
        yield informer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def initial(*objects: dict[str, Any], rv: int = 10) -> Script:
    return Script(lists=[page([*objects], rv)])


@pytest.mark.spec("runtime-48")
async def test_each_handler_hears_of_an_object_in_order_and_a_slow_one_delays_only_itself(clock: FakeClock) -> None:
    gate = asyncio.Event()
    fast, slow = Listener(), Listener(gate)
    script = initial(widget("a", 3))
    async with running(script, clock, fast, slow):
        script.open.send(line("MODIFIED", widget("a", 11)), line("ADDED", widget("b", 12)))
        script.open.send(line("MODIFIED", widget("a", 13)), line("DELETED", widget("a", 14)))
        await settle()
        expected = ["initial a@3", "update a@3->11", "add b@12", "update a@11->13", "delete a@14"]
        assert fast.heard == expected
        assert slow.heard == []
        gate.set()
        await settle()
        assert slow.heard == expected


@pytest.mark.spec("runtime-49")
async def test_a_late_handler_gets_the_store_first_and_is_synced_when_it_has_it(clock: FakeClock) -> None:
    script = initial(widget("a", 3), widget("b", 4))
    async with running(script, clock) as informer:
        gate = asyncio.Event()
        late = Listener(gate)
        registration = informer.add_event_handler(late)
        script.open.send(line("ADDED", widget("c", 11)))
        await settle()
        assert not registration.has_synced()
        gate.set()
        await registration.wait_for_sync()
        await settle()
        assert late.heard == ["initial a@3", "initial b@4", "add c@11"]


@pytest.mark.spec("runtime-50")
async def test_an_informer_is_synced_before_a_slow_handler_is(clock: FakeClock) -> None:
    gate = asyncio.Event()
    informer = SharedIndexInformer(initial(widget("a", 3)), WIDGET, clock=clock, streaming_lists=False)
    registration = informer.add_event_handler(Listener(gate))
    task = asyncio.create_task(informer.run())
    await informer.synced.wait()
    await settle()
    assert informer.has_synced()
    assert not registration.has_synced()
    gate.set()
    await registration.wait_for_sync()
    task.cancel()


async def test_handlers_of_an_empty_collection_are_synced_too(clock: FakeClock) -> None:
    listener = Listener()
    async with running(initial(), clock) as informer:
        await informer.add_event_handler(listener).wait_for_sync()


@pytest.mark.spec("runtime-51")
async def test_what_vanished_between_lists_is_a_delete_with_a_tombstone(clock: FakeClock) -> None:
    listener = Listener()
    script = initial(widget("x", 3), widget("y", 4))
    script.lists.append(page([widget("y", 4)], 20))
    events: list[DeleteEvent[Any]] = []

    async def on_delete(event: DeleteEvent[Any], queue: Any) -> None:
        events.append(event)

    async with running(script, clock, listener) as informer:
        informer.add_event_handler(EventAdapter(Unstructured, None, Funcs(delete=on_delete), ()))  # type: ignore[arg-type]
        script.open.send(line("ERROR", status(410, "Expired")))
        await clock.advance(2)
        assert listener.heard[2:] == ["tombstone x@3"]
        assert events[0].delete_state_unknown
        assert events[0].object.metadata.name == "x"
        assert informer.store.get_by_key(ObjectKey("ns", "x")) is None


@pytest.mark.spec("runtime-52")
async def test_a_list_without_news_is_no_news(clock: FakeClock) -> None:
    listener, resyncing = Listener(), Listener()
    script = initial(widget("a", 3))
    script.lists.append(page([widget("a", 3)], 20))
    async with running(script, clock, listener) as informer:
        informer.add_event_handler(resyncing, resync_period=1)
        informer._registrations[next(r for r in informer._registrations if r.handler is resyncing)].cancel()  # type: ignore[union-attr]
        before = informer.store.get_by_key(ObjectKey("ns", "a"))
        script.open.send(line("ERROR", status(410, "Expired")))
        await clock.advance(2)
        assert listener.heard == ["initial a@3"]
        assert informer.store.get_by_key(ObjectKey("ns", "a")) is before


@pytest.mark.spec("runtime-52")
async def test_a_handler_due_for_resync_hears_of_unchanged_objects_with_old_being_new(clock: FakeClock) -> None:
    resyncing = Listener()
    script = initial(widget("a", 3))
    async with running(script, clock) as informer:
        informer.add_event_handler(resyncing, resync_period=30)
        await clock.advance(29)
        assert resyncing.heard == ["initial a@3"]
        await clock.advance(1)
        assert resyncing.heard == ["initial a@3", "update a@3->3"]
        old, new = resyncing.records[-1]
        assert old is new
        await clock.advance(60)
        assert len(resyncing.heard) == 4
        assert len(script.list_params) == 1


@pytest.mark.spec("runtime-53")
async def test_what_an_event_is_called_counts_less_than_what_the_store_has(clock: FakeClock) -> None:
    listener = Listener()
    script = initial(widget("a", 3))
    async with running(script, clock, listener):
        script.open.send(line("DELETED", widget("unknown", 11)), line("ADDED", widget("a", 12)))
        script.open.send(line("MODIFIED", widget("b", 13)))
        await settle()
        assert listener.heard == ["initial a@3", "update a@3->12", "add b@13"]


@pytest.mark.spec("runtime-54")
async def test_a_replaced_object_is_one_update_with_two_uids(clock: FakeClock) -> None:
    listener = Listener()
    script = initial(widget("a", 3, uid="first"))
    script.lists.append(page([widget("a", 15, uid="second")], 20))
    async with running(script, clock, listener):
        script.open.send(line("ERROR", status(410, "Expired")))
        await clock.advance(2)
        assert listener.heard == ["initial a@3", "update a@3->15"]
        old, new = listener.records[-1]
        assert (old.metadata.uid, new.metadata.uid) == ("first", "second")


@pytest.mark.spec("runtime-55")
async def test_an_object_that_a_handler_fails_on_does_not_stop_the_others(clock: FakeClock) -> None:
    listener = Listener()
    listener.fail_on = " a@"
    script = initial(widget("a", 3), widget("b", 4))
    async with running(script, clock, listener) as informer:
        registration = next(iter(informer._registrations))
        await clock.advance(0.9)
        assert listener.heard == []
        await clock.advance(0.1)
        assert listener.heard == ["initial b@4"]
        assert registration.errors == 1
        assert registration.has_synced()


@pytest.mark.spec("runtime-56")
async def test_a_handler_that_reads_sees_at_least_what_it_was_told(clock: FakeClock) -> None:
    seen: list[list[str]] = []

    class Reader(Listener):
        async def on_add(self, obj: Record, is_in_initial_list: bool) -> None:
            seen.append([key.name for key in informer.store.by_index("color", "red")])

    script = initial()
    async with running(
        script, clock, indexers={"color": lambda record: (record.metadata.labels or {}).values()}
    ) as informer:
        informer.add_event_handler(Reader())
        script.open.send(line("ADDED", widget("a", 11, labels={"color": "red"})))
        await settle()
    assert seen == [["a"]]


async def test_events_from_the_past_are_ignored(clock: FakeClock) -> None:
    listener = Listener()
    script = initial(widget("a", 8))
    async with running(script, clock, listener):
        script.open.send(line("MODIFIED", widget("a", 7)), line("DELETED", widget("a", 7)))
        await settle()
        assert listener.heard == ["initial a@8"]


async def test_settings_are_closed_after_the_start_and_handlers_after_the_stop(clock: FakeClock) -> None:
    async with running(initial(), clock) as informer:
        with pytest.raises(InformerStarted):
            informer.set_transform(None)
        with pytest.raises(InformerStarted):
            informer.set_watch_error_handler(lambda error: None)
        informer.add_indexers({"late": lambda record: ["x"]})
    with pytest.raises(InformerStopped):
        informer.add_event_handler(Listener())
    assert informer.is_stopped


async def test_a_removed_handler_hears_nothing_more(clock: FakeClock) -> None:
    listener = Listener()
    script = initial()
    async with running(script, clock) as informer:
        registration = informer.add_event_handler(listener)
        informer.remove_event_handler(registration)
        script.open.send(line("ADDED", widget("a", 11)), bookmark(12))
        await settle()
        assert listener.heard == []
        assert informer.progress == "12"


async def test_short_resync_periods_are_lengthened(clock: FakeClock) -> None:
    async with running(initial(), clock, resync_period=60) as informer:
        assert informer.add_event_handler(Listener(), resync_period=5).resync_period == 60
        assert informer.add_event_handler(Listener(), resync_period=0).resync_period == 0
    stopped = SharedIndexInformer(initial(), WIDGET, clock=clock)
    assert stopped.add_event_handler(Listener(), resync_period=0.1).resync_period == 1


def record(name: str, rv: int = 1, **more: Any) -> Record:
    from bobrapet.runtime.toolscache.record import RecordDecoder

    return RecordDecoder(WIDGET).decode(line("ADDED", widget(name, rv, **more))[len(b'{"type":"ADDED","object":') : -1])


def test_indexes_follow_every_change() -> None:
    store = Indexer({"label": lambda r: (r.metadata.labels or {}).values()})
    store.add(record("a", labels={"x": "1", "y": "2"}))
    store.add(record("b", labels={"x": "1"}))
    assert {key.name for key in store.by_index("label", "1")} == {"a", "b"}
    store.update(record("a", 2, labels={"x": "3"}))
    assert {key.name for key in store.by_index("label", "1")} == {"b"}
    assert store.by_index("label", "2") == {}
    store.delete(ObjectKey("ns", "b"))
    assert store.by_index("label", "1") == {}
    store.replace([record("c", labels={"x": "3"})])
    assert {key.name for key in store.by_index("label", "3")} == {"c"}
    assert [r.key.name for r in store.list("ns")] == ["c"]
    assert store.list("other") == []


@pytest.mark.spec("runtime-58")
def test_an_index_function_that_fails_leaves_the_object_unindexed(caplog: pytest.LogCaptureFixture) -> None:
    def extract(r: Record) -> list[str]:
        if r.key.name == "bad":
            raise KeyError("spec")
        return ["v"]

    store = Indexer()
    for name in ("bad", "good"):
        store.add(record(name))
    store.add_indexers({"f": extract})
    store.add(record("bad", 2))
    assert {key.name for key in store.by_index("f", "v")} == {"good"}
    assert store.get_by_key(ObjectKey("ns", "bad")) is not None
    assert store.index_errors == 1
    assert len([entry for entry in caplog.records if "cannot be computed" in entry.message]) == 1


def test_an_index_name_is_taken_once_and_unknown_ones_are_named() -> None:
    store = Indexer({"f": lambda r: []})
    with pytest.raises(IndexConflict):
        store.add_indexers({"f": lambda r: []})
    with pytest.raises(UnknownIndex, match="known: f"):
        store.by_index("g", "v")
