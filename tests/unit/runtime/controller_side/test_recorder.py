"""Events (spec runtime section 16)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bobrapet.runtime.client.apiutil import RESTMapping
from bobrapet.runtime.client.fake.client import ClientBuilder, FakeClient
from bobrapet.runtime.client.interceptor.intercept import Funcs
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.errors import ConnectionFailed, Invalid, NotFound
from bobrapet.runtime.internal.recorder.broadcaster import QUEUE_LENGTH
from bobrapet.runtime.internal.recorder.recorder import Provider
from bobrapet.runtime.scheme import GroupVersionKind
from tests.unit.runtime.controller_side.fakes import WIDGET, widget

Widget = Unstructured.of(WIDGET)
Event = Unstructured.of("events.k8s.io/v1", "Event")


def fake(**funcs: Any) -> Any:
    builder = ClientBuilder().with_rest_mapping(
        RESTMapping(WIDGET, "widgets", True),
        RESTMapping(GroupVersionKind("events.k8s.io", "v1", "Event"), "events", True),
    )
    return builder.with_interceptor_funcs(Funcs(**funcs)).build_intercepted() if funcs else builder.build()


@pytest.fixture
async def bench(clock: FakeClock) -> AsyncIterator[Bench]:
    made = Bench(fake(), clock)
    yield made
    await made.provider.stop(clock.monotonic())


class Bench:
    def __init__(self, client: FakeClient, clock: FakeClock) -> None:
        self.client = client
        self.clock = clock
        self.provider = Provider(client, clock=clock)
        self.recorder = self.provider.recorder("widget-controller")

    def say(self, note: str = "made it", *, reason: str = "Made", type: str = "Normal", name: str = "w") -> None:
        self.recorder.event(Widget(widget(name)), None, type, reason, "Make", note)

    async def events(self) -> list[dict[str, Any]]:
        await settle()
        return [event.object for event in await self.client.list(Event)]


async def test_an_event_says_who_saw_what_happen_to_whom(bench: Bench) -> None:
    bench.say()
    (event,) = await bench.events()
    assert event["metadata"]["namespace"] == "ns"
    assert event["metadata"]["name"].startswith("w.")
    assert event["regarding"] == {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "namespace": "ns",
        "name": "w",
        "uid": "uid-w",
    }
    assert event["reportingController"] == "widget-controller"
    assert event["reportingInstance"].startswith("widget-controller-")
    assert event["eventTime"] == "2026-01-01T00:00:00.000000Z"
    assert (event["type"], event["reason"], event["action"], event["note"]) == ("Normal", "Made", "Make", "made it")


async def test_an_event_can_be_found_by_labels(bench: Bench) -> None:
    bench.recorder.event(Widget(widget("w")), None, "Normal", "Made", "Make", "made it", labels={"shop": "north"})
    bench.say(name="other")
    await settle()
    assert [event.get("regarding", "name") for event in await bench.client.list(Event, labels={"shop": "north"})] == [
        "w"
    ]


@pytest.mark.spec("runtime-111")
async def test_what_repeats_becomes_a_series_that_is_written_seldom(bench: Bench, clock: FakeClock) -> None:
    bench.say()
    assert "series" not in (await bench.events())[0]
    bench.say("another note, the same event")
    (event,) = await bench.events()
    assert event["series"]["count"] == 2
    assert event["note"] == "made it"
    for _ in range(3):
        bench.say()
        await clock.advance(60)
    assert (await bench.events())[0]["series"]["count"] == 2
    for _ in range(28):
        bench.say()
        await clock.advance(60)
    (event,) = await bench.events()
    assert event["series"]["count"] > 30
    bench.say(reason="Other")
    assert len(await bench.events()) == 2


@pytest.mark.spec("runtime-111")
async def test_a_series_that_ends_is_written_once_more_and_then_starts_anew(bench: Bench, clock: FakeClock) -> None:
    for _ in range(5):
        bench.say()
        await settle()
    assert (await bench.events())[0]["series"]["count"] == 2
    await clock.advance(13 * 60)
    assert (await bench.events())[0]["series"]["count"] == 5
    bench.say()
    assert len(await bench.events()) == 2


@pytest.mark.spec("runtime-111")
async def test_too_many_events_are_dropped_and_nobody_is_held_up(clock: FakeClock) -> None:
    async def hang(*args: Any, **options: Any) -> Any:
        await asyncio.Event().wait()

    bench = Bench(fake(create=hang), clock)
    for number in range(QUEUE_LENGTH + 5):
        bench.say(reason=f"Reason{number}")
    assert bench.provider.broadcaster.dropped == 5
    await bench.provider.stop(clock.monotonic())
    bench.say(reason="AfterTheEnd")


@pytest.mark.spec("runtime-111")
async def test_events_about_objects_without_namespace_go_to_default(bench: Bench) -> None:
    node = Unstructured.of("v1", "Node")
    bench.recorder.event(node({"metadata": {"name": "n1"}}), None, "Warning", "Full", "Evict", "no room")
    assert (await bench.events())[0]["metadata"]["namespace"] == "default"


async def test_names_that_are_no_subdomain_are_replaced(bench: Bench) -> None:
    bench.say(name="Not_A_Subdomain")
    assert len((await bench.events())[0]["metadata"]["name"]) == 36


async def test_long_notes_are_cut_and_wrong_types_dropped(bench: Bench) -> None:
    bench.say("ä" * 1000)
    bench.say(type="Urgent", reason="Never")
    (event,) = await bench.events()
    assert len(event["note"].encode()) == 1024


async def test_failures_are_retried_and_rejections_are_not(clock: FakeClock) -> None:
    outcomes: list[Exception | None] = [ConnectionFailed("refused"), None, Invalid("no"), None]

    async def create(inner: Any, obj: Any, **options: Any) -> Any:
        error = outcomes.pop(0)
        if error is not None:
            raise error
        return await inner.create(obj, **options)

    bench = Bench(fake(create=create), clock)
    bench.say()
    assert await bench.events() == []
    await clock.advance(13)
    assert len(await bench.events()) == 1
    bench.say(reason="Rejected")
    await clock.advance(60)
    assert len(await bench.events()) == 1
    assert outcomes == [None]
    await bench.provider.stop()


async def test_a_series_whose_event_was_cleaned_up_is_created_again(clock: FakeClock) -> None:
    gone = [True]

    async def patch(inner: Any, obj: Any, patch: Any, **options: Any) -> Any:
        if gone:
            gone.pop()
            (event,) = (await inner.list(Event)).items
            await inner.delete(event)
            raise NotFound("no such event")
        return await inner.patch(obj, patch, **options)

    bench = Bench(fake(patch=patch), clock)
    bench.say()
    await settle()
    bench.say()
    (event,) = await bench.events()
    assert event["series"]["count"] == 2
    await bench.provider.stop()
