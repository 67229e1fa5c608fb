"""ConfigMaps and Secrets that inputs and configuration name are read by the component, from its own namespace."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.sdk import Context, TerminalError, engram
from bobrapet.sdk.testkit import Operator, Run

PEM = "-----BEGIN KEY-----\nabcdef\n-----END KEY-----\n"


@engram
def show(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
    ctx.log.info("got", value=input.get("v"))
    if input.get("fail"):
        raise TerminalError(f"refused with {input['v']}")
    return {"input": input, "config": ctx.config}


def operator() -> Operator:
    operator = Operator(max_retries=1)
    operator.config_maps["settings"] = {"limits.json": '{"n": 1}', "motto": "be kind", "broken": "{"}
    operator.kubernetes_secrets["keys"] = {"signing": PEM}
    return operator


def run(reference: Any, on: Operator | None = None, **more: Any) -> Run:
    return (on or operator()).run(show, {"v": reference, **more}, config={"deep": [reference]})


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ({"$bubuConfigMapRef": "settings:limits.json"}, {"n": 1}),
        ({"$bubuConfigMapRef": "test/settings:motto"}, "be kind"),
        ({"$bubuConfigMapRef": {"name": "settings", "key": "limits.json", "format": "raw"}}, '{"n": 1}'),
        ({"$bubuConfigMapRef": {"name": "settings", "key": "limits.json", "namespace": "test"}}, {"n": 1}),
        ({"$bubuSecretRef": "keys:signing"}, PEM),
        ({"$bubuConfigMapRef": "settings:motto", "other": 1}, {"$bubuConfigMapRef": "settings:motto", "other": 1}),
    ],
)
def test_a_reference_is_replaced_in_inputs_and_configuration(reference: Any, value: Any) -> None:
    done = run(reference)
    assert done.output["input"]["v"] == value, done.error
    assert done.output["config"] == {"deep": [value]}


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ({"$bubuConfigMapRef": "elsewhere/settings:motto"}, "only the step's own namespace test can be read"),
        ({"$bubuConfigMapRef": "settings:absent"}, "its keys: broken, limits.json, motto"),
        ({"$bubuConfigMapRef": "absent:motto"}, "not found"),
        ({"$bubuConfigMapRef": {"name": "settings", "key": "broken", "format": "json"}}, "is no JSON"),
        ({"$bubuConfigMapRef": "settings"}, "write name:key"),
        ({"$bubuConfigMapRef": {"name": "settings"}}, "write name:key"),
        ({"$bubuSecretRef": 5}, "write name:key"),
    ],
)
def test_what_cannot_be_read_is_terminal_and_told(reference: Any, said: str) -> None:
    failed = run(reference)
    assert (failed.error["exitClass"], len(failed.attempts)) == ("terminal", 1)
    assert said in failed.error["message"]


def test_an_account_that_may_not_read_it_is_told() -> None:
    on = operator()
    on.refuse("get secrets", 403, 'secrets "keys" is forbidden')
    assert "is forbidden" in run({"$bubuSecretRef": "keys:signing"}, on).error["message"]


def test_a_server_that_does_not_answer_is_worth_another_attempt() -> None:
    on = operator()
    on.lose("get configmaps")
    done = run({"$bubuConfigMapRef": "settings:motto"}, on)
    assert [attempt.exit_class for attempt in done.attempts] == ["retry", "success"]


def test_a_secret_of_several_lines_stays_out_of_log_lines_and_messages() -> None:
    failed = run({"$bubuSecretRef": "keys:signing"}, fail=True)
    assert failed.error["message"] == "refused with [REDACTED]"
    assert all("abcdef" not in str(line) for line in failed.logs)
