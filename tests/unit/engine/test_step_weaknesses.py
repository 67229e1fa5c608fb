"""Regressions for the weaknesses of the Go operator around steps (spec workloads 27), by their numbers.

Those that another test proves already are in `PROVEN`, with that test; the rest are tested here.
"""

from __future__ import annotations

import ast
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from bobrapet.config.policy import resolve
from bobrapet.engine.steprun.observed import attempt_of, pod_of
from tests.unit.engine.world import MINUTE, SECOND, World, engram, step, story, template

TESTS: Final = Path(__file__).resolve().parents[2]

PROVEN: Final[dict[int, tuple[str, str] | str]] = {
    1: ("unit/engine/test_steprun.py", "test_an_output_that_violates_its_schema_fails_the_step_before_anybody_sees_it"),
    2: ("behaviour/test_component_rights.py", "test_a_component_can_do_nothing_else"),
    3: ("unit/engine/test_steprun.py", "test_a_job_that_may_start_more_pods_is_judged_by_its_condition_only"),
    4: ("unit/engine/test_steprun.py", "test_a_job_over_its_deadline_is_a_timeout"),
    5: ("unit/engine/test_steprun.py", "test_nothing_of_an_attempt_leaks_into_the_next"),
    6: (
        "unit/engine/test_steprun.py",
        "test_the_pod_of_a_later_attempt_is_named_so_that_those_of_earlier_ones_stop_talking",
    ),
    7: "workloads-38",
    11: ("unit/config/test_policy.py", "test_the_step_beats_the_story_for_storage_too"),
    12: ("unit/config/test_policy.py", "test_a_restart_policy_that_no_job_can_have_is_a_problem"),
    13: ("unit/config/test_policy.py", "test_a_weaker_security_setting_is_honoured_but_an_impossible_one_is_a_problem"),
    14: ("unit/workloads/test_job.py", "test_large_inputs_travel_in_a_secret_that_the_steprun_owns"),
    15: ("unit/workloads/test_job.py", "test_a_template_context_that_no_environment_holds_is_cut_part_by_part"),
    16: ("behaviour/test_step_inputs.py", "test_hostile_text_passes_through_two_steps_unevaluated"),
    17: ("unit/workloads/test_job.py", "test_two_builds_are_byte_identical_whatever_the_order_of_maps"),
    19: ("unit/workloads/test_job.py", "test_storage_credentials_come_under_both_families_of_names"),
    22: ("unit/config/test_operator.py", "test_a_key_sets_its_field_and_its_source_is_known"),
    23: ("unit/reconcilers/test_step_cache.py", "test_an_entry_of_a_versioned_engram_is_found_by_the_next_run"),
    30: ("unit/engine/test_defects.py", "test_b49_a_steprun_is_never_patched_back_to_an_unmerged_retry_policy"),
    31: "workloads-52",
    32: "workloads-55",
    37: "workloads-59",
    38: (
        "unit/reconcilers/test_definitions.py",
        "test_an_engram_counts_its_stories_and_executions_and_never_counts_down",
    ),
    39: ("unit/engine/test_steprun.py", "test_a_rate_limited_component_decides_the_least_delay"),
    40: ("unit/engine/test_retry.py", "test_the_three_strategies_and_the_cap"),
    41: ("unit/engine/test_steprun.py", "test_a_lost_job_is_started_again_but_not_for_ever"),
    46: ("unit/engine/test_steprun.py", "test_a_missing_engram_is_told_in_an_event_once"),
    47: ("unit/engine/test_steprun.py", "test_a_retry_waits_for_the_earlier_job_and_its_pods_to_go"),
    49: ("unit/engine/test_dag.py", "test_a_steprun_is_complete_when_it_is_created"),
    51: ("unit/engine/test_steprun.py", "test_an_output_that_is_too_large_is_refused"),
}
"""Number of the weakness -> file and name of the test, or the case that its test is marked with; it must exist."""

LATER: Final = {
    24: "hybrid steps",
    25: "downstream targets",
    26: "realtime",
    27: "realtime",
    28: "realtime",
    29: "realtime",
    33: "impulses",
    34: "impulses",
    35: "impulses",
    36: "impulses",
    48: "downstream targets",
}
"""What belongs to streaming and impulses, which are not built yet."""

