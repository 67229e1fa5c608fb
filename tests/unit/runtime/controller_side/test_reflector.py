"""The list+watch state machine (spec runtime 5.2)."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import REAL_CLOCK, FakeClock, settle
from bobrapet.runtime.errors import (
    ApiError,
    BadRequest,
    ConnectionFailed,
    Expired,
    InternalError,
    Invalid,
    Timeout,
    TooManyRequests,
)
from bobrapet.runtime.rest.interface import METADATA_ONLY, METADATA_ONLY_LIST
from bobrapet.runtime.toolscache.listwatch import ListWatch
from bobrapet.runtime.toolscache.record import Record, RecordDecoder, transform_strip_managed_fields
from bobrapet.runtime.toolscache.reflector import Reflector
from bobrapet.runtime.toolscache.watchline import Change
from tests.unit.runtime.controller_side.fakes import WIDGET, Script, Stream, bookmark, line, page, status, widget


class Store:
    """A sink that remembers what it was told."""

    def __init__(self) -> None:
        self.objects: dict[str, Record] = {}
        self.calls: list[str] = []
        self.changes: list[tuple[str, str]] = []

    def replace(self, records: Sequence[Record], resource_version: str) -> None:
        self.calls.append(f"replace@{resource_version}")
        self.objects = {record.key.name: record for record in records}

    def apply(self, changes: Sequence[Change], resource_version: str) -> None:
        self.calls.append(f"apply@{resource_version}")
        for kind, record in changes:
            self.changes.append((kind, record.key.name))
            if kind == "DELETED":
                self.objects.pop(record.key.name, None)
            else:
                self.objects[record.key.name] = record

    def bookmark(self, resource_version: str) -> None:
        self.calls.append(f"bookmark@{resource_version}")

    @property
    def names(self) -> list[str]:
        return sorted(self.objects)


class Bench:
    """A running reflector in virtual time, without chance: watches last 450 s, back-offs are half drawn out."""

    def __init__(self, script: Script, clock: FakeClock, **options: Any) -> None:
        self.script = script
        self.clock = clock
        self.store = Store()
        self.errors: list[Exception] = []

        class Middle(random.Random):
            def random(self) -> float:
                return 0.5

        options.setdefault("streaming_lists", False)
        self.reflector = Reflector(
            script,
            self.store,
            RecordDecoder(WIDGET, options.pop("transform", None)),
            clock=clock,
            on_error=self.errors.append,
            rng=Middle(),
            **options,
        )
        self.task = asyncio.create_task(self.reflector.run())

    async def stop(self) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


@pytest.fixture
async def start(clock: FakeClock) -> Any:
    benches: list[Bench] = []

    async def make(script: Script, **options: Any) -> Bench:
        bench = Bench(script, clock, **options)
        benches.append(bench)
        await settle()
        return bench

    yield make
    for bench in benches:
        await bench.stop()


Start = Callable[..., Any]


def gone() -> ApiError:
    return Expired("too old resource version")


@pytest.mark.spec("runtime-25")
async def test_the_first_list_reads_the_watch_cache_and_the_watch_goes_on_from_there(start: Start) -> None:
    bench = await start(Script(lists=[page([widget("a", 3), widget("b", 7)], 10)]))
    assert bench.script.list_params == [{"resourceVersion": "0", "limit": "500"}]
    assert bench.store.calls == ["replace@10"]
    params = bench.script.open.params
    assert params["resourceVersion"] == "10"
    assert params["allowWatchBookmarks"] == "true"
    assert 300 <= int(params["timeoutSeconds"]) <= 600
    assert "sendInitialEvents" not in params


def test_watch_timeouts_are_spread_over_their_whole_range() -> None:
    rng = random.Random(1)
    timeouts = [300 * (1 + rng.random()) for _ in range(1000)]
    assert min(timeouts) < 310
    assert max(timeouts) > 590


@pytest.mark.spec("runtime-26")
async def test_a_watch_that_closes_is_opened_again_where_it_ended(start: Start, clock: FakeClock) -> None:
    bench = await start(Script(lists=[page([], 10)]))
    bench.script.open.send(line("ADDED", widget("a", 11)), line("MODIFIED", widget("a", 12)))
    await clock.advance(5)
    bench.script.open.close()
    await settle()
    assert [stream.params["resourceVersion"] for stream in bench.script.streams] == ["10", "12"]
    assert len(bench.script.list_params) == 1


async def test_a_watch_that_breaks_after_it_delivered_goes_on_like_one_that_closed(start: Start) -> None:
    bench = await start(Script(lists=[page([], 10)]))
    bench.script.open.send(line("ADDED", widget("a", 11)))
    bench.script.open.break_off()
    await settle()
    assert bench.script.open.params["resourceVersion"] == "11"
    assert bench.errors == []


@pytest.mark.spec("runtime-27")
async def test_a_bookmark_moves_the_place_to_resume_from_and_nothing_else(start: Start, clock: FakeClock) -> None:
    bench = await start(Script(lists=[page([], 10)]))
    bench.script.open.send(bookmark(99))
    await clock.advance(5)
    bench.script.open.close()
    await settle()
    assert bench.script.open.params["resourceVersion"] == "99"
    assert bench.store.changes == []


def in_stream(stream: Stream) -> None:
    stream.send(line("ERROR", status(410, "Expired")))


@pytest.mark.spec("runtime-28")
async def test_a_410_in_the_stream_leads_to_a_list_at_the_last_version_then_without(
    start: Start, clock: FakeClock
) -> None:
    bench = await start(Script(lists=[page([], 10), gone(), page([widget("a", 30)], 31)]))
    bench.script.open.send(line("ADDED", widget("b", 20)), line("ERROR", status(410, "Expired")))
    await clock.advance(1.21)  # 0.8 s of back-off, half drawn out
    assert [params["resourceVersion"] for params in bench.script.list_params] == ["0", "20", ""]
    assert bench.store.names == ["a"]
    assert bench.script.open.params["resourceVersion"] == "31"


@pytest.mark.spec("runtime-29")
async def test_a_410_at_the_start_of_a_watch_is_the_same(start: Start, clock: FakeClock) -> None:
    bench = await start(Script(lists=[page([], 10), gone(), page([], 31)], refused_watches=[gone()]))
    await clock.advance(1.21)
    assert [params["resourceVersion"] for params in bench.script.list_params] == ["0", "10", ""]
    assert bench.reflector.metrics.relists == {"initial": 1, "expired": 1}


@pytest.mark.spec("runtime-30")
@pytest.mark.parametrize(
    "error",
    [
        Timeout("try later", details={"causes": [{"reason": "ResourceVersionTooLarge"}]}),
        Timeout("Too large resource version: 999, current: 5"),
    ],
)
async def test_a_version_from_the_future_leads_to_a_quorum_read(
    start: Start, error: ApiError, clock: FakeClock
) -> None:
    bench = await start(Script(lists=[error, page([], 5)]))
    assert [params["resourceVersion"] for params in bench.script.list_params] == ["0", ""]
    assert bench.store.calls == ["replace@5"]


@pytest.mark.spec("runtime-31")
async def test_an_overloaded_server_is_asked_again_later_at_the_same_place(start: Start, clock: FakeClock) -> None:
    bench = await start(
        Script(lists=[page([], 10)], refused_watches=[TooManyRequests("busy"), TooManyRequests("busy", retry_after=7)])
    )
    await clock.advance(1.19)
    assert len(bench.script.streams) == 1
    await clock.advance(0.01)
    assert len(bench.script.streams) == 2
    await clock.advance(6.99)
    assert len(bench.script.streams) == 2
    await clock.advance(0.01)
    assert [stream.params["resourceVersion"] for stream in bench.script.streams] == ["10"] * 3
    assert len(bench.script.list_params) == 1


@pytest.mark.spec("runtime-32")
async def test_an_absent_server_is_asked_again_later_at_the_same_place(start: Start, clock: FakeClock) -> None:
    refused = [ConnectionFailed("refused", refused=True) for _ in range(3)]
    bench = await start(Script(lists=[page([], 10)], refused_watches=[*refused]))
    await clock.advance(20)
    assert [stream.params["resourceVersion"] for stream in bench.script.streams] == ["10"] * 4
    assert len(bench.script.list_params) == 1
    assert bench.errors == refused


@pytest.mark.spec("runtime-33")
async def test_an_internal_error_leads_to_a_list(start: Start, clock: FakeClock) -> None:
    bench = await start(Script(lists=[page([], 10), page([], 20)], refused_watches=[InternalError("etcd")]))
    await clock.advance(2)
    assert [params["resourceVersion"] for params in bench.script.list_params] == ["0", "10"]


@pytest.mark.spec("runtime-33")
async def test_an_internal_error_within_its_budget_leads_to_the_same_watch(start: Start, clock: FakeClock) -> None:
    errors: list[Exception] = [InternalError("etcd") for _ in range(20)]
    bench = await start(Script(lists=[page([], 10), page([], 20)], refused_watches=errors), internal_error_budget=60)
    await clock.advance(50)
    assert len(bench.script.streams) > 3
    assert len(bench.script.list_params) == 1
    await clock.advance(120)
    assert len(bench.script.list_params) == 2


@pytest.mark.spec("runtime-34")
async def test_short_watches_are_opened_again_ever_slower_until_a_quiet_time(start: Start, clock: FakeClock) -> None:
    opened: list[float] = []

    async def close_soon(stream: Stream) -> None:
        opened.append(clock.monotonic())
        if len(opened) not in (5, 6):
            clock.call_at(clock.monotonic() + 0.2, stream.close)

    bench = await start(Script(lists=[page([], 10)], on_watch=close_soon))
    await clock.advance(30)
    gaps = [later - earlier - 0.2 for earlier, later in itertools.pairwise(opened)]
    assert gaps == pytest.approx([1.2, 2.4, 4.8, 9.6])  # 0.8, 1.6, 3.2, 6.4, each half drawn out
    await clock.advance(150)
    bench.script.open.close()
    await clock.advance(0)
    bench.script.open.close()  # short again, but the last trouble is long ago
    await clock.advance(1.3)
    assert opened[-1] - opened[-2] == pytest.approx(1.2)


async def start_streaming(start: Start, **options: Any) -> Bench:
    bench: Bench = await start(Script(), streaming_lists=True, **options)
    return bench


@pytest.mark.spec("runtime-35")
async def test_a_streamed_list_is_invisible_until_complete_and_its_stream_goes_on(start: Start) -> None:
    bench = await start_streaming(start)
    params = bench.script.open.params
    assert params["sendInitialEvents"] == "true"
    assert params["resourceVersionMatch"] == "NotOlderThan"
    assert params["allowWatchBookmarks"] == "true"
    assert params["resourceVersion"] == ""
    bench.script.open.send(line("ADDED", widget("a", 3)), line("ADDED", widget("b", 4)))
    bench.script.open.send(line("MODIFIED", widget("a", 5)), line("DELETED", widget("b", 6)), bookmark(6))
    await settle()
    assert bench.store.calls == []
    bench.script.open.send(bookmark(7, ends_initial=True), line("MODIFIED", widget("a", 8)))
    await settle()
    assert bench.store.calls == ["replace@7", "apply@8"]
    assert bench.store.names == ["a"]
    assert len(bench.script.streams) == 1
    assert bench.script.list_params == []


@pytest.mark.spec("runtime-36")
@pytest.mark.parametrize("refusal", [BadRequest("sendInitialEvents is not known"), Invalid("forbidden")])
async def test_a_refused_streaming_list_becomes_a_plain_one(start: Start, refusal: ApiError, clock: FakeClock) -> None:
    script = Script(lists=[page([widget("a", 3)], 10)], refused_watches=[refusal])
    bench = await start(script, streaming_lists=True)
    assert bench.store.calls == ["replace@10"]
    script.open.send(line("ADDED", widget("b", 11)))
    await clock.advance(3)
    script.open.close()
    await settle()
    assert ["sendInitialEvents" in stream.params for stream in script.streams] == [True, False, False]


@pytest.mark.spec("runtime-37")
async def test_a_streamed_list_that_breaks_off_shows_nothing_and_starts_anew(start: Start, clock: FakeClock) -> None:
    bench = await start_streaming(start)
    bench.script.open.send(line("ADDED", widget("a", 3)))
    bench.script.open.break_off()
    await clock.advance(2)
    assert bench.store.calls == []
    bench.script.open.send(line("ADDED", widget("b", 4)), bookmark(5, ends_initial=True))
    await settle()
    assert bench.store.names == ["b"]


@pytest.mark.spec("runtime-38")
async def test_a_server_that_ignores_the_request_to_stream_is_listed_for_good(
    start: Start, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    bench = await start_streaming(start)
    bench.script.lists = [page([widget("a", 3)], 10), page([], 20)]
    bench.script.open.send(line("ADDED", widget("a", 3)))
    await clock.advance(29.9)
    assert bench.store.calls == []
    assert "not complete after 10 s" in caplog.text
    await clock.advance(0.1)
    assert bench.store.calls == ["replace@10"]
    bench.script.open.send(line("ERROR", status(410, "Expired")))
    await clock.advance(2)
    assert bench.store.calls == ["replace@10", "replace@20"]
    assert ["sendInitialEvents" in stream.params for stream in bench.script.streams] == [True, False, False]


async def test_a_410_after_a_streamed_list_leads_to_a_new_one_at_the_last_version(
    start: Start, clock: FakeClock
) -> None:
    bench = await start_streaming(start)
    bench.script.open.send(bookmark(5, ends_initial=True), line("ADDED", widget("a", 8)))
    in_stream(bench.script.open)
    bench.script.refused_watches = [gone()]
    await clock.advance(1.3)
    assert [stream.params["resourceVersion"] for stream in bench.script.streams] == ["", "8", ""]
    assert all("sendInitialEvents" in stream.params for stream in bench.script.streams)


@pytest.mark.spec("runtime-39")
async def test_synthetic_events_are_no_place_to_resume_from(start: Start, clock: FakeClock) -> None:
    bench = await start(Script(lists=[page([], "0")]))
    assert bench.script.open.params["resourceVersion"] == "0"
    bench.script.open.send(*(line("ADDED", widget(name, rv)) for name, rv in (("a", 30), ("b", 10), ("c", 20))))
    bench.script.open.break_off()
    await settle()
    assert bench.store.names == ["a", "b", "c"]
    assert bench.script.open.params["resourceVersion"] == "0"
    bench.script.open.send(line("ADDED", widget("a", 30)), line("MODIFIED", widget("a", 40)))
    bench.script.open.break_off()
    await settle()
    assert bench.script.open.params["resourceVersion"] == "40"


@pytest.mark.spec("runtime-40")
async def test_a_long_list_comes_in_pages(start: Start, clock: FakeClock) -> None:
    objects = [widget(f"w{n}", n) for n in range(1200)]
    pages = [page(objects[:500], 2000, "t1"), page(objects[500:1000], 2001, "t2"), page(objects[1000:], 2002)]
    bench = await start(Script(lists=[gone(), *pages, page([], 3000)]))
    assert bench.script.list_params[1:] == [
        {"resourceVersion": "", "limit": "500"},
        {"limit": "500", "continue": "t1"},
        {"limit": "500", "continue": "t2"},
    ]
    assert len(bench.store.objects) == 1200
    assert bench.store.calls == ["replace@2000"]
    assert bench.script.open.params["resourceVersion"] == "2000"
    in_stream(bench.script.open)
    await clock.advance(2)
    assert bench.script.list_params[-1] == {"resourceVersion": "2000"}


async def test_a_server_without_watch_cache_is_always_listed_in_pages(start: Start, clock: FakeClock) -> None:
    bench = await start(Script(lists=[page([widget("a")], 10, "t"), page([widget("b")], 10), page([], 20)]))
    in_stream(bench.script.open)
    await clock.advance(2)
    assert bench.script.list_params[-1] == {"resourceVersion": "10", "limit": "500"}


@pytest.mark.spec("runtime-41")
async def test_a_snapshot_that_goes_away_between_pages_leads_to_one_whole_list(start: Start) -> None:
    bench = await start(Script(lists=[page([widget("old")], 10, "t1"), gone(), page([widget("a"), widget("b")], 12)]))
    assert bench.script.list_params[-1] == {"resourceVersion": "0"}
    assert bench.store.names == ["a", "b"]
    assert bench.store.calls == ["replace@12"]


@pytest.mark.spec("runtime-42")
async def test_a_silent_connection_is_given_up_after_its_timeout(start: Start, clock: FakeClock) -> None:
    bench = await start(Script(lists=[page([], 10)]))
    await clock.advance(400)
    bench.script.open.send(bookmark(15))
    await clock.advance(454.9)
    assert len(bench.script.streams) == 1
    await clock.advance(0.2)
    assert bench.script.streams[0].aborted
    assert bench.script.open.params["resourceVersion"] == "15"


@pytest.mark.spec("runtime-43")
async def test_a_huge_line_is_read_and_garbage_is_skipped(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    bench = await start(Script(lists=[page([], 10)]))
    huge = widget("huge", 11, spec={"text": "x" * (5 << 20)})
    bench.script.open.send(b"<html>502</html>", line("ADDED", huge), b'{"type":"ADDED","object":{"kind":"Wid')
    bench.script.open.send(line("GREETING", {}), line("ADDED", widget("b", 12)))
    await settle()
    assert bench.store.names == ["b", "huge"]
    assert len(bench.store.objects["huge"].body) > 5 << 20
    assert len([record for record in caplog.records if "skipped" in record.message]) == 3


@pytest.mark.spec("runtime-44")
async def test_objects_of_other_kinds_are_skipped(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    bench = await start(Script(lists=[page([], 10)]))
    other = {**widget("other", 11), "kind": "Gadget"}
    table = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "11"}}
    bench.script.open.send(line("ADDED", other), line("ADDED", table), line("ADDED", widget("a", 12)))
    await settle()
    assert bench.store.names == ["a"]
    assert "expected Widget, got example.org/v1 Gadget" in caplog.text


@pytest.mark.spec("runtime-45")
async def test_a_metadata_informer_asks_for_metadata_and_stores_the_real_kind() -> None:
    asked: list[str] = []

    class Rest:
        async def request(self, method: str, path: str, params: object, *, accept: str, timeout: object) -> bytes:
            asked.append(accept)
            return b'{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"1"},"items":[]}'

        def stream(self, path: str, params: object, *, accept: str) -> Any:
            asked.append(accept)

    list_watch = ListWatch(Rest(), "/apis/example.org/v1/widgets", metadata_only=True)  # type: ignore[arg-type]
    await list_watch.list({})
    list_watch.watch({})
    assert asked == [METADATA_ONLY_LIST, METADATA_ONLY]
    partial = {**widget("a"), "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    record = RecordDecoder(WIDGET).decode(line("ADDED", partial)[len(b'{"type":"ADDED","object":') : -1])
    stored = record.decode(Unstructured)
    assert (stored.api_version, stored.kind) == ("example.org/v1", "Widget")


@pytest.mark.spec("runtime-46")
async def test_a_cancelled_list_is_aborted(clock: FakeClock) -> None:
    bench = Bench(Script(), clock)
    await settle()
    await bench.stop()
    assert bench.script.lists_aborted == 1


@pytest.mark.spec("runtime-47")
@pytest.mark.parametrize("streaming", [True, False])
async def test_ten_thousand_initial_objects_leave_the_loop_free(streaming: bool) -> None:
    # Other processes of the machine only ever add to a standstill: one short enough is proof.
    standstills = [await _longest_standstill(streaming)]
    while min(standstills) >= 0.05 and len(standstills) < 12:
        standstills.append(await _longest_standstill(streaming))
    assert min(standstills) < 0.05, standstills


async def _longest_standstill(streaming: bool) -> float:
    """Seconds of processor time between two turns of another task while 10,000 objects are listed."""
    objects = [widget(f"w{n}", n + 1, spec={"text": "x" * 3000, "list": [1, 2, 3] * 20}) for n in range(10_000)]
    script = Script(lists=[page(objects, 20_000)])
    store = Store()
    reflector = Reflector(script, store, RecordDecoder(WIDGET), clock=REAL_CLOCK, streaming_lists=streaming)
    if streaming:
        lines = [line("ADDED", obj) for obj in objects]

        async def send(stream: Stream) -> None:
            stream.send(*lines, bookmark(20_000, ends_initial=True))

        script.on_watch = send
    running = asyncio.create_task(reflector.run())
    del objects
    gc.collect()
    longest, last = 0.0, time.thread_time()  # of this thread, so that a busy machine cannot fail the test
    while not store.calls:
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(store.objects) == 10_000
    return longest


@pytest.mark.spec("runtime-57")
@pytest.mark.parametrize("way", ["list", "watch", "streaming list"])
async def test_managed_fields_are_stripped_on_every_way_in(start: Start, way: str, clock: FakeClock) -> None:
    obj = widget("a", 11, managedFields=[{"manager": "x", "fieldsV1": {"f:spec": {}}}], spec={"size": 1})
    script = Script(lists=[page([obj] if way == "list" else [], 10)])
    bench = await start(script, streaming_lists=way == "streaming list", transform=transform_strip_managed_fields)
    if way == "streaming list":
        script.open.send(line("ADDED", obj), bookmark(12, ends_initial=True))
    elif way == "watch":
        script.open.send(line("ADDED", obj))
    await settle()
    record = bench.store.objects["a"]
    assert b"managedFields" not in record.body
    del obj["metadata"]["managedFields"]
    assert record.decode(Unstructured).object == obj


@pytest.mark.spec("runtime-57")
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_transform_that_fails_skips_its_object(
    start: Start, streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def transform(obj: dict[str, Any]) -> dict[str, Any]:
        if obj["metadata"]["name"] == "bad":
            raise KeyError("spec")
        return {**obj, "seen": True}

    objects = [widget("bad", 1), widget("good", 2)]
    script = Script(lists=[page(objects, 10)])
    bench = await start(script, streaming_lists=streaming, transform=transform)
    if streaming:
        script.open.send(*(line("ADDED", obj) for obj in objects), bookmark(3, ends_initial=True))
    await settle()
    assert bench.store.names == ["good"]
    assert bench.store.objects["good"].decode(Unstructured).object["seen"] is True
    assert any(record.levelno == logging.ERROR for record in caplog.records)


def test_a_record_keeps_bytes_and_decodes_anew_each_time() -> None:
    body = (
        b'{"apiVersion":"example.org/v1","kind":"Widget","metadata":{"name":"a"},"big":123456789012345678901234567890}'
    )
    record = RecordDecoder(WIDGET).decode(body)
    assert record.body == body
    assert type(record.body) is bytes
    first = record.decode(Unstructured)
    first.object["big"] = 0
    assert record.decode(Unstructured).object["big"] == 123456789012345678901234567890
    assert record.key == ObjectKey("", "a")


def test_items_of_lists_get_the_kind_that_lists_leave_out() -> None:
    record = RecordDecoder(WIDGET).decode(b'{"metadata":{"name":"a"}}')
    assert record.decode(Unstructured).object == {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "metadata": {"name": "a"},
    }
