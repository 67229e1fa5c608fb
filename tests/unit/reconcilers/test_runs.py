"""StoryRuns and StepRuns from start to end, on a cluster in memory and in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bobrapet.api import StepRun, StoryRun, labels
from bobrapet.config.operator import parse
from bobrapet.reconcilers.apply import PARALLEL_WRITES, merge_patch
from bobrapet.reconcilers.builtin import Job, Role, Secret, ServiceAccount
from bobrapet.reconcilers.identity import ForeignIdentity
from bobrapet.reconcilers.snapshots import run_snapshot
from bobrapet.reconcilers.storyrun import StoryRunReconciler
from bobrapet.reconcilers.waiting import Lines
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.errors import Conflict, ConnectionFailed, Forbidden, RequestEntityTooLarge
from bobrapet.runtime.reconcile import Request
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template
from tests.unit.reconcilers.world import World

SUCCESS = {"phase": "Succeeded", "exitClass": "success", "output": {"n": 1}}


def one_step(**inputs: Any) -> World:
    return World(template(), engram(), story(step("fetch"), output={"n": "{{ steps.fetch.outputs.n }}"}), storyrun())


async def succeed(world: World, name: str, **output: Any) -> None:
    """The component reports, and its Job ends."""
    await world.component_reports(name, **{**SUCCESS, "output": output or {"n": 1}})
    await world.job_ends(name, "Complete", exit_code=0)
    await world.settle()


@pytest.mark.spec("workloads-2")
async def test_a_step_becomes_one_job_of_its_name_owned_by_it() -> None:
    world = one_step()
    await world.settle()
    job, steprun = await world.job("run1-fetch"), await world.step("run1-fetch")
    assert job is not None
    (owner,) = job.metadata.owner_references or []
    assert (owner.uid, owner.controller) == (steprun.metadata.uid, True)
    assert steprun.status.phase == "Running"
    assert (await world.run()).status.phase == "Running"


async def test_a_run_succeeds_with_its_output() -> None:
    world = one_step()
    await world.settle()
    await succeed(world, "run1-fetch")
    run = await world.run()
    assert (run.status.phase, run.status.output) == ("Succeeded", {"n": 1})
    assert world.wake_at is None or world.wake_at > world.clock.now()


async def test_an_authoritative_look_finds_what_the_cache_does_not_show_yet() -> None:
    world = one_step()
    blind = dataclasses.replace(world.operator, client=World().client)  # the cache of an operator that just began
    run = await world.run()
    cached = await run_snapshot(blind, run)
    assert (cached.story, cached.engrams) == (None, {})
    found = await run_snapshot(blind, run, live=True)
    assert found.story is not None
    assert (list(found.engrams), list(found.templates)) == ([f"{NAMESPACE}/http"], ["http"])


async def test_a_one_step_run_costs_at_most_eight_writes_events_included() -> None:
    world = one_step()
    await world.settle()
    await succeed(world, "run1-fetch")
    await world.client.create(StoryRun.model_validate(storyrun("run2")))
    before = world.cost
    await world.settle()
    await succeed(world, "run2-fetch")
    assert (await world.run("run2")).status.phase == "Succeeded"
    cost = world.cost - before
    assert cost <= 8, world.writes[before:]


async def test_the_account_of_the_steps_is_made_once_per_story() -> None:
    world = one_step()
    await world.settle()
    await world.client.create(StoryRun.model_validate(storyrun("run2")))
    await world.settle()
    accounts = [write for write in world.writes if "serviceaccounts" in write or "roles" in write]
    assert len(accounts) == 2, accounts
    assert await world.client.get(ServiceAccount, ObjectKey(NAMESPACE, "etl-engram-runner"))
    job = await world.job("run2-fetch")
    assert job is not None
    assert job.get("spec", "template", "spec", "serviceAccountName") == "etl-engram-runner"


@pytest.mark.spec("workloads-35")
async def test_no_dependent_starts_before_the_output_was_checked() -> None:
    schema = {"type": "object", "required": ["body"]}
    world = World(template(outputSchema=schema), engram(), story(step("fetch"), step("next", "fetch")), storyrun())
    await world.settle()
    await succeed(world, "run1-fetch", wrong=True)
    assert (await world.step("run1-fetch")).status.phase == "Failed"
    assert await world.job("run1-next") is None
    assert (await world.run()).status.phase == "Failed"


async def test_the_second_step_reads_the_output_of_the_first() -> None:
    world = World(
        template(),
        engram(),
        story(step("fetch"), step("next", with_={"payload": "{{ steps.fetch.outputs.body }}"})),
        storyrun(),
    )
    await world.settle()
    await succeed(world, "run1-fetch", body='{"a": [1, "{{ not evaluated }}"]}')
    environment = await world.environment("run1-next")
    assert '"payload":"{\\"a\\": [1, \\"{{ not evaluated }}\\"]}"' in environment["BUBU_TRIGGER_DATA"]
    assert environment["BUBU_SKIP_INPUT_TEMPLATING"] == "true"


@pytest.mark.spec("workloads-23")
async def test_a_killed_component_is_retried_at_the_recorded_moment() -> None:
    world = World(
        template(),
        engram(),
        story(step("fetch", execution={"retry": {"maxRetries": 1, "delay": "5s", "backoff": "constant"}})),
        storyrun(),
    )
    await world.settle()
    await world.job_ends("run1-fetch", "Failed", exit_code=137)
    await world.settle()
    steprun = await world.step("run1-fetch")
    assert (steprun.status.phase, steprun.status.retries) == ("Pending", 1)
    assert await world.job("run1-fetch") is None
    assert world.wake_at is not None
    assert (world.wake_at - world.clock.now()).total_seconds() == pytest.approx(5, abs=0.01)
    await world.sleep(4.9)
    assert await world.job("run1-fetch") is None
    await world.sleep(0.2)
    assert (await world.environment("run1-fetch"))["BUBU_STEP_ATTEMPT"] == "1"


async def test_a_hung_step_times_out_exactly_and_its_job_goes() -> None:
    world = World(
        template(),
        engram(),
        story(step("fetch", execution={"timeout": "10s", "retry": {"maxRetries": 0}})),
        storyrun(),
    )
    await world.settle()
    await world.sleep(9.9)
    assert (await world.step("run1-fetch")).status.phase == "Running"
    await world.sleep(0.2)
    steprun = await world.step("run1-fetch")
    assert (steprun.status.phase, steprun.status.exit_code) == ("Timeout", 124)
    assert await world.job("run1-fetch") is None


@pytest.mark.spec("workloads-41")
async def test_a_job_deleted_by_hand_is_started_again() -> None:
    world = one_step()
    await world.settle()
    job = await world.job("run1-fetch")
    await world.client.delete(job)
    await world.settle()
    again = await world.job("run1-fetch")
    assert job is not None
    assert again is not None
    assert again.metadata.uid != job.metadata.uid
    assert (await world.step("run1-fetch")).metadata.annotations[labels.ANNOTATION_RESTART_COUNT] == "1"


async def test_a_run_whose_story_comes_later_starts_then() -> None:
    world = World(template(), engram(), storyrun())
    await world.settle()
    assert (await world.run()).status.phase == "Pending"
    await world.client.create(story(step("fetch")))
    await world.settle()
    assert await world.job("run1-fetch") is not None


async def test_a_cancelled_run_ends_with_its_jobs_gone() -> None:
    world = World(template(), engram(), story(step("fetch"), step("next", "fetch")), storyrun())
    await world.settle()
    await world.client.patch(await world.run(), merge_patch({"spec": {"cancelRequested": True}}))
    await world.settle()
    run = await world.run()
    assert run.status.phase == "Finished"
    assert run.status.step_states["next"].phase == "Skipped"
    assert (await world.client.list(Job)).items == []


async def test_a_deleted_run_takes_everything_with_it() -> None:
    world = one_step()
    await world.settle()
    await world.client.delete(await world.run())
    await world.settle()
    for kind in (StoryRun, StepRun, Job):
        assert (await world.client.list(kind)).items == []


async def test_inputs_over_32_kibibytes_travel_in_a_secret() -> None:
    world = World(
        template(),
        engram(),
        story(step("fetch"), step("next", with_={"payload": "{{ steps.fetch.outputs.body }}"})),
        storyrun(),
    )
    await world.settle()
    await succeed(world, "run1-fetch", body="x" * 40_000)
    assert (await world.environment("run1-next"))["BUBU_TRIGGER_DATA"] == ""
    secret = await world.client.get(Secret, ObjectKey(NAMESPACE, "run1-next-trigger-data"))
    assert "x" * 40_000 in secret.get("stringData", "triggerData")


@pytest.mark.spec("workloads-13")
async def test_a_job_that_the_api_server_finds_too_large_fails_the_step() -> None:
    world = one_step()

    def refuse(write: str) -> None:
        if write.startswith("POST") and write.endswith("/jobs"):
            raise RequestEntityTooLarge("too large")

    world.before = refuse
    await world.settle()
    steprun = await world.step("run1-fetch")
    (ready,) = (found for found in steprun.status.conditions if found.type == "Ready")
    assert (steprun.status.phase, ready.reason) == ("Failed", "InputTooLarge")


async def test_a_conflict_means_plan_again_and_nothing_else() -> None:
    world = one_step()
    conflicts = iter([True, False, True])

    def collide(write: str) -> None:
        if "/status" in write and next(conflicts, False):
            raise Conflict("somebody else wrote")

    world.before = collide
    await world.settle()
    assert (await world.step("run1-fetch")).status.phase == "Running"
    assert len((await world.client.list(Job)).items) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_any_single_lost_write_changes_nothing_about_the_end(when: str) -> None:
    """Every write may be repeated after "error, but it happened": each one in turn is lost once."""
    number, last = 0, False
    while not last:
        world = World(template(), engram(), story(step("fetch"), step("next", "fetch")), storyrun())
        lost = _lose(world, when, number)
        for name in ("run1-fetch", "run1-next"):
            await world.sleep(3)  # the engine gives a cache that may be late some seconds before it creates again
            await succeed(world, name)
        await world.sleep(3)
        run = await world.run()
        assert run.status.phase == "Succeeded", f"after losing write {number}: {world.writes}"
        jobs = [write for write in world.writes if write.startswith("POST") and write.endswith("/jobs")]
        assert len(jobs) <= 2 + len(lost), f"a step ran twice after losing write {number}"
        last, number = not lost, number + 1
    assert number > 8


def _lose(world: World, when: str, number: int) -> list[str]:
    lost: list[str] = []
    seen = iter(range(1_000))

    def lose(write: str) -> None:
        if next(seen) == number:
            lost.append(write)
            raise ConnectionFailed("the connection broke")

    setattr(world, when, lose)
    return lost


async def test_an_account_of_somebody_else_holds_the_run_up_and_an_event_says_why() -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "etl-engram-runner", "namespace": NAMESPACE},
    }
    world = World(template(), engram(), story(step("fetch")), storyrun(), foreign)
    with pytest.raises(ForeignIdentity):
        await world.settle()
    assert ("Warning", "IdentityRefused") in [(kind, reason) for kind, reason, _ in world.recorder.events]
    assert (await world.client.list(Job)).items == []


async def test_a_run_without_an_account_stands_in_nobodys_way() -> None:
    """It would be first in line for ever; instead it is tried again outside of the line."""
    foreign = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "etl-engram-runner", "namespace": NAMESPACE},
    }
    behind = storyrun("run2", "other")
    other = story(step("fetch"), name="other")
    world = World(
        template(), engram(), story(step("fetch")), other, storyrun("run1"), storyrun("run0", "other"), foreign
    )
    world.config = parse({"storyrun.global-concurrency": "1"}).config

    async def look_at(name: str) -> None:
        await world.storyruns.reconcile(Request(NAMESPACE, name))

    await look_at("run0")  # takes the slot
    await look_at("run1")  # stands in line
    lines = Lines(world.operator)
    assert await lines.first("any") == Request(NAMESPACE, "run1")
    await world.client.create(StoryRun.model_validate(behind))
    await look_at("run2")
    await world.client.delete(await world.step("run0-fetch"))
    with pytest.raises(ForeignIdentity):
        await look_at("run1")
    state = (await world.run("run1")).status.step_states["fetch"]
    assert (state.phase, state.reason) == ("Pending", "IdentityRefused")
    assert "etl-engram-runner" in (state.message or "")
    assert await lines.first("any") == Request(NAMESPACE, "run2")
    await look_at("run2")
    assert (await world.run("run2")).status.step_states["fetch"].phase == "Running"
    await world.client.delete(await world.step("run2-fetch"))
    with pytest.raises(ForeignIdentity):  # its back-off goes on
        await look_at("run1")
    await world.client.delete(await world.client.get(ServiceAccount, ObjectKey(NAMESPACE, "etl-engram-runner")))
    await look_at("run1")
    assert (await world.run("run1")).status.step_states["fetch"].phase == "Running"


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lost=st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=6), seed=st.integers(0, 3))
async def test_many_lost_writes_and_failing_attempts_end_as_a_calm_run_does(
    lost: list[tuple[int, bool]], seed: int
) -> None:
    """A diamond whose first step fails `seed` times: whatever writes are lost on the way, each step succeeds once."""
    retry = {"retry": {"maxRetries": 3, "delay": "1s", "backoff": "constant"}}
    world = World(
        template(),
        engram(),
        story(step("a", execution=retry), step("b", "a"), step("c", "a"), step("d", "b", "c")),
        storyrun(),
    )
    seen = count()
    before = {number for number, happened in lost if not happened}
    after = {number for number, happened in lost if happened}
    current = -1

    def lose_before(write: str) -> None:
        nonlocal current
        current = next(seen)
        if current in before:
            raise ConnectionFailed("refused")

    def lose_after(write: str) -> None:
        if current in after:
            raise ConnectionFailed("the answer was lost")

    world.before, world.after = lose_before, lose_after
    for attempt in range(seed):
        await world.sleep(3)
        await world.component_reports("run1-a", phase="Failed", exitClass="retry", lastFailureMsg=f"try {attempt}")
        await world.settle()
    for name in ("run1-a", "run1-b", "run1-c", "run1-d"):
        await world.sleep(4)
        assert (await world.environment(name))["BUBU_STEP_ATTEMPT"] == (str(seed) if name == "run1-a" else "0")
        await succeed(world, name)
    await world.sleep(4)
    run = await world.run()
    assert run.status.phase == "Succeeded"
    assert run.status.completed == ["a", "b", "c", "d"]
    assert (await world.step("run1-a")).status.retries == seed


async def test_a_job_that_a_quota_refuses_is_told_in_status_and_event_and_tried_again() -> None:
    world = one_step()

    def refuse(write: str) -> None:
        if write.startswith("POST") and write.endswith("/jobs"):
            raise Forbidden("exceeded quota: pods")

    world.before = refuse
    for _ in range(5):
        with pytest.raises(Forbidden):
            await world.settle()
    assert ("Warning", "JobCreateFailed", "exceeded quota: pods") in world.recorder.events
    waiting = (await world.step("run1-fetch")).status
    assert (waiting.phase, waiting.conditions[0].reason) == ("Pending", "JobCreateFailed")
    assert waiting.conditions[0].message == "exceeded quota: pods"
    world.before = lambda write: None
    await world.settle()
    assert await world.job("run1-fetch") is not None
    step = await world.step("run1-fetch")
    assert step.status.phase == "Running"
    assert labels.ANNOTATION_RESTART_COUNT not in step.metadata.annotations, "refusals never use up the restarts"


async def test_a_job_that_is_refused_for_longer_than_the_timeout_of_its_step_fails_it_with_the_refusal() -> None:
    world = World(template(), engram(), story(step("fetch", execution={"timeout": "1m"})), storyrun())

    def refuse(write: str) -> None:
        if write.startswith("POST") and write.endswith("/jobs"):
            raise Forbidden("exceeded quota: pods")

    world.before = refuse
    with pytest.raises(Forbidden):
        await world.settle()
    await world.clock.advance(60)
    await world.settle()
    failed = (await world.step("run1-fetch")).status
    assert (failed.phase, failed.conditions[0].reason) == ("Failed", "JobCreateFailed")
    assert failed.last_failure_msg == "exceeded quota: pods"


@pytest.mark.spec("workloads-12")
async def test_a_missing_tls_secret_keeps_the_step_pending_without_a_job_until_it_is_there() -> None:
    found = engram()
    found["metadata"]["annotations"] = {"engram.bubustack.io/tls-secret": "certificates"}
    world = World(template(), found, story(step("fetch")), storyrun())
    await world.settle()
    await world.sleep(20)
    waiting = (await world.step("run1-fetch")).status
    assert (waiting.phase, waiting.conditions[0].reason) == ("Pending", "SecretNotFound")
    assert "certificates" in waiting.conditions[0].message
    assert await world.job("run1-fetch") is None
    assert [reason for _, reason, _ in world.recorder.events].count("SecretNotFound") == 1
    assert world.wake_at is not None
    pause = (world.wake_at - world.clock.now()).total_seconds()
    assert 5 < pause <= 20, "the longer it is missing, the longer the pause"
    await world.client.create(Secret({"metadata": {"name": "certificates", "namespace": NAMESPACE}}))
    await world.sleep(21)
    assert (await world.step("run1-fetch")).status.phase == "Running"
    assert (await world.environment("run1-fetch"))["BUBU_GRPC_REQUIRE_TLS"] == "true"


async def test_a_tls_secret_that_never_comes_fails_the_step_after_its_timeout() -> None:
    found = engram(transport={"tls": {"secretRef": {"name": "certificates"}}})
    world = World(template(), found, story(step("fetch", execution={"timeout": "1m"})), storyrun())
    await world.sleep(61)
    failed = (await world.step("run1-fetch")).status
    assert (failed.phase, failed.conditions[0].reason) == ("Failed", "SecretNotFound")


@pytest.mark.spec("workloads-13")
async def test_a_job_that_is_too_large_fails_with_an_event_that_names_the_size_of_the_context() -> None:
    world = one_step()

    def refuse(write: str) -> None:
        if write.startswith("POST") and write.endswith("/jobs"):
            raise RequestEntityTooLarge("limit is 3145728")

    world.before = refuse
    await world.settle()
    failed = (await world.step("run1-fetch")).status
    assert (failed.phase, failed.conditions[0].reason) == ("Failed", "InputTooLarge")
    (note,) = [note for _, reason, note in world.recorder.events if reason == "JobCreateTooLarge"]
    size = len('{"inputs":{},"steps":{}}')
    assert f"template context has {size} bytes" in note


async def test_a_run_that_vanishes_in_the_middle_of_a_pass_is_no_error() -> None:
    world = one_step()

    def vanish(write: str) -> None:
        if "/storyruns/run1/status" in write:
            world.before = lambda write: None
            world.forget("storyruns", "run1")

    world.before = vanish
    await world.settle()
    assert (await world.client.list(StepRun)).items == []


async def test_a_wide_fan_out_creates_its_steps_side_by_side_and_never_more_than_the_bound() -> None:
    world = World(template(), engram(), story(*(step(f"s{n:03}") for n in range(200))), storyrun())
    client = world.operator.client
    now = most = 0

    class Slow:
        """A client whose creations take a moment, as over a network."""

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        async def create(self, obj: Any, **options: Any) -> Any:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            try:
                return await client.create(obj, **options)
            finally:
                now -= 1

    slow: Any = Slow()
    reconciler = StoryRunReconciler(dataclasses.replace(world.operator, client=slow), world.recorder)
    await reconciler.reconcile(Request(NAMESPACE, "run1"))
    assert len((await world.client.list(StepRun)).items) == 200
    assert most == PARALLEL_WRITES


async def test_b15_the_rights_that_a_branch_asks_for_are_granted_and_looked_at_only_when_something_starts() -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    special = template("special", execution={"rbac": {"rules": rules}})
    parallel = {"name": "p", "type": "parallel", "with": {"steps": [{"name": "b", "ref": {"name": "special"}}]}}
    world = World(template(), special, engram(), engram("special"), story(step("fetch"), parallel), storyrun())
    await world.settle()
    role = await world.client.get(Role, ObjectKey(NAMESPACE, "etl-engram-runner"))
    assert rules[0] in role.get("rules")
    await world.client.delete(role)
    await succeed(world, "run1-fetch")
    writes = [write for write in world.writes if "roles" in write]
    assert len(writes) == 1, "nothing starts, so nobody looks at rights"


async def test_a_name_that_is_taken_is_looked_at_again_although_nothing_else_happens() -> None:
    foreign = StepRun.model_validate(
        {
            "metadata": {"name": "run1-fetch", "namespace": NAMESPACE, "uid": "u", "generation": 1},
            "spec": {"storyRunRef": {"name": "somebody"}, "stepId": "x", "engramRef": {"name": "http"}},
        }
    )
    world = World(template(), engram(), story(step("fetch")), storyrun(), foreign)
    request = Request(NAMESPACE, "run1")
    first = await world.storyruns.reconcile(request)
    assert 0 < first.requeue_after < 0.1
    second = await world.storyruns.reconcile(request)
    assert 0 < second.requeue_after <= 2
    await world.clock.advance(second.requeue_after)
    await world.storyruns.reconcile(request)
    run = await world.run()
    assert (run.status.phase, run.status.step_states["fetch"].reason) == ("Failed", "ChildStepRunDrift")


async def test_what_a_step_puts_out_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    loud = parse({"debug.enable-verbose-logging": "true", "debug.enable-step-output-logging": "true"}).config
    found = World(template(), engram(), story(step("fetch")), storyrun(), config=loud)
    with caplog.at_level(0):
        await found.settle()
        await found.component_reports("run1-fetch", phase="Succeeded", output={"token": "hunter2"})
        await found.settle()
    assert caplog.records, "nothing is logged, so this says nothing"
    assert "hunter2" not in caplog.text
    assert not [record for record in caplog.records if "hunter2" in repr(vars(record))]
