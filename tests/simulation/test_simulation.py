"""The real operator under faults: invariants at every write, and the end that the reference interpreter says.

BOBRAPET_SEEDS sets how many seeds are run (500; the soak 20,000), BOBRAPET_FIRST_SEED the first one. A failing seed
prints the smallest Story that still fails, and what happened in which order.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from random import Random

import pytest

from tests.simulation.shrinking import check, failure
from tests.simulation.simulation import NONE, Faults
from tests.simulation.stories import Case, interpret, random_case, smaller

FIRST = int(os.environ.get("BOBRAPET_FIRST_SEED", "0"))
SEEDS = int(os.environ.get("BOBRAPET_SEEDS", "500"))
SOAK_SEEDS = int(os.environ.get("BOBRAPET_SEEDS", "20000"))
BLOCK = 25
SOAK_BLOCK = 500


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Failed requests are the daily bread here; nobody reads the lines about them."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, BLOCK))
def test_whatever_happens_every_run_ends_as_its_story_says(first: int) -> None:
    for seed in range(first, min(first + BLOCK, FIRST + SEEDS)):
        check(seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(FIRST + 100_000, FIRST + 100_000 + SOAK_SEEDS, SOAK_BLOCK))
def test_thousands_of_seeds(first: int) -> None:
    for seed in range(first, min(first + SOAK_BLOCK, FIRST + 100_000 + SOAK_SEEDS)):
        check(seed)


def test_without_faults_the_order_of_events_decides_nothing() -> None:
    for order in range(10):
        error, simulation = failure(_parallel_in_a_full_queue(), order, NONE)
        assert error is None, (error, simulation.trace[-30:])


def test_a_one_step_run_costs_six_writes_in_whatever_order_things_are_seen() -> None:
    execution = {"retry": {"maxRetries": 0, "delay": "1s"}}
    case = Case(steps=[{"name": "a", "ref": {"name": "worker"}, "execution": execution}])
    cost = {"patch StoryRun/status": 2, "create StepRun": 1, "patch StepRun/status": 2, "create Job": 1}
    account = {"create ServiceAccount": 1, "create Role": 1, "create RoleBinding": 1}  # once per Story
    for order in range(60):
        error, simulation = failure(case, order, NONE)
        assert error is None, (error, simulation.trace)
        assert simulation.server.written == cost | account, simulation.trace


def _parallel_in_a_full_queue() -> Case:
    execution = {"retry": {"maxRetries": 0, "delay": "1s"}}
    branches = [{"name": name, "ref": {"name": "worker"}, "execution": execution} for name in ("x", "y", "z")]
    return Case(
        steps=[{"name": "p", "type": "parallel", "with": {"steps": branches}}],
        policy={"retries": {"continueOnStepFailure": True}, "concurrency": 1},
        runs=2,
        queue=1,
    )


@pytest.mark.parametrize("seed", [7, 38])  # in the second one an operator is without a server for a while
def test_the_same_seed_is_the_same_story_and_the_same_order_of_events(seed: int) -> None:
    assert random_case(Random(seed)) == random_case(Random(seed))
    first, second = (failure(random_case(Random(seed)), seed, Faults())[1].trace for _ in range(2))
    assert first == second


def test_a_case_is_made_smaller_by_one_thing_at_a_time_and_stays_a_story() -> None:
    for seed in range(50):
        case = random_case(Random(seed))
        for less in smaller(case):
            names = {step["name"] for step in less.all_steps}
            assert less != case
            assert all(need in names for step in less.all_steps for need in step.get("needs", ()))


def test_the_interpreter_compensates_cleans_up_and_skips_what_needs_a_failed_step() -> None:
    execution = {"retry": {"maxRetries": 1, "delay": "1s"}}
    worker = {"ref": {"name": "worker"}, "execution": execution}
    case = Case(
        steps=[{"name": "a", **worker}, {"name": "b", "needs": ["a"], **worker}, {"name": "c", **worker}],
        compensations=[{"name": "k", **worker}],
        finally_=[{"name": "f", **worker}],
        scripts={"a": ["retry", "terminal"], "c": ["retry", "ok"]},
    )
    phases = {"a": "Failed", "b": "Skipped", "c": "Succeeded", "k": "Succeeded", "f": "Succeeded"}
    assert interpret(case) == ("Compensated", phases)
