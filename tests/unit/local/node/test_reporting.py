from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from bobrapet.local.node.reporting import EventRecorder, StatusReporter
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.errors import Conflict, ConnectionFailed, Invalid, NotFound

from .pods import pod


class Api:
    """Takes statuses and Events; `answers` are raised first, one a request."""

    def __init__(self, *answers: Exception) -> None:
        self.answers = list(answers)
        self.statuses: list[Mapping[str, Any]] = []
        self.events: list[Mapping[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def patch_status(self, pod: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        await self.open.wait()
        if self.answers:
            raise self.answers.pop(0)
        self.statuses.append(status)
        return {**pod, "status": status}

    async def create_event(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)
        if self.answers:
            raise self.answers.pop(0)


def reporter(api: Api, clock: FakeClock | None = None) -> StatusReporter:
    return StatusReporter(api, pod(), clock or FakeClock())  # type: ignore[arg-type]


async def test_the_newest_status_is_written_and_what_it_overtook_is_not() -> None:
    api = Api()
    api.open.clear()
    reports = reporter(api)
    for phase in ("a", "b", "c"):
        reports.report({"phase": phase})
        await settle()
    api.open.set()
    await reports.finish()
    assert api.statuses == [{"phase": "a"}, {"phase": "c"}]


async def test_the_same_status_is_written_once() -> None:
    api = Api()
    reports = reporter(api)
    for _ in range(2):
        reports.report({"phase": "a"})
        await reports.finish()
    assert len(api.statuses) == 1


async def test_an_unreachable_server_gets_the_status_when_it_is_back() -> None:
    clock = FakeClock()
    api = Api(*(ConnectionFailed("down") for _ in range(3)))
    reports = reporter(api, clock)
    reports.report({"phase": "a"})
    await clock.advance(0.3)
    assert api.statuses == []
    await clock.advance(0.4)  # 0.1 + 0.2 + 0.4 s
    await reports.finish()
    assert api.statuses == [{"phase": "a"}]


async def test_a_newer_status_replaces_the_one_that_waits_for_the_server() -> None:
    clock = FakeClock()
    api = Api(ConnectionFailed("down"))
    reports = reporter(api, clock)
    reports.report({"phase": "a"})
    await settle()
    reports.report({"phase": "b"})
    await clock.advance(1)
    assert api.statuses == [{"phase": "b"}]


async def test_a_pod_that_is_gone_or_replaced_is_not_reported_any_more() -> None:
    for answer in (NotFound("gone"), Conflict("another uid")):
        api = Api(answer)
        reports = reporter(api)
        reports.report({"phase": "a"})
        await reports.finish()
        reports.report({"phase": "b"})
        await reports.finish()
        assert api.statuses == []


async def test_a_status_that_is_refused_does_not_block_the_next_one() -> None:
    api = Api(Invalid("no"))
    reports = reporter(api)
    reports.report({"phase": "a"})
    await reports.finish()
    reports.report({"phase": "b"})
    await reports.finish()
    assert api.statuses == [{"phase": "b"}]


async def test_a_warning_is_recorded_once_and_a_lost_one_disturbs_nobody() -> None:
    api = Api(ConnectionFailed("down"))
    events = EventRecorder(api, "here", FakeClock())  # type: ignore[arg-type]
    events.warning(pod(), "Failed", "why")
    events.warning(pod(), "Failed", "why")
    events.warning(pod(), "Failed", "other")
    await events.aclose()
    assert [event["message"] for event in api.events] == ["why", "other"]
    assert api.events[0]["involvedObject"]["uid"] == "uid-p"
    assert api.events[0]["type"] == "Warning"
