"""A side effect happens once, whatever happens to the processes that make it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from bobrapet.sdk import Context, EffectLost, RetryError, engram
from bobrapet.sdk.effects import LEASE, Effect, EffectHeld, claim_name, effect_key
from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.lease import Renewal
from bobrapet.sdk.link import Link
from bobrapet.sdk.log import Log
from bobrapet.sdk.memory_api import MemoryApi
from bobrapet.sdk.step_run_api import Refused
from bobrapet.sdk.testkit import Operator

STEP = StepIdentity(namespace="team-a", step_run="run1-pay", story_run="run1", step="pay")


NAMES = {"namespace": "test", "step_run": "run-1-step", "story_run": "run-1", "step": "step"}


class Gateway:
    """What a component charges; counts, and can be told to misbehave after the money has moved."""

    def __init__(self, *after: Callable[[], Any]) -> None:
        self.charges: list[str] = []
        self.after = list(after)

    def charge(self, key: str) -> str:
        self.charges.append(key)
        if self.after:
            self.after.pop(0)()
        return f"payment-{len(self.charges)}"


def component(gateway: Gateway, after: Callable[[Context[Any]], None] = lambda _: None) -> Any:
    @engram
    def pay(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
        with ctx.effect("charge", input["order"]) as charge:
            charge.record(payment=gateway.charge(charge.idempotency_key), doubt=charge.in_doubt)
        after(ctx)
        return dict(charge.details)

    return pay


def fail_once(*errors: Exception) -> Callable[[Any], None]:
    left = list(errors)

    def fail(_: Any) -> None:
        if left:
            raise left.pop(0)

    return fail


def test_a_completed_effect_is_not_repeated_by_the_next_attempt_which_finds_its_details() -> None:
    gateway = Gateway()
    operator = Operator(max_retries=2)
    run = operator.run(component(gateway, fail_once(RetryError("later"), RetryError("later"))), {"order": "o1"})
    assert (run.phase, len(run.attempts)) == ("Succeeded", 3)
    assert run.output == {"payment": "payment-1", "doubt": False}
    assert gateway.charges == ["ns/test/storyrun/run-1/step/step/effect/charge:o1"]


def test_the_record_and_the_claim_say_what_happened() -> None:
    run = Operator().run(component(Gateway()), {"order": "o1"})
    record = run.effects["charge:o1"]
    assert record.keys() == {"seq", "key", "status", "emittedAt", "details"}
    assert (record["seq"], record["status"], record["details"]["payment"]) == (1, "succeeded", "payment-1")
    claim = run.claims["charge:o1"]
    assert claim["completionStatus"] == "completed"
    assert claim["completedAt"]
    assert claim["details"]["payment"] == "payment-1"
    assert claim["stepRunRef"] == {"name": "run-1-step", "uid": "uid-of-run-1-step"}
    assert claim["idempotencyKey"] == "ns/test/storyrun/run-1/step/step", "the step's, as every SDK writes it"
    assert claim["holderIdentity"].startswith("test:run-1-step:charge:o1:")
    assert claim["leaseDurationSeconds"] == LEASE


def test_a_failed_block_releases_the_claim_and_is_run_again() -> None:
    gateway = Gateway(lambda: (_ for _ in ()).throw(RetryError("gateway is busy")))
    operator = Operator(max_retries=1)
    run = operator.run(component(gateway), {"order": "o1"})
    assert run.phase == "Succeeded"
    assert len(gateway.charges) == 2, "nothing is known to have happened the first time"
    assert len(set(gateway.charges)) == 1, "the other side can tell"
    assert run.claims["charge:o1"]["leaseTransitions"] == 1
    assert run.output["doubt"] is False


def test_a_process_that_dies_inside_the_block_leaves_it_in_doubt_for_the_one_after_its_lease() -> None:
    operator = Operator(max_retries=3)
    gateway = Gateway(operator.kill)
    began = time.time()
    run = operator.run(component(gateway), {"order": "o1"})
    passed = time.time() - began
    assert [attempt.exit_code for attempt in run.attempts] == [137, 1, 0]
    assert run.attempts[1].exit_class == "rateLimited"
    assert "is held by" in run.attempts[1].message
    assert run.attempts[2].delay >= LEASE - 2 - passed, "the retry waits for the lease, not for its back-off"
    assert run.output == {"payment": "payment-2", "doubt": True}
    assert any("in doubt" in line["msg"] for line in run.logs)


@pytest.mark.parametrize("when", ["update effectclaims", "patch stepruns"])
def test_a_process_that_dies_after_the_effect_was_completed_does_not_repeat_it(when: str) -> None:
    """The claim is written first: it is the authority, the record follows."""
    operator, gateway = Operator(max_retries=3), Gateway()
    operator.kill_at(when, answered=when.startswith("update"))
    run = operator.run(component(gateway), {"order": "o1"})
    assert run.phase == "Succeeded"
    assert len(gateway.charges) == 1
    assert run.output["payment"] == "payment-1"
    assert run.effects["charge:o1"]["details"]["payment"] == "payment-1", "the later attempt wrote the record"


def test_an_answer_that_is_lost_after_the_claim_was_written_changes_nothing() -> None:
    for lost in ("create effectclaims", "update effectclaims", "patch stepruns"):
        operator, gateway = Operator(max_retries=3), Gateway()
        operator.lose(lost, answered=True)
        run = operator.run(component(gateway), {"order": "o1"})
        assert (run.phase, len(gateway.charges)) == ("Succeeded", 1), lost


def test_two_effects_and_two_keys_are_told_apart() -> None:
    @engram
    def several(ctx: Context) -> dict[str, Any]:
        done = []
        for name, key in (("charge", "a"), ("charge", "b"), ("mail", None), ("charge", "a")):
            with ctx.effect(name, key):
                done.append((name, key))
        return {"done": done}

    run = Operator().run(several)
    assert run.output["done"] == [["charge", "a"], ["charge", "b"], ["mail", None]]
    assert [run.effects[key]["seq"] for key in ("charge:a", "charge:b", "mail")] == [1, 2, 3]


def test_an_asynchronous_component_has_them_too() -> None:
    charged = []

    @engram
    async def pay(ctx: Context) -> dict[str, Any]:
        async with ctx.effect("charge") as charge:
            charged.append(1)
            charge.record(n=len(charged))
        if ctx.attempt == 1:
            raise RetryError("later")
        return dict(charge.details)

    run = Operator(max_retries=1).run(pay)
    assert (run.output, charged) == ({"n": 1}, [1])


@pytest.mark.parametrize("code", [403, 404])
def test_a_cluster_without_claims_still_has_the_record(code: int) -> None:
    operator, gateway = Operator(max_retries=1), Gateway()
    operator.refuse(lambda call: call.kind == "effectclaims", code, times=99)
    run = operator.run(component(gateway, fail_once(RetryError("later"))), {"order": "o1"})
    assert (run.phase, len(gateway.charges)) == ("Succeeded", 1)
    assert run.claims == {}
    assert any(line["msg"] == "effect without a claim" for line in run.logs)


def test_an_effect_that_could_neither_be_claimed_nor_recorded_fails_the_step() -> None:
    operator, gateway = Operator(), Gateway()
    operator.refuse(lambda call: call.kind == "effectclaims", 403, times=99)
    operator.refuse(lambda call: "effects" in call.body.get("status", {}), 422, times=99)
    run = operator.run(component(gateway), {"order": "o1"})
    assert (run.phase, run.error["exitClass"]) == ("Failed", "retry")
    assert "could not be recorded" in run.error["message"]


def test_the_older_shape_of_the_record_is_read() -> None:
    operator, gateway = Operator(), Gateway()
    old = {"seq": 1, "name": "charge:o1", "committedAt": "2026-01-01T00:00:00Z", "metadata": {"payment": "old"}}
    operator.interfere("get stepruns", lambda server: server.patch_status({"status": {"effects": [old]}}))
    assert operator.run(component(gateway), {"order": "o1"}).output == {"payment": "old"}
    assert gateway.charges == []


@pytest.mark.parametrize(
    ("when", "code"), [("update effectclaims", 503), ("update effectclaims", 429), ("patch stepruns", 500)]
)
def test_a_busy_api_server_is_asked_again_in_the_same_attempt(when: str, code: int) -> None:
    operator, gateway = Operator(), Gateway()
    operator.refuse(when, code)
    run = operator.run(component(gateway), {"order": "o1"})
    assert (run.phase, len(gateway.charges)) == ("Succeeded", 1)
    assert run.claims["charge:o1"]["completionStatus"] == "completed"


def test_an_answer_that_is_lost_while_the_claim_is_read_again_forgets_nothing() -> None:
    """The controller wrote the claim, and then the connection broke: the effect happened, so it is completed."""

    def controller(server: MemoryApi) -> None:
        (claim,) = server.claims.values()
        server.update_claim({**claim, "status": {"phase": "Reserved"}})
        operator.lose("get effectclaims")

    operator, gateway = Operator(max_retries=2), Gateway()
    operator.interfere("update effectclaims", controller)
    run = operator.run(component(gateway), {"order": "o1"})
    assert (run.phase, len(run.attempts), len(gateway.charges)) == ("Succeeded", 1, 1)
    assert run.claims["charge:o1"]["completionStatus"] == "completed"


def test_a_claim_that_stays_out_of_reach_fails_the_step_before_anything_happens() -> None:
    operator, gateway = Operator(), Gateway()
    operator.refuse("get effectclaims", 500, times=99)
    run = operator.run(component(gateway), {"order": "o1"})
    assert (run.error["code"], run.error["exitClass"], gateway.charges) == ("EFFECT_UNAVAILABLE", "retry", [])


def test_whoever_comes_second_to_a_free_claim_looks_again() -> None:
    """The claim was made, or taken, between looking and writing."""

    def first(server: MemoryApi) -> None:
        other = Effect("charge:o1", Link(lambda: server, StepIdentity(**NAMES)), log=Log())
        other.__enter__()

    operator, gateway = Operator(), Gateway()
    operator.interfere("create effectclaims", first)
    run = operator.run(component(gateway), {"order": "o1"})
    assert (run.error["code"], gateway.charges) == ("EFFECT_HELD", [])


def test_a_step_that_was_deleted_and_its_claim_with_it_loses_the_effect() -> None:
    api = MemoryApi(STEP)
    inside = effect(api, lease=0.06, on_lost=(lost := []).append)
    inside.__enter__()
    api.claims.clear()
    assert _until(lambda: bool(lost))
    with pytest.raises(RetryError, match="took its claim over"):
        inside.__exit__(None, None, None)


def test_details_over_the_limit_are_told_by_size_and_digest() -> None:
    @engram
    def pay(ctx: Context) -> None:
        with ctx.effect("charge") as charge:
            charge.record(receipt="x" * 9000)

    run = Operator().run(pay)
    details = run.effects["charge"]["details"]
    assert (details["type"], details["redacted"]) == ("map", True)
    assert details["sizeBytes"] > 9000
    run = Operator().run(pay, environ={"BUBU_EFFECT_MAX_DETAILS_BYTES": "20000"})
    assert len(run.effects["charge"]["details"]["receipt"]) == 9000


def test_the_controllers_own_writes_to_a_claim_do_not_take_it_away() -> None:
    def owner_reference(server: MemoryApi) -> None:
        (claim,) = server.claims.values()
        server.update_claim({**claim, "status": {"phase": "Reserved"}})

    operator, gateway = Operator(), Gateway()
    operator.interfere("update effectclaims", owner_reference)
    run = operator.run(component(gateway), {"order": "o1"})
    assert run.claims["charge:o1"]["completionStatus"] == "completed"
    assert len([call for call in run.calls if str(call) == "update effectclaims"]) == 2


def test_an_interruption_on_the_way_in_gives_the_claim_back_without_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the claim and the block: `__exit__` is not called for a block that never began."""
    operator, gateway = Operator(max_retries=1), Gateway()
    with monkeypatch.context() as patch:
        patch.setattr(Renewal, "start", lambda _: (patch.undo(), operator.cancel()))
        run = operator.run(component(gateway), {"order": "o1"})
    assert [attempt.exit_code for attempt in run.attempts] == [143, 0]
    assert run.attempts[1].delay < LEASE, "nobody waited for the lease"
    assert run.output == {"payment": "payment-1", "doubt": False}


