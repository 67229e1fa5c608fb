"""The wire contract of workloads 24, rule by rule: what a component of ours reads and writes under any operator.

Where the Go operator sets fewer variables than ours, the component must do without them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bobrapet.api.crds import crd_manifests
from bobrapet.sdk import Context, RateLimitedError, RetryError, StepTimeout, TerminalError, engram
from bobrapet.sdk.environment import Environment, StepIdentity
from bobrapet.sdk.errors import EnvironmentInvalid
from bobrapet.sdk.memory_api import MemoryApi
from bobrapet.sdk.process import run_step
from bobrapet.sdk.testkit import Operator
from tests.unit.sdk import component
from tests.unit.sdk.fakes import FakeStepRun, serve
from tests.unit.sdk.test_process import Step

GO_OPERATOR = {
    "BUBU_STORY_NAME": "etl",
    "BUBU_STORY_VERSION": "1.2.0",
    "BUBU_STORYRUN_ID": "run1",
    "BUBU_STEP_NAME": "fetch",
    "BUBU_STEPRUN_NAME": "run1-fetch",
    "BUBU_STEPRUN_NAMESPACE": "team-a",
    "BUBU_TRIGGER_DATA": '{"url":"https://example.org"}',
    "BUBU_EXECUTION_MODE": "batch",
    "BUBU_HYBRID_BRIDGE": "false",
    "BUBU_GRPC_PORT": "50051",
    "BUBU_MAX_INLINE_SIZE": "4096",
    "BUBU_STORAGE_TIMEOUT": "300s",
    "BUBU_STEP_TIMEOUT": "5m0s",
    "BUBU_MAX_RECURSION_DEPTH": "32",
    "BUBU_DEBUG": "false",
    "BUBU_POD_NAME": "run1-fetch-x7x2p",
    "BUBU_POD_NAMESPACE": "team-a",
    "BUBU_SERVICE_ACCOUNT_NAME": "run1-engram-runner",
    "BUBU_GRPC_DIAL_TIMEOUT": "10s",
    "HTTP_TOKEN": "t0ken",
    "BUBU_SECRET_api": "env:HTTP_",
    "BUBU_SECRET_api_NAME": "http-creds",
    "BUBU_ENGRAM_NAME": "http",
    "BUBU_ENGRAM_VERSION": "1.0.0",
    "BUBU_STARTED_AT": "2026-01-05T10:00:00.123456789Z",
    "BUBU_STEP_CONFIG": '{"url":"https://example.org","n":1}',
    "BUBU_TEMPLATE_CONTEXT": '{"inputs":{"url":"https://example.org"},"steps":{}}',
}
"""The environment of the example in workloads 25.1: no attempt, no skip flag."""

ERROR_V1 = {
    "type": "object",
    "required": ["version", "type", "message"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": "v1"},
        "type": {
            "enum": [
                "timeout",
                "storage_error",
                "serialization_error",
                "validation_error",
                "initialization_error",
                "execution_error",
                "unknown",
            ]
        },
        "message": {"type": "string", "minLength": 1},
        "retryable": {"type": "boolean"},
        "exitCode": {"type": "integer", "minimum": 0},
        "exitClass": {"enum": ["success", "retry", "terminal", "rateLimited", "unknown"]},
        "code": {"type": "string"},
        "details": {"type": "object"},
    },
}

NEVER_BY_A_COMPONENT = {
    "startedAt",
    "retries",
    "nextRetryAt",
    "needs",
    "podName",
    "handoff",
    "trace",
    "inputSchemaRef",
    "outputSchemaRef",
    "conditions",
    "observedGeneration",
}


class Recorder(MemoryApi):
    """Keeps the patches."""

    def __init__(self) -> None:
        super().__init__(StepIdentity(namespace="team-a", step_run="run1-fetch"))
        self.patches: list[dict[str, Any]] = []

    def patch_status(self, patch: Any) -> None:
        self.patches.append(json.loads(json.dumps(patch)))
        super().patch_status(patch)


def patch(error: BaseException | None = None, result: Any = None, **environ: str) -> dict[str, Any]:
    """The status that a component writes which returns or raises this."""

    @engram
    def work() -> Any:
        if error is not None:
            raise error
        return result

    api = Recorder()
    from bobrapet.sdk.interrupts import Interrupts

    run_step(work, {**GO_OPERATOR, **environ}, connect=lambda: api, interrupts=lambda _: Interrupts())
    (written,) = api.patches
    assert written.keys() <= {"status", "metadata"}
    status: dict[str, Any] = written["status"]
    assert not status.keys() & NEVER_BY_A_COMPONENT
    return status


TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
GO_DURATION = re.compile(r"(\d+h)?(\d+m)?(\d+(\.\d+)?s)")


# 24.1 Start


def test_rule_2_operations_on_the_step_run_use_its_own_namespace() -> None:
    environ = {**GO_OPERATOR, "BUBU_TARGET_STORY_NAMESPACE": "other", "BUBU_POD_NAMESPACE": "other"}
    assert Environment.from_environ(environ).step.namespace == "team-a"


@pytest.mark.parametrize("name", ["BUBU_TRIGGER_DATA", "BUBU_STEP_CONFIG"])
def test_rule_3_malformed_json_is_fatal_and_named(name: str) -> None:
    for text in ("{", "[]", '"x"'):
        with pytest.raises(EnvironmentInvalid, match=name):
            Environment.from_environ({**GO_OPERATOR, name: text})
    empty = Environment.from_environ({**GO_OPERATOR, name: ""})
    assert (empty.inputs == {}) or (empty.config == {})


def test_rule_3_single_keys_of_the_configuration_are_overlaid_with_raw_texts() -> None:
    environment = Environment.from_environ({**GO_OPERATOR, "BUBU_CONFIG_n": '{"a":1}'})
    assert environment.config == {"url": "https://example.org", "n": '{"a":1}'}


def test_rule_4_secrets_are_expanded_from_their_markers() -> None:
    secrets = Environment.from_environ(GO_OPERATOR).secrets
    assert {name: dict(secret) for name, secret in secrets.items()} == {"api": {"TOKEN": "t0ken"}}


@pytest.mark.parametrize("word", ["1", "true", "t", "yes", "y", "on", "debug", "TRUE"])
def test_rule_4_debug_words(word: str) -> None:
    assert Environment.from_environ({**GO_OPERATOR, "BUBU_DEBUG": word}).debug
    assert not Environment.from_environ({**GO_OPERATOR, "BUBU_DEBUG": "no"}).debug


def test_rule_5_the_time_limit_is_the_steps_or_half_an_hour() -> None:
    assert Environment.from_environ(GO_OPERATOR).timeout == 300
    for text in ("", "0s"):
        assert Environment.from_environ({**GO_OPERATOR, "BUBU_STEP_TIMEOUT": text}).timeout == 1800


@pytest.mark.parametrize(("mode", "is_batch"), [("", 1), ("job", 1), ("batch", 1), ("hybrid", 1), ("realtime", 0)])
def test_a_batch_component_runs_in_every_mode_with_an_end(mode: str, is_batch: int) -> None:
    environ = {**GO_OPERATOR, "BUBU_EXECUTION_MODE": mode}
    if is_batch:
        assert Environment.from_environ(environ).step.step == "fetch"
    else:
        with pytest.raises(EnvironmentInvalid, match="mode: job"):
            Environment.from_environ(environ)


def test_knobs_that_no_operator_sets_have_the_documented_defaults_and_are_honoured() -> None:
    plain = Environment.from_environ(GO_OPERATOR)
    assert (plain.request_timeout, plain.operation_timeout, plain.patch_retries) == (30, 30, 5)
    assert (plain.limits.signal_payload, plain.limits.effect_details, plain.user_agent) == (8192, 8192, "")
    set_ = Environment.from_environ(
        {
            **GO_OPERATOR,
            "BUBU_K8S_TIMEOUT": "5s",
            "BUBU_K8S_OPERATION_TIMEOUT": "1m",
            "BUBU_K8S_PATCH_MAX_RETRIES": "0",
            "BUBU_K8S_USER_AGENT": "me",
            "BUBU_SIGNAL_MAX_PAYLOAD_BYTES": "10",
            "BUBU_EFFECT_MAX_DETAILS_BYTES": "20",
        }
    )
    assert (set_.request_timeout, set_.operation_timeout, set_.patch_retries, set_.user_agent) == (5, 60, 0, "me")
    assert (set_.limits.signal_payload, set_.limits.effect_details) == (10, 20)


def test_a_component_runs_under_an_operator_that_numbers_no_attempts(tmp_path: Path) -> None:
    with serve(FakeStepRun({"phase": "Running", "retries": 3})) as api:
        step = Step(api, tmp_path, "echo", 5, BUBU_STEP_ATTEMPT="", BUBU_SKIP_INPUT_TEMPLATING="")
    assert (step.code, step.status["phase"]) == (0, "Succeeded")


# 24.2 The status patch


def test_success_writes_exactly_these_fields() -> None:
    status = patch(result={"status": 200})
    assert status.keys() == {"phase", "finishedAt", "duration", "exitClass", "output", "lastOutputAt"}
    assert (status["phase"], status["exitClass"], status["output"]) == ("Succeeded", "success", {"status": 200})
    assert TIME.fullmatch(status["finishedAt"])
    assert status["lastOutputAt"] == status["finishedAt"]
    assert GO_DURATION.fullmatch(status["duration"])


def test_nothing_returned_is_an_empty_output() -> None:
    assert patch()["output"] == {}


def test_failure_writes_exactly_these_fields() -> None:
    status = patch(TerminalError("no card, password=hunter2", code="NO_CARD", details={"n": 1}))
    assert status.keys() == {"phase", "finishedAt", "duration", "exitCode", "exitClass", "lastFailureMsg", "error"}
    assert (status["phase"], status["exitCode"], status["exitClass"]) == ("Failed", 1, "terminal")
    assert status["lastFailureMsg"] == "no card, password=[REDACTED]"
    assert status["error"] == {
        "version": "v1",
        "type": "execution_error",
        "message": "no card, password=[REDACTED]",
        "retryable": False,
        "exitCode": 1,
        "exitClass": "terminal",
        "code": "NO_CARD",
        "details": {"n": 1},
    }


def test_a_rate_limit_is_written_as_in_the_example() -> None:
    status = patch(RateLimitedError("upstream answered 429", code="HTTP_429", retry_after=20))
    del status["finishedAt"], status["duration"]
    assert status == {
        "phase": "Failed",
        "exitCode": 1,
        "exitClass": "rateLimited",
        "lastFailureMsg": "upstream answered 429",
        "error": {
            "version": "v1",
            "type": "execution_error",
            "message": "upstream answered 429",
            "retryable": True,
            "exitCode": 1,
            "exitClass": "rateLimited",
            "code": "HTTP_429",
            "details": {"retryAfterSeconds": 20},
        },
    }


def test_a_timeout_is_a_phase_of_its_own_with_code_124_and_class_retry() -> None:
    status = patch(StepTimeout("timed out"))
    assert (status["phase"], status["exitCode"], status["exitClass"]) == ("Timeout", 124, "retry")
    assert status["error"]["type"] == "timeout"


def test_without_a_begin_there_is_no_duration() -> None:
    assert "duration" not in patch(BUBU_STARTED_AT="")


@pytest.mark.parametrize("error", [RetryError("x" * 20_000), ValueError("é" * 9000), KeyError("k"), ValueError()])
def test_messages_fit_and_errors_follow_the_schema_of_v1(error: Exception) -> None:
    status = patch(error)
    assert 0 < len(status["lastFailureMsg"].encode()) <= 8192
    jsonschema.validate(status["error"], ERROR_V1)


def test_every_patch_satisfies_the_schema_of_the_definition() -> None:
    """The admission webhook does not see status patches: the CRD's schema is all that judges them."""
    (crd,) = (crd for crd in crd_manifests() if crd["spec"]["names"]["kind"] == "StepRun")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    operator = Operator(max_retries=1)

    @engram
    def everything(ctx: Context) -> dict[str, Any]:
        ctx.signals.emit("hidden", [1, 2])
        ctx.signals.emit("shown", {"a": 1}, visible=True)
        ctx.progress(0.5)
        with ctx.effect("charge") as charge:
            charge.record(payment="p1")
        if ctx.attempt == 1:
            raise RetryError("later", code="LATER", details={"n": 1})
        return {"n": 1}

    run = operator.run(everything)
    assert run.phase == "Succeeded"
    written = [call.body["status"] for call in run.calls if str(call) == "patch stepruns"]
    assert len(written) >= 6
    for status in written:
        jsonschema.validate({"retries": 0, **json.loads(json.dumps(status))}, schema)


