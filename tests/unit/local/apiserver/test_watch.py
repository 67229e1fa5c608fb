"""Watches: from where, what, until when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bobrapet.local.apiserver import ApiError, ApiServer
from bobrapet.local.apiserver.kinds import builtin_resources
from bobrapet.local.apiserver.reading import ListOptions, Reader
from bobrapet.local.apiserver.representation import Plain
from bobrapet.local.store import Key, Store
from tests.unit.local.apiserver.builders import CONFIGMAPS, CRDS, MERGE, WIDGETS, configmap, crd, widget
from tests.unit.local.apiserver.conftest import Client, client_session

RESOURCE = next(resource for resource in builtin_resources() if resource.plural == "configmaps")


async def collect(events: AsyncIterator[dict[str, Any]], until: str) -> list[tuple[str, str]]:
    """(type, name) of events until one of type `until` came."""
    seen = []
    async for event in events:
        seen.append((event["type"], event["object"]["metadata"].get("name", "")))
        if event["type"] == until:
            return seen
    raise AssertionError(seen)


async def test_a_watch_from_a_list_sees_every_later_change(api: Client) -> None:
    start = (await api("GET", CONFIGMAPS))["metadata"]["resourceVersion"]
    await api("POST", CONFIGMAPS, configmap(x="1"))
    await api("PATCH", f"{CONFIGMAPS}/a", {"data": {"x": "2"}}, type=MERGE)
    await api("DELETE", f"{CONFIGMAPS}/a")

    seen = await collect(api.watch(CONFIGMAPS, resourceVersion=start), "DELETED")
    assert [type for type, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]


@pytest.mark.parametrize("version", ["", "0"])
async def test_a_watch_from_anywhere_begins_with_what_exists(api: Client, version: str) -> None:
    await api("POST", CONFIGMAPS, configmap())
    events = api.watch(CONFIGMAPS, resourceVersion=version)
    first = [await anext(events), await anext(events)]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in first] == [
        ("ADDED", "a"),
        ("ADDED", "kube-root-ca.crt"),
    ]


async def test_initial_events_end_with_a_marked_bookmark_and_go_on(api: Client) -> None:
    await api("POST", CONFIGMAPS, configmap())
    events = api.watch(
        CONFIGMAPS, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true"
    )
    types = [(await anext(events)) for _ in range(3)]
    assert [event["type"] for event in types] == ["ADDED", "ADDED", "BOOKMARK"]
    assert types[2]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    await api("DELETE", f"{CONFIGMAPS}/a")
    later = await anext(events)
    assert later["type"] == "DELETED"
    assert int(later["object"]["metadata"]["resourceVersion"]) > int(types[2]["object"]["metadata"]["resourceVersion"])


async def test_an_object_enters_and_leaves_a_selection_as_added_and_deleted(api: Client) -> None:
    start = (await api("POST", CONFIGMAPS, configmap()))["metadata"]["resourceVersion"]
    for labels in ({"l": "v"}, {"l": "v", "m": "w"}, {"l": None}):
        await api("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"labels": labels}}, type=MERGE)
    seen = await collect(api.watch(CONFIGMAPS, resourceVersion=start, labelSelector="l=v"), "DELETED")
    assert [type for type, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_watch_of_one_name_sees_only_it(api: Client) -> None:
    start = (await api("GET", CONFIGMAPS))["metadata"]["resourceVersion"]
    for name in ("a", "b", "c"):
        await api("POST", CONFIGMAPS, configmap(name))
    await api("DELETE", f"{CONFIGMAPS}/b")
    by_field = await collect(api.watch(CONFIGMAPS, resourceVersion=start, fieldSelector="metadata.name=b"), "DELETED")
    by_path = await collect(api.watch(f"{CONFIGMAPS}/b", resourceVersion=start), "DELETED")
    assert by_field == by_path == [("ADDED", "b"), ("DELETED", "b")]


async def test_a_custom_object_enters_and_leaves_a_selection_by_its_fields(api: Client) -> None:
    spec = {"type": "object", "properties": {"color": {"type": "string"}}}
    await api("POST", CRDS, crd(spec, selectableFields=[{"jsonPath": ".spec.color"}]))
    start = (await api("POST", WIDGETS, widget("a", color="red")))["metadata"]["resourceVersion"]
    for color in ("blue", "red"):
        await api("PATCH", f"{WIDGETS}/a", {"spec": {"color": color}}, type=MERGE)
    seen = await collect(api.watch(WIDGETS, resourceVersion=start, fieldSelector="spec.color=blue"), "DELETED")
    assert seen == [("ADDED", "a"), ("DELETED", "a")]


async def test_a_watch_ends_when_its_time_is_over(api: Client) -> None:
    version = (await api("GET", CONFIGMAPS))["metadata"]["resourceVersion"]
    events = [event async for event in api.watch(CONFIGMAPS, resourceVersion=version, timeoutSeconds=1)]
    assert events == []


async def test_a_stopping_server_ends_its_watches_instead_of_cutting_them_off() -> None:
    server = ApiServer()
    await server.start()
    async with client_session(server) as session:
        api = Client(server, session)
        events = api.watch(CONFIGMAPS)
        await anext(events)
        await server.stop()
        # A stream that is cut off raises here.
        assert [event async for event in events] == []
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_an_unknown_future_version_is_a_timeout_that_says_so(api: Client) -> None:
    answer = await api("GET", CONFIGMAPS, resourceVersion="99999999")
    assert (answer.code, answer["reason"]) == (504, "Timeout")
    assert answer["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert answer.headers["Retry-After"] == "1"


class Below:
    """A reader over a store of its own, with a short history."""

    def __init__(self, *, history: int = 8, bookmark_interval: float = 60) -> None:
        self.store = Store(history=history)
        self.store.open()
        self.reader = Reader(self.store, bookmark_interval=bookmark_interval)

    async def put(self, name: str) -> None:
        key = Key("configmaps", "default", name)
        record = self.store.get(key)
        await self.store.put(key, configmap(name), expected=record.revision if record else 0)

    def watch(self, **options: Any) -> AsyncIterator[bytes]:
        return self.reader.watch(RESOURCE, ListOptions(**options), Plain(RESOURCE))


async def test_a_version_older_than_the_history_is_an_error_event_410() -> None:
    below = Below()
    start = below.store.revision
    for number in range(20):
        await below.put(f"n{number}")
    events = [json.loads(chunk) async for chunk in below.watch(resource_version=str(start))]
    assert [event["type"] for event in events] == ["ERROR"]
    assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")


async def test_a_watcher_that_falls_behind_the_history_is_told_instead_of_skipping() -> None:
    below = Below()
    await below.put("first")
    events = below.watch(resource_version=str(below.store.revision))
    await below.put("second")
    assert json.loads(await anext(events))["object"]["metadata"]["name"] == "second"
    for number in range(20):
        await below.put(f"n{number}")
    assert json.loads(await anext(events))["object"]["code"] == 410


async def test_bookmarks_carry_the_newest_version_also_of_other_resources() -> None:
    below = Below(bookmark_interval=0.01)
    await below.put("a")
    events = below.watch(resource_version=str(below.store.revision), bookmarks=True)
    await below.store.put(Key("secrets", "default", "s"), configmap("s"), expected=0)
    bookmark = json.loads(await anext(events))
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"] == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": str(below.store.revision)},
    }


async def test_all_watchers_send_the_same_encoded_bytes() -> None:
    below = Below()
    await below.put("a")
    start = str(below.store.revision)
    await below.put("a")
    first = await anext(below.watch(resource_version=start))
    second = await anext(below.watch(resource_version=start))
    assert first == second
    change = below.store.feed("configmaps").since(int(start))[0]
    assert list(change.encoded.values()) == [first]


async def test_options_that_contradict_each_other_are_refused_before_the_stream() -> None:
    below = Below()
    with pytest.raises(ApiError) as refused:
        below.watch(send_initial_events=True)
    assert refused.value.code == 422