HERE: Final = {8, 9, 10, 18, 20, 21, 42, 43, 44, 45, 50}


def test_every_weakness_is_answered() -> None:
    assert sorted([*PROVEN, *LATER, *HERE]) == list(range(1, 52))


@pytest.mark.parametrize("number", sorted(PROVEN))
def test_the_test_that_answers_a_weakness_exists(number: int) -> None:
    match PROVEN[number]:
        case (file, name):
            assert name in _tests_of(TESTS / file)
        case str(case):
            assert f'"{case}"' in _marked_cases()


@cache
def _marked_cases() -> str:
    """All markers of all tests."""
    lines = (line for file in TESTS.rglob("test_*.py") for line in file.read_text().splitlines())
    return "\n".join(line for line in lines if "mark.spec(" in line)


@cache
def _tests_of(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def started(*steps: Any, retry: dict[str, Any] | None = None, **more: Any) -> World:
    execution = {"retry": retry or {"maxRetries": 0}}
    world = World(story(*(steps or (step("a", execution=execution),))), **more)
    world.reconcile()
    world.reconcile_step("a")
    return world


def test_w8_a_decision_is_one_patch_so_that_no_crash_can_halve_it() -> None:
    world = started(retry={"maxRetries": 1, "delay": "10s"})
    found = world.plan_step("a", pods=[world.pod("a", exit_code=137)])
    assert found.metadata is None
    assert found.status is not None
    status = found.status["status"]
    assert (status["phase"], status["retries"], bool(status["nextRetryAt"])) == ("Pending", 1, True)


@pytest.mark.parametrize(
    ("more", "timeout"),
    [
        ({"template_": template(execution={"timeout": "7s"})}, 7),
        ({"template_": template(execution={"timeout": "7s"}), "engram_": engram(overrides={"timeout": "6s"})}, 6),
    ],
)
def test_w9_the_timeouts_of_template_and_engram_count_for_jobs(more: dict[str, Any], timeout: int) -> None:
    world = started(step("a", execution={"retry": {"maxRetries": 0}}), **more)
    assert world.plan_step("a").wake_at == world.now + timeout * SECOND


@pytest.mark.parametrize("block", ["compensations", "finally_"])
def test_w10_overrides_of_compensations_and_final_steps_count(block: str) -> None:
    late = step("k", execution={"timeout": "3s", "debug": True}, secrets={"api": "s"})
    world = World(story("a", **{block: [late]}))
    world.reconcile()
    world.end("a", "Failed", "no").reconcile()
    found = world.plan_step("k")
    assert found.start is not None
    assert (found.start.policy.timeout.value, found.start.policy.debug.value) == (3 * SECOND, True)
    assert found.start.secrets == {"api": "s"}


def test_w18_keys_of_a_secret_are_symbolic_links_as_a_kubelet_makes_them(tmp_path: Path) -> None:
    from bobrapet.sdk.secrets import expand_secrets

    data = tmp_path / "..2026_01_01"
    data.mkdir()
    (data / "token").write_text("t0ken\n")
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "token").symlink_to("..data/token")
    secrets = expand_secrets({"BUBU_SECRET_api": f"file:{tmp_path}"})
    assert dict(secrets["api"]) == {"token": "t0ken"}


def test_w20_a_file_store_that_ends_with_its_pod_is_told() -> None:
    world = started(step("a"), template_=template(execution={"storage": {"file": {"mountPath": "/data"}}}))
    assert ("Warning", "EphemeralStorage") in world.events
    lasting = {"storage": {"file": {"mountPath": "/data", "volumeClaimName": "claim"}}}
    assert ("Warning", "EphemeralStorage") not in started(step("a"), template_=template(execution=lasting)).events


def test_w21_inputs_that_the_controller_stores_lie_under_their_namespace() -> None:
    from bobrapet.storage import input_prefix

    assert input_prefix("team-a", "run1-fetch") != input_prefix("team-b", "run1-fetch")


def pod(name: str, code: int, finished: str, *, created: str = "2026-01-01T10:00:00Z", sidecar: int = 0) -> Any:
    def ended(container: str, exit_code: int) -> dict[str, Any]:
        return {"name": container, "state": {"terminated": {"exitCode": exit_code, "finishedAt": finished}}}

    return {
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "labels": {"batch.kubernetes.io/controller-uid": "j"},
        },
        "status": {"phase": "Failed", "containerStatuses": [ended("sidecar", sidecar), ended("engram", code)]},
    }