@pytest.mark.parametrize("kind", ["EffectClaim"])
def test_every_claim_satisfies_the_schema_of_its_definition(kind: str) -> None:
    (crd,) = (crd for crd in crd_manifests() if crd["spec"]["names"]["kind"] == kind)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    operator = Operator(max_retries=2)

    @engram
    def charges(ctx: Context) -> None:
        with ctx.effect("charge", "o1") as charge:
            charge.record(payment="p1")
            if ctx.attempt == 1:
                raise RetryError("later")

    run = operator.run(charges)
    claims = [call.body["spec"] for call in run.calls if call.kind == "effectclaims" and call.body]
    assert [claim.get("completionStatus") for claim in claims] == [None, "released", None, "completed"]
    for spec in claims:
        jsonschema.validate(json.loads(json.dumps(spec)), schema)
        # What admission asks for beyond the schema (runs 23).
        assert ("completedAt" in spec) is (spec.get("completionStatus") == "completed")
        assert "renewTime" not in spec or spec["acquireTime"] <= spec["renewTime"]


# 24.3 The exit code


@pytest.mark.parametrize(
    ("do", "code"), [("echo", 0), ("bug", 1), ("rate-limited", 1), ("hang", 124), ("stop-myself", 143)]
)
def test_the_exit_code_says_what_the_patch_says(tmp_path: Path, do: str, code: int) -> None:
    with serve(FakeStepRun()) as api:
        step = Step(api, tmp_path, do, BUBU_STEP_TIMEOUT="300ms" if do == "hang" else "30s")
    assert step.code == code
    assert step.status.get("exitCode", 0) == code
    assert component.work.name == "work"
