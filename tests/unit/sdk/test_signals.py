"""What a running component tells arrives once, in order, and nothing that others wrote is lost."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from bobrapet.sdk import Context, RetryError, engram
from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.ledger import appended, replacing, summary
from bobrapet.sdk.link import Link
from bobrapet.sdk.log import Log
from bobrapet.sdk.memory_api import MemoryApi
from bobrapet.sdk.signals import Progress, SignalFailed, Signals
from bobrapet.sdk.testkit import Operator

STEP = StepIdentity(namespace="team-a", step_run="run1-fetch")


def signals(api: MemoryApi, **options: Any) -> Signals:
    return Signals(Link(lambda: api, STEP), log=Log(STEP), **options)


def events(api: MemoryApi) -> list[tuple[int, str]]:
    return [(event["seq"], event["key"]) for event in api.step_run["status"].get("signalEvents", [])]


def test_a_signal_is_told_by_type_size_and_digest_unless_it_is_meant_to_be_seen() -> None:
    """As in the example of workloads 25.2."""
    api = MemoryApi(STEP)
    assert signals(api).emit("progress", 42) == 1
    status = api.step_run["status"]
    digest = "73475cb40a568e8da8a045ced110137e159f890ac4da883b6b17dc651b3a8049"
    assert status["signals"] == {"progress": {"type": "int", "sizeBytes": 2, "sha256": digest, "redacted": True}}
    (event,) = status["signalEvents"]
    assert event.pop("emittedAt")
    assert event == {"seq": 1, "key": "progress", "payload": {"type": "int", "sizeBytes": 2, "sha256": digest}}


def test_a_visible_signal_carries_its_value() -> None:
    api = MemoryApi(STEP)
    signals(api).emit("page", {"number": 3}, visible=True)
    envelope = api.step_run["status"]["signals"]["page"]
    assert envelope["sample"] == {"number": 3}
    assert envelope["meta"].keys() == {"format", "contentType", "sizeBytes", "hashSha256"}
    assert "sample" not in api.step_run["status"]["signalEvents"][0]["payload"]


def test_a_value_over_the_limit_is_not_made_visible() -> None:
    api = MemoryApi(STEP)
    signals(api, max_payload=100).emit("page", "x" * 99, visible=True)
    assert api.step_run["status"]["signals"]["page"]["redacted"] is True


def test_a_new_value_replaces_the_old_one_whole() -> None:
    """A merge patch alone would leave the old keys standing."""
    api = MemoryApi(STEP)
    told = signals(api)
    told.emit("page", 1)
    told.emit("page", {"a": 1, "b": {"c": 1}}, visible=True)
    told.emit("page", {"b": {}}, visible=True)
    assert api.step_run["status"]["signals"]["page"]["sample"] == {"b": {}}
    assert "redacted" not in api.step_run["status"]["signals"]["page"]


@pytest.mark.spec("workloads-38")
def test_two_emissions_at_once_are_both_there_with_numbers_of_their_own() -> None:
    api = MemoryApi(STEP)
    lock = threading.Lock()

    class Locked(MemoryApi):
        def get(self) -> Any:
            with lock:
                return api.get()

        def patch_status(self, patch: Any) -> None:
            with lock:
                api.patch_status(patch)

    start = threading.Barrier(4)

    def emit(name: str) -> None:
        start.wait()
        for number in range(3):
            signals(Locked(STEP)).emit(name, number)

    threads = [threading.Thread(target=emit, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [seq for seq, _ in events(api)] == list(range(1, 13))
    assert sorted(key for _, key in events(api)) == sorted("abcd" * 3)


def test_numbers_go_on_after_a_retry() -> None:
    @engram
    def talk(ctx: Context) -> None:
        ctx.signals.emit("a", 1)
        if ctx.attempt == 1:
            raise RetryError("later")

    run = Operator(max_retries=1).run(talk)
    assert [event["seq"] for event in run.signal_events] == [1, 2]


def test_a_number_of_the_callers_own_makes_an_emission_repeatable() -> None:
    api = MemoryApi(STEP)
    told = signals(api)
    for _ in range(2):
        assert told.emit("page", "x", seq=7) == 7
    assert told.emit("page", "y") == 8
    assert events(api) == [(7, "page"), (8, "page")]


def test_a_signal_is_deleted_and_its_events_stay() -> None:
    api = MemoryApi(STEP)
    told = signals(api)
    told.emit("a", 1)
    told.delete("a")
    told.delete("never there")
    assert api.step_run["status"]["signals"] == {}
    assert events(api) == [(1, "a")]


def test_recorded_events_can_be_read_again_from_a_number_on() -> None:
    told = signals(MemoryApi(STEP))
    for number in range(5):
        told.emit("n", number)
    assert [(event.seq, event.key) for event in told.replay(after=3)] == [(4, "n"), (5, "n")]


def test_the_newest_256_entries_are_kept() -> None:
    entries = [{"seq": seq} for seq in range(1, 257)]
    kept = appended(entries, {"seq": 257})
    assert (len(kept), kept[0]["seq"], kept[-1]["seq"]) == (256, 2, 257)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, {"type": "null"}),
        (True, {"type": "bool"}),
        (1.5, {"type": "float"}),
        ("häh", {"type": "string", "details": {"len": 3}}),
        ([1, 2], {"type": "array", "details": {"len": 2}}),
        ({"a": 1}, {"type": "map", "details": {"len": 1}}),
    ],
)
def test_a_summary_tells_type_and_length(value: Any, told: dict[str, Any]) -> None:
    assert told.items() <= summary(value).items()


def test_a_replacement_removes_what_the_new_value_has_not() -> None:
    assert replacing({"a": 1, "b": {"c": 1}}, {"b": {"d": 2}}) == {"a": None, "b": {"c": None, "d": 2}}
    assert replacing({"a": 1}, 5) == 5


def test_a_step_that_went_on_without_this_process_is_told_nothing() -> None:
    api = MemoryApi(STEP)
    api.step_run["status"] = {"phase": "Canceled"}
    with pytest.raises(SignalFailed, match="Canceled"):
        signals(api).emit("a", 1)
    assert "signals" not in api.step_run["status"]


@pytest.mark.parametrize("value", [object(), {1, object()}])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(Exception, match="signal a cannot be written as JSON"):
        signals(MemoryApi(STEP)).emit("a", value)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_told_once_a_second_and_at_its_end() -> None:
    api, clock = MemoryApi(STEP), Clock()
    progress = Progress(signals(api), Log(STEP), clock)
    for done in range(1, 101):
        progress(done, 100, "pages")
        clock.now += 0.1
    assert 10 <= len(events(api)) <= 12
    assert api.step_run["status"]["signals"]["progress"]["sample"] == {
        "done": 100,
        "total": 100,
        "fraction": 1.0,
        "message": "pages",
    }


def test_the_last_progress_is_told_when_the_component_ends() -> None:
    @engram
    def work(ctx: Context) -> None:
        for done in (0.1, 0.2, 0.5):
            ctx.progress(done)

    assert Operator().run(work).signals["progress"] == {"done": 0.5, "fraction": 0.5}


def test_progress_never_fails_the_work() -> None:
    @engram
    def work(ctx: Context) -> None:
        ctx.progress(1)

    operator = Operator()
    operator.refuse(lambda call: "signals" in call.body.get("status", {}), 403)
    run = operator.run(work)
    assert run.phase == "Succeeded"
    assert run.logs[0]["msg"] == "progress could not be told"