def test_an_interruption_inside_the_block_leaves_it_in_doubt_without_a_wait() -> None:
    operator = Operator(max_retries=2)
    gateway = Gateway(operator.cancel)
    run = operator.run(component(gateway), {"order": "o1"})
    assert [attempt.exit_code for attempt in run.attempts] == [143, 0]
    assert run.output == {"payment": "payment-2", "doubt": True}


def test_an_operator_that_admits_no_release_lets_the_lease_run_out_at_once_instead() -> None:
    """The Go operator's webhook wants completedAt with `released`, and refuses to have it taken away again."""
    operator = Operator(max_retries=2)
    gateway = Gateway(lambda: (_ for _ in ()).throw(RetryError("gateway is busy")))
    released = lambda call: call.body.get("spec", {}).get("completionStatus") == "released"  # noqa: E731
    operator.refuse(released, 422, "completedAt is required with completionStatus", times=9)
    run = operator.run(component(gateway), {"order": "o1"})
    assert run.phase == "Succeeded"
    assert len(run.attempts) == 2, "the next attempt did not have to wait for the lease"
    assert run.output["doubt"] is False
    assert "details" not in run.claims["charge:o1"] or "released" not in run.claims["charge:o1"]["details"]


def test_a_claim_is_not_completed_before_its_last_renewal_however_short_the_block_is() -> None:
    claim = Operator().run(component(Gateway()), {"order": "o1"}).claims["charge:o1"]
    assert datetime.fromisoformat(claim["completedAt"]) >= datetime.fromisoformat(claim["renewTime"])


