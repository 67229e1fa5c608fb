"""The wire contract, seen from outside: environment in, status patch out, exit code."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bobrapet.sdk import Cancelled, engram
from bobrapet.sdk.credentials import find_credentials
from bobrapet.sdk.interrupts import Handler, Interrupts
from bobrapet.sdk.memory_api import MemoryApi
from bobrapet.sdk.process import EXIT_NOT_A_STEP, run_step
from tests.unit.sdk import component
from tests.unit.sdk.fakes import ApiServer, FakeStepRun, kubeconfig, serve, step_environ

COMPONENT = Path(component.__file__)


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with serve(FakeStepRun()) as server:
        yield server


class Step:
    """One start of the component as a process."""

    def __init__(self, api: ApiServer, folder: Path, do: str, value: Any = None, **environ: str) -> None:
        (folder / "kubeconfig").write_text(kubeconfig(api.url))
        self.process = subprocess.run(
            [sys.executable, COMPONENT],
            env={
                **step_environ(BUBU_TRIGGER_DATA=json.dumps({"do": do, "value": value})),
                "KUBECONFIG": str(folder / "kubeconfig"),
                "PATH": "",
                **environ,
            },
            capture_output=True,
            text=True,
            timeout=90,
        )
        self.code = self.process.returncode
        self.status = api.step_run.status
        self.log = [json.loads(line) for line in self.process.stderr.splitlines()]


def test_success_is_one_read_and_one_patch_over_one_connection(api: ApiServer, tmp_path: Path) -> None:
    step = Step(api, tmp_path, "echo", 5, BUBU_STEP_CONFIG='{"a": 1}')
    assert step.code == 0
    assert step.status["phase"] == "Succeeded"
    assert step.status["output"] == {"value": 5, "config": {"a": 1}}
    path = "/apis/runs.bubustack.io/v1alpha1/namespaces/team-a/stepruns/run1-fetch"
    assert [request[:2] for request in api.requests] == [("GET", path), ("PATCH", path + "/status")]
    headers = api.requests[1][2]
    assert headers["Content-Type"] == "application/merge-patch+json"
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["User-Agent"].startswith("bobrapet-sdk-python/")


def test_nothing_returned_is_an_empty_output(api: ApiServer, tmp_path: Path) -> None:
    assert Step(api, tmp_path, "nothing").status["output"] == {}


def test_an_error_of_a_class_reaches_the_status_redacted(api: ApiServer, tmp_path: Path) -> None:
    step = Step(api, tmp_path, "rate-limited")
    assert step.code == 1
    assert step.status["exitClass"] == "rateLimited"
    assert step.status["error"]["details"] == {"retryAfterSeconds": 20}
    assert step.status["lastFailureMsg"] == "slow down, token=[REDACTED]"


def test_an_unknown_exception_is_terminal_and_its_traceback_is_in_the_log(api: ApiServer, tmp_path: Path) -> None:
    step = Step(api, tmp_path, "bug")
    assert (step.code, step.status["phase"], step.status["exitClass"]) == (1, "Failed", "terminal")
    assert step.status["error"]["message"] == "KeyError: 'missing'"
    assert "Traceback" in step.log[-1]["traceback"]


@pytest.mark.parametrize("kind", [{}, {"COMPONENT": "async"}])
def test_the_time_limit_ends_a_hanging_component(api: ApiServer, tmp_path: Path, kind: dict[str, str]) -> None:
    step = Step(api, tmp_path, "hang", BUBU_STEP_TIMEOUT="300ms", **kind)
    assert (step.code, step.status["phase"], step.status["exitClass"]) == (124, "Timeout", "retry")
    assert step.status["error"]["type"] == "timeout"


@pytest.mark.parametrize("kind", [{}, {"COMPONENT": "async"}])
def test_sigterm_cancels_and_another_attempt_makes_sense(api: ApiServer, tmp_path: Path, kind: dict[str, str]) -> None:
    step = Step(api, tmp_path, "stop-myself", **kind)
    assert (step.code, step.status["phase"], step.status["exitClass"]) == (143, "Failed", "retry")
    assert step.status["error"]["code"] == "CANCELED"


def test_an_interruption_before_a_coroutine_has_begun_ends_it_and_nothing_else_is_said() -> None:
    class Early(Interrupts):
        @contextmanager
        def delivered_to(self, handler: Handler) -> Iterator[None]:
            with super().delivered_to(handler):
                self.deliver(Cancelled("before there is a loop"))
                yield

    api, work = MemoryApi(), step_environ(BUBU_TRIGGER_DATA='{"do": "hang"}')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_step(component.async_work, work, connect=lambda: api, interrupts=lambda _: Early()) == 143
        gc.collect()
    assert api.step_run["status"]["error"]["code"] == "CANCELED"


def test_a_component_that_does_not_end_in_time_is_reported_all_the_same(api: ApiServer, tmp_path: Path) -> None:
    step = Step(api, tmp_path, "", COMPONENT="stubborn")
    assert (step.code, step.status["phase"]) == (124, "Timeout")
    assert "did not end in time" in step.log[-1]["msg"]


def test_a_component_can_clean_up_but_not_swallow_the_cancellation(api: ApiServer, tmp_path: Path) -> None:
    assert Step(api, tmp_path, "clean-up").log[0]["msg"] == "cleaned up"
    api.step_run.status = {"phase": "Running"}
    assert Step(api, tmp_path, "swallow").code == 143


def test_a_wrong_input_names_the_field(api: ApiServer, tmp_path: Path) -> None:
    step = Step(api, tmp_path, "echo", BUBU_TRIGGER_DATA='{"do": 1}')
    assert step.status["error"]["type"] == "validation_error"
    assert "input.do" in step.status["lastFailureMsg"]


def test_a_malformed_environment_is_reported_as_far_as_it_can_be(api: ApiServer, tmp_path: Path) -> None:
    step = Step(api, tmp_path, "echo", BUBU_TRIGGER_DATA="{")
    assert step.code == 1
    assert step.status["error"]["type"] == "initialization_error"
    assert "BUBU_TRIGGER_DATA" in step.status["lastFailureMsg"]


def test_an_output_that_the_server_refuses_for_its_size_fails_the_step(api: ApiServer, tmp_path: Path) -> None:
    api.refuse_patch = (422, "etcdserver: request is too large")
    step = Step(api, tmp_path, "echo", "x" * 1000)
    assert (step.code, step.status["phase"]) == (1, "Failed")
    assert step.status["error"]["code"] == "OUTPUT_TOO_LARGE"


def test_an_output_over_one_mebibyte_fails_the_step_with_its_size() -> None:
    @engram
    def large() -> dict[str, str]:
        return {"blob": "x" * (1 << 20)}

    api = MemoryApi()
    assert run_step(large, step_environ(), connect=lambda: api) == 1
    assert api.step_run["status"]["error"]["code"] == "OUTPUT_TOO_LARGE"


def test_a_success_that_cannot_be_reported_ends_with_a_code_of_class_retry(api: ApiServer, tmp_path: Path) -> None:
    step = Step(api, tmp_path, "echo", KUBECONFIG=str(tmp_path / "absent"))
    assert step.code == 200
    assert "could not be written" in step.log[-1]["msg"]


def test_a_terminal_failure_that_cannot_be_reported_stays_terminal(api: ApiServer, tmp_path: Path) -> None:
    assert Step(api, tmp_path, "bug", KUBECONFIG=str(tmp_path / "absent")).code == 1


@pytest.mark.spec("workloads-37")
def test_a_process_of_an_earlier_attempt_changes_nothing(tmp_path: Path) -> None:
    with serve(FakeStepRun({"phase": "Running", "retries": 1})) as api:
        step = Step(api, tmp_path, "echo")
    assert step.status == {"phase": "Running", "retries": 1}
    assert "dropped" in step.log[-1]["msg"]


def test_a_component_that_exits_by_itself_reports_nothing(api: ApiServer, tmp_path: Path) -> None:
    step = Step(api, tmp_path, "exit")
    assert step.code == 3
    assert api.requests == []


def test_log_lines_are_json_with_their_step_and_without_secrets(api: ApiServer, tmp_path: Path) -> None:
    secret = {"BUBU_SECRET_api": "env:API_", "API_token": "very-secret"}
    step = Step(api, tmp_path, "log", **secret)
    assert [line["msg"] for line in step.log] == ["secret is [REDACTED]", "from a library"]
    assert {line["steprun"] for line in step.log} == {"run1-fetch"}
    api.step_run.status = {"phase": "Running"}
    assert len(Step(api, tmp_path, "log", BUBU_DEBUG="true", **secret).log) == 3


def test_started_by_hand_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_step(component.work, {}) == EXIT_NOT_A_STEP
    assert "BUBU_STEPRUN_NAMESPACE is not set" in capsys.readouterr().err


def test_projected_credentials_are_found_under_the_pod_root(tmp_path: Path) -> None:
    account = tmp_path / "var/run/secrets/kubernetes.io/serviceaccount"
    account.mkdir(parents=True)
    (account / "token").write_text("projected\n")
    found = find_credentials(
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443", "BUBU_POD_ROOT": str(tmp_path)}
    )
    assert (found.host, found.port, found.token()) == ("10.0.0.1", 6443, "projected")
    (account / "token").write_text("renewed\n")
    assert found.token() == "renewed"


def test_importing_the_sdk_imports_neither_pydantic_nor_an_http_library() -> None:
    code = "import sys, bobrapet.sdk.process; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "urllib3", "http.client", "asyncio", "yaml", "logging"} & set(modules)
