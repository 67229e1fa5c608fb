"""Engram map-reduce: each item, then all results."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.engrams.map_reduce import map_reduce
from bobrapet.sdk.testkit import Call, Operator, Run

SQUARES = {"story": "square", "map": ".square", "reduce": "add"}


def run(items: Any, operator: Operator | None = None, **config: Any) -> Run:
    return (operator or Operator()).run(map_reduce, {"items": items}, config=config)


def squaring(*, failing: tuple[int, ...] = (), **options: Any) -> Operator:
    """An operator whose Story `square` squares the item, and fails for some once."""
    operator, left = Operator(**options), list(failing)

    def square(story_run: dict[str, Any]) -> dict[str, Any]:
        item = story_run["spec"]["inputs"]["item"]
        if item in left:
            left.remove(item)
            return {"phase": "Failed", "message": f"{item} is not liked"}
        return {"phase": "Succeeded", "output": {"square": item * item}}

    operator.run_story = square
    return operator


def test_items_are_mapped_and_reduced_by_programs() -> None:
    output = run([1, 2, 3], map=". * $factor + $index", reduce="{sum: add, n: length}", vars={"factor": 10}).output
    assert output == {"result": {"sum": 63, "n": 3}, "count": 3}


def test_without_programs_the_items_are_the_result() -> None:
    assert run("[1, 2]").output == {"result": [1, 2], "count": 2}


def test_nothing_is_a_result_too() -> None:
    assert run([], map=".x", reduce="add // 0").output == {"result": 0, "count": 0}


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"map": "{"}, "JQ_SYNTAX"),
        ({"reduce": "{"}, "JQ_SYNTAX"),
        ({"map": ".[]"}, "JQ_FAILED"),
        ({"map": "empty"}, "JQ_FAILED"),
        ({"reduce": ".[]"}, "JQ_NOT_ONE_RESULT"),
    ],
)
def test_a_wrong_program_is_terminal(config: dict[str, str], code: str) -> None:
    failed = run([1, 2], **config)
    assert (failed.error["code"], failed.error["exitClass"]) == (code, "terminal")


def test_a_story_runs_once_for_each_item_and_results_keep_their_order() -> None:
    done = run([1, 2, 3], squaring(), **SQUARES, inputs={"unit": "m"}, concurrency=2)
    assert done.output == {"result": 14, "count": 3}
    inputs = [story_run["spec"]["inputs"] for story_run in done.story_runs]
    assert inputs == [{"unit": "m", "item": item, "index": item - 1} for item in (1, 2, 3)]
    assert len({story_run["metadata"]["name"] for story_run in done.story_runs}) == 3
    assert done.signals["progress"] == {"done": 3, "total": 3, "fraction": 1.0}


def test_no_more_runs_than_allowed_are_under_way() -> None:
    operator, running, most = Operator(), set[str](), []

    def start(story_run: dict[str, Any]) -> dict[str, Any]:
        running.add(story_run["metadata"]["name"])
        most.append(len(running))
        return {"phase": "Running"}

    def finish_one(server: Any) -> None:
        if running:
            server.story_runs[running.pop()]["status"] = {"phase": "Succeeded", "output": {}}

    operator.run_story = start
    operator.interfere("get storyruns", finish_one, times=99)
    done = run(list(range(5)), operator, story="square", concurrency=2)
    assert done.phase == "Succeeded"
    assert max(most) == 2


def test_a_failed_run_fails_the_step_and_the_next_attempt_starts_only_that_one_anew() -> None:
    done = run([1, 2, 3], squaring(failing=(2,), max_retries=1), **SQUARES, concurrency=3)
    assert [attempt.exit_class for attempt in done.attempts] == ["retry", "success"]
    assert "item 1: run run-1-step-1-" in done.attempts[0].message
    assert "2 is not liked" in done.attempts[0].message
    assert done.output["result"] == 14
    assert sorted(story_run["spec"]["inputs"]["item"] for story_run in done.story_runs) == [1, 2, 2, 3]


def test_failures_can_be_left_out() -> None:
    done = run([1, 2, 3], squaring(failing=(2,)), **SQUARES, onFailure="skip")
    assert (done.output["result"], done.output["count"]) == (10, 2)
    (failed,) = done.output["failed"]
    assert (failed["index"], failed["phase"], failed["message"]) == (1, "Failed", "2 is not liked")


def test_a_process_that_dies_in_the_middle_starts_no_run_twice() -> None:
    operator = squaring(max_retries=1)
    operator.kill_at(lambda call: str(call) == "create storyruns" and call.body["spec"]["inputs"]["item"] == 2)
    done = run([1, 2, 3], operator, **SQUARES)
    assert done.output["result"] == 14
    assert len(done.story_runs) == 3


@pytest.mark.parametrize("lost", ["create storyruns", "list storyruns", "get storyruns"])
def test_an_answer_that_is_lost_changes_nothing(lost: str) -> None:
    operator = squaring()
    operator.lose(lost, answered=True)
    done = run([1, 2, 3], operator, **SQUARES)
    assert (done.output["result"], len(done.story_runs)) == (14, 3)


def test_what_runs_is_cancelled_with_the_step() -> None:
    operator = Operator()
    operator.run_story = lambda _: {"phase": "Running"}
    looks: list[Call] = []

    def third_look(call: Call) -> bool:
        looks.extend([call] * (str(call) == "get storyruns"))
        return len(looks) == 3

    operator.cancel_at(third_look)
    done = run([1, 2], operator, story="square")
    assert done.exit_code == 143
    assert [story_run["spec"]["cancelRequested"] for story_run in done.story_runs] == [True, True]


def test_a_story_that_may_not_be_run_is_terminal() -> None:
    operator = Operator(max_retries=3)
    operator.refuse("create storyruns", 403, "storyruns is forbidden", times=9)
    done = run([1], operator, story="square")
    assert (len(done.attempts), done.error["code"]) == (1, "STORY_REFUSED")


def test_a_run_that_somebody_deletes_is_over() -> None:
    operator = Operator()
    operator.run_story = lambda _: {"phase": "Running"}
    operator.interfere("get storyruns", lambda server: server.story_runs.clear())
    done = run([1], operator, story="square", onFailure="skip")
    (failed,) = done.output["failed"]
    assert (failed["phase"], failed["message"]) == ("Aborted", "the run was deleted")


def test_a_look_at_the_runs_costs_no_more_the_more_there_have_been() -> None:
    lists: list[Call] = []
    operator = squaring()
    operator.cancel_at(lambda call: bool(lists.extend([call] * (str(call) == "list storyruns"))))
    done = run(list(range(30)), operator, **SQUARES, concurrency=2)
    assert (done.output["count"], len(lists)) == (30, 1)
