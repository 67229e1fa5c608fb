from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from bobrapet.local.node.podwatch import PodWatch
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.errors import ConnectionFailed, Expired

from .pods import pod

Answer = list[Any] | Exception


def version(name: str, number: int, **labels: str) -> dict[str, Any]:
    made = pod(name=name)
    made["metadata"] |= {"resourceVersion": str(number), "labels": labels}
    return made


def event(kind: str, obj: Any) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode()


class Server:
    """Answers lists and watches from a script; at its end the watch stays open."""

    def __init__(self, *script: Answer) -> None:
        self.script = list(script)
        self.asked: list[str] = []

    async def request(self, method: str, path: str, params: Mapping[str, str], **_: Any) -> bytes:
        self.asked.append("list")
        answer = self._next()
        return json.dumps({"metadata": {"resourceVersion": "10"}, "items": answer}).encode()

    @asynccontextmanager
    async def stream(self, path: str, params: Mapping[str, str], **_: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        self.asked.append(f"watch {params['resourceVersion']}")
        if not self.script:
            await asyncio.Event().wait()
        answer = self._next()

        async def lines() -> AsyncIterator[bytes]:
            for line in answer:
                yield line

        yield lines()

    def _next(self) -> list[Any]:
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Heard:
    """What the listener was told, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pod_changed(self, pod: Mapping[str, Any]) -> None:
        self.calls.append(f"{pod['metadata']['name']}@{pod['metadata']['resourceVersion']}")

    def pod_deleted(self, pod: Mapping[str, Any]) -> None:
        self.calls.append(f"-{pod['metadata']['name']}")

    def pods_known(self) -> None:
        self.calls.append("known")


async def watched(*script: Answer, seconds: float = 0) -> tuple[list[str], list[str]]:
    """What is heard and asked while the script is played."""
    server, heard, clock = Server(*script), Heard(), FakeClock()
    task = asyncio.create_task(PodWatch(server, heard, clock).run())  # type: ignore[arg-type]
    await clock.advance(seconds)
    task.cancel()
    await asyncio.wait({task})
    return heard.calls, server.asked


async def test_existing_pods_are_told_first_then_changes_in_order() -> None:
    heard, asked = await watched(
        [version("a", 3)],
        [event("ADDED", version("b", 11)), event("MODIFIED", version("a", 12)), event("DELETED", version("b", 13))],
    )
    assert heard == ["a@3", "known", "b@11", "a@12", "-b"]
    assert asked == ["list", "watch 10", "watch 13"]


async def test_a_watch_that_ends_goes_on_where_it_was_bookmarks_included() -> None:
    bookmark = {"metadata": {"resourceVersion": "40"}}
    _, asked = await watched([], [event("BOOKMARK", bookmark)], [event("ADDED", version("a", 41))])
    assert asked == ["list", "watch 10", "watch 40", "watch 41"]


async def test_an_expired_version_leads_to_a_new_list_and_what_vanished_meanwhile_is_told() -> None:
    gone = {"code": 410, "message": "too old"}
    for expired in ([event("ERROR", gone)], Expired("too old")):
        heard, asked = await watched([version("a", 1), version("b", 2)], expired, [version("b", 5)])
        assert heard == ["a@1", "b@2", "known", "-a", "b@5", "known"]
        assert asked == ["list", "watch 10", "list", "watch 10"]


async def test_a_lost_server_is_asked_again_after_growing_pauses() -> None:
    failures = [ConnectionFailed("down") for _ in range(4)]
    heard, asked = await watched(*failures, [version("a", 1)], seconds=0.7)
    assert asked == ["list"] * 4  # after 0, 0.05, 0.15, 0.35 s
    assert heard == []
    heard, _ = await watched(*failures, [version("a", 1)], seconds=0.8)
    assert heard == ["a@1", "known"]