FAILED_JOB = {"metadata": {"uid": "j"}, "status": {"conditions": [{"type": "Failed", "status": "True"}]}}


@pytest.mark.parametrize("turned", [False, True])
def test_w42_the_pod_that_ended_last_tells_the_exit_code_whatever_the_order_of_the_list(turned: bool) -> None:
    pods = [pod("b", 1, "2026-01-01T10:00:09Z"), pod("a", 137, "2026-01-01T10:00:05Z")]
    found = attempt_of(FAILED_JOB, [pod_of(raw) for raw in (reversed(pods) if turned else pods)]).exit()
    assert found is not None
    assert found.code == 1


def test_w43_only_the_container_of_the_component_is_judged() -> None:
    found = attempt_of(FAILED_JOB, [pod_of(pod("a", 124, "2026-01-01T10:00:05Z", sidecar=9))]).exit()
    assert found is not None
    assert found.code == 124


def test_an_evicted_pod_tells_why_although_no_container_of_it_ended() -> None:
    evicted = pod("a", 0, "")
    evicted["status"] = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    found = attempt_of(FAILED_JOB, [pod_of(evicted)]).exit()
    assert found is not None
    assert (found.code, found.message) == (-1, "Evicted: The node was low on resource: memory.")


def test_a_component_that_ran_out_of_memory_says_which_field_to_raise() -> None:
    killed = pod("a", 137, "2026-01-01T10:00:05Z")
    killed["status"]["containerStatuses"][1]["state"]["terminated"]["reason"] = "OOMKilled"
    found = attempt_of(FAILED_JOB, [pod_of(killed)]).exit()
    assert found is not None
    assert found.message == (
        "OOMKilled: it used more memory than its limit; raise spec.executionPolicy.resources.memoryLimit of the Engram"
    )


def test_the_exit_code_of_a_container_that_is_restarted_in_place_is_that_of_its_last_end() -> None:
    restarted = pod("a", 0, "")
    ended = {"terminated": {"exitCode": 3, "finishedAt": "2026-01-01T10:00:05Z"}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    restarted["status"] = {
        "phase": "Running",
        "containerStatuses": [{"name": "engram", "state": waiting, "lastState": ended}],
    }
    found = attempt_of(FAILED_JOB, [pod_of(restarted)]).exit()
    assert found is not None
    assert found.code == 3


def test_w44_messages_are_cut_to_what_the_crd_takes() -> None:
    world = started()
    world.report("a", "Failed", exitClass="terminal", lastFailureMsg="é" * 20_000).reconcile_step("a")
    status = world.steps["r1-a"].status
    assert len((status.last_failure_msg or "").encode()) <= 8192
    assert max(len(condition.message) for condition in status.conditions) <= 2048


def test_w45_names_are_ascii_whatever_the_alphabet_of_the_step() -> None:
    from bobrapet.api.names import compose, label

    for text in ("straße", "größe", "ſtep", "𝓼tep", "шаг"):
        assert compose("run", text).isascii()
        assert label(text).isascii()


def test_w50_a_stage_that_fails_leaves_the_others_of_its_layer() -> None:
    overrides = {
        "security": {"runAsUser": 0},
        "timeout": "nonsense",
        "imagePullPolicy": "Always",
        "placement": {"nodeSelector": {"disk": "fast"}},
        "cache": {"salt": "s"},
    }
    policy = resolve(World(story("a")).config, engram=engram(overrides=overrides))
    assert policy.problems
    assert policy.image_pull_policy.value == "Always"
    assert {key: found.value for key, found in policy.node_selector.items()} == {"disk": "fast"}
    assert policy.cache.value is not None
    assert policy.timeout.value > timedelta(0)


def test_the_timeout_of_a_story_bounds_its_steps_in_the_order_of_the_layers() -> None:
    world = started(step("a"), template_=template(execution={"timeout": "7s"}))
    world.stories["wf/s"] = story(step("a"), policy={"timeouts": {"step": "2m"}})
    assert world.plan_step("a").wake_at == world.now + 2 * MINUTE