def effect(api: MemoryApi, key: str = "charge", **options: Any) -> Effect:
    return Effect(key, Link(lambda: api, STEP), log=Log(STEP), **options)


def test_one_process_at_a_time_is_inside() -> None:
    api = MemoryApi(STEP)
    with effect(api), pytest.raises(EffectHeld) as held, effect(api):
        pytest.fail("two processes inside")
    assert 0 < held.value.details["retryAfterSeconds"] <= LEASE + 1


def test_many_processes_at_once_make_one_effect() -> None:
    api, ran, errors = MemoryApi(STEP), [], []
    start = threading.Barrier(8)

    def process() -> None:
        start.wait()
        try:
            with effect(api):
                ran.append(1)
        except EffectHeld as error:
            errors.append(error)

    threads = [threading.Thread(target=process) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ran == [1]


def test_a_claim_is_renewed_while_the_block_runs_and_given_up_when_another_took_it() -> None:
    api, lost = MemoryApi(STEP), threading.Event()
    found: list[EffectLost] = []

    def on_lost(error: EffectLost) -> None:
        found.append(error)
        lost.set()

    inside = effect(api, lease=0.06, on_lost=on_lost)
    inside.__enter__()
    first = _renewed(api)
    assert _until(lambda: _renewed(api) != first), "renewed"
    assert _until(lambda: _taken(api))
    assert lost.wait(60)
    with pytest.raises(RetryError, match="took its claim over"):
        inside.__exit__(None, None, None)
    assert isinstance(found[0], EffectLost)
    assert next(iter(api.claims.values()))["spec"]["holderIdentity"] == "somebody else"


def test_losing_the_claim_interrupts_the_component() -> None:
    operator = Operator()

    @engram
    def slow(ctx: Context) -> None:
        with ctx.effect("charge", lease=0.06):
            time.sleep(100)

    def steal(server: MemoryApi) -> None:
        (claim,) = server.claims.values()
        server.update_claim({**claim, "spec": {**claim["spec"], "holderIdentity": "somebody else"}})

    operator.interfere("update effectclaims", steal)
    run = operator.run(slow)
    assert (run.phase, run.error["code"], run.error["exitClass"]) == ("Failed", "EFFECT_LOST", "retry")


def test_the_name_of_a_claim_is_the_same_for_every_sdk() -> None:
    link = Link(lambda: MemoryApi(STEP), STEP)
    digest = hashlib.sha1(b"team-a/run1-pay/charge").hexdigest()[:16]
    assert claim_name(link, "charge") == f"run1-pay-effect-{digest}"
    long = Link(link.connect, StepIdentity(namespace="n", step_run="s" * 253))
    assert len(claim_name(long, "charge")) == 253


def test_keys_fit_a_claim() -> None:
    assert (effect_key("charge", None), effect_key("charge", "o1")) == ("charge", "charge:o1")
    assert len(effect_key("charge", "o" * 300)) <= 256
    assert effect_key("charge", "o" * 300) != effect_key("charge", "o" * 301)


def test_a_context_built_by_hand_runs_effects_once_too() -> None:
    ctx: Context[dict[str, Any]] = Context(config={})
    ran = []
    for _ in range(2):
        with ctx.effect("charge") as charge:
            ran.append(1)
    assert (ran, charge.happened) == ([1], True)


def _taken(api: MemoryApi) -> bool:
    """Whether the claim is somebody else's now, and was not renewed meanwhile."""
    (claim,) = api.claims.values()
    try:
        api.update_claim({**claim, "spec": {**claim["spec"], "holderIdentity": "somebody else"}})
    except Refused:
        return False
    return True


def _renewed(api: MemoryApi) -> datetime:
    (claim,) = api.claims.values()
    return datetime.fromisoformat(claim["spec"]["renewTime"]).astimezone(UTC)


def _until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.005)
    return False
