"""The testkit plays the operator as it is: retries, time, death, refusals."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest

from bobrapet.sdk import Cancelled, Context, RateLimitedError, RetryError, TerminalError, engram
from bobrapet.sdk.testkit import Operator
from tests.unit.sdk.fakes import clocks_begin_when


@dataclass
class Order:
    id: str
    amount: int = 1


class Settings(pydantic.BaseModel):
    currency: str = "EUR"


@engram
def show(input: Order, ctx: Context[Settings]) -> dict[str, Any]:
    ctx.log.info("showing", order=input.id)
    token = ctx.secrets["api"]["token"] if "api" in ctx.secrets else None
    return {"id": input.id, "amount": input.amount, "currency": ctx.config.currency, "token": token}


@pytest.mark.parametrize("input", [{"id": "o1"}, Order("o1")])
@pytest.mark.parametrize("config", [{"currency": "CHF"}, Settings(currency="CHF")])
def test_input_config_and_secrets_reach_the_component(input: Any, config: Any) -> None:
    run = Operator().run(show, input, config=config, secrets={"api": {"token": "t0ken-t0ken"}})
    assert run.output == {"id": "o1", "amount": 1, "currency": "CHF", "token": "t0ken-t0ken"}
    assert run.logs[0]["order"] == "o1"


def test_a_wrong_input_fails_as_in_a_pod() -> None:
    run = Operator(max_retries=3).run(show, {"id": 5})
    assert (run.phase, len(run.attempts), run.error["type"]) == ("Failed", 1, "validation_error")


def failing(*errors: BaseException | None) -> Any:
    left = list(errors)

    @engram
    def work() -> dict[str, int]:
        error = left.pop(0)
        if error is not None:
            raise error
        return {"left": len(left)}

    return work


def test_retries_follow_exit_classes_and_the_policy() -> None:
    assert len(Operator(max_retries=2).run(failing(RetryError("x"), RetryError("x"), None)).attempts) == 3
    assert Operator(max_retries=1).run(failing(RetryError("x"), RetryError("x"), None)).phase == "Failed"
    assert len(Operator(max_retries=5).run(failing(TerminalError("x"))).attempts) == 1
    assert len(Operator(max_retries=5).run(failing(ValueError("x"))).attempts) == 1


def test_a_rate_limited_component_waits_as_long_as_it_asked() -> None:
    run = Operator(max_retries=1).run(failing(RateLimitedError("x", retry_after=40), None))
    assert [attempt.delay for attempt in run.attempts] == [0, 40]


def test_a_fresh_attempt_finds_nothing_of_the_one_before() -> None:
    run = Operator(max_retries=1).run(failing(RetryError("x", code="X"), None))
    assert run.error == {}
    assert "exitClass" in run.status
    assert run.status["exitClass"] == "success"


@pytest.mark.parametrize(("code", "attempts"), [(0, 1), (3, 1), (137, 2)])
def test_a_silent_end_is_judged_by_its_code(code: int, attempts: int) -> None:
    @engram
    def leave() -> None:
        sys.exit(code)

    run = Operator(max_retries=1).run(leave)
    assert (len(run.attempts), run.exit_code) == (attempts, code)
    assert run.phase == ("Succeeded" if code == 0 else "Failed")


def test_a_process_can_die_anywhere() -> None:
    operator = Operator(max_retries=1)
    operator.kill_at("patch stepruns")
    run = operator.run(show, {"id": "o1"})
    assert [attempt.exit_code for attempt in run.attempts] == [137, 0]


def test_a_success_that_cannot_be_written_is_tried_again() -> None:
    operator = Operator(max_retries=1)
    operator.refuse("patch stepruns", 403)
    run = operator.run(show, {"id": "o1"})
    assert [attempt.exit_code for attempt in run.attempts] == [200, 0]


def test_a_conflict_and_a_lost_answer_are_repeated_in_the_same_attempt() -> None:
    operator = Operator()
    operator.interfere("patch stepruns", lambda server: server.patch_status({"status": {"podName": "run-1-step-0"}}))
    operator.lose("get stepruns")
    run = operator.run(show, {"id": "o1"})
    assert (run.phase, len(run.attempts)) == ("Succeeded", 1)
    assert run.status["podName"] == "run-1-step-0"


@pytest.mark.parametrize("wait", [time.sleep, asyncio.sleep])
def test_sigterm_interrupts_a_waiting_component(wait: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned = []
    waiting = threading.Event()
    clocks_begin_when(waiting.is_set, monkeypatch)

    @engram
    def sync() -> None:
        try:
            waiting.set()
            wait(100)
        except Cancelled:
            cleaned.append(1)
            raise

    @engram
    async def coroutine() -> None:
        try:
            waiting.set()
            await wait(100)
        except asyncio.CancelledError:
            cleaned.append(1)
            raise

    before = signal.getsignal(signal.SIGUSR2)
    run = Operator().run(sync if wait is time.sleep else coroutine, cancel_after=0.05)
    assert (run.phase, run.exit_code, run.error["code"]) == ("Failed", 143, "CANCELED")
    assert cleaned == [1]
    assert signal.getsignal(signal.SIGUSR2) is before


def test_sigterm_can_arrive_at_a_moment_of_the_tests_choice() -> None:
    operator, reached = Operator(), []

    @engram
    def work(ctx: Context) -> None:
        ctx.signals.emit("started", 1)
        reached.append("after the signal")

    operator.cancel_at("patch stepruns")
    run = operator.run(work)
    assert (run.exit_code, reached) == (143, [])


def test_the_time_limit_ends_a_component() -> None:
    @engram
    def hang() -> None:
        time.sleep(100)

    run = Operator(timeout=0.05).run(hang)
    assert (run.phase, run.exit_code, run.status["exitClass"]) == ("Timeout", 124, "retry")


def test_stories_that_a_component_starts_are_played_by_the_test() -> None:
    @engram
    def fan_out(ctx: Context) -> dict[str, Any]:
        results = ctx.stories.run_many("square", [{"n": n} for n in range(3)], concurrency=2)
        return {"squares": [result.output["square"] for result in results]}

    operator = Operator()
    operator.run_story = lambda run: {"phase": "Succeeded", "output": {"square": run["spec"]["inputs"]["n"] ** 2}}
    run = operator.run(fan_out)
    assert run.output == {"squares": [0, 1, 4]}
    assert {r["spec"]["storyRef"]["name"] for r in run.story_runs} == {"square"}
    assert run.story_runs[0]["metadata"]["ownerReferences"][0]["name"] == "run-1-step"
