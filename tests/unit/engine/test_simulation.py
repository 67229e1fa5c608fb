"""Invariants under stale caches, crashes between writes and random order; the end equals the reference interpreter's.

A failing seed is printed with its Story; `BOBRAPET_SEEDS` runs more of them.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.unit.engine.simulation import Simulation, interpret, random_story

SEEDS = int(os.environ.get("BOBRAPET_SEEDS", "100"))
BATCH = 25
ENDED = {"Succeeded", "Failed", "Skipped", "Canceled", "Timeout", "Finished", "Compensated"}


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_whatever_happens_a_run_ends_as_its_story_says(first: int) -> None:
    for seed in range(first, min(first + BATCH, SEEDS)):
        random = Random(seed)
        go_on = random.random() < 0.7
        story, scripts = random_story(random, go_on=go_on)
        simulation = Simulation(story, scripts, random)
        try:
            simulation.run()
            simulation.settle()
            if go_on:
                assert (simulation.phase, simulation.states) == interpret(story, scripts)
        except AssertionError as error:
            raise AssertionError(
                f"seed {seed}: {error}\n{story.spec.to_wire()}\n{scripts}\n{simulation.trace[-20:]}"
            ) from error


@pytest.mark.parametrize("first", range(0, SEEDS // 3, BATCH))
def test_a_run_that_ends_early_at_any_moment_leaves_nothing_undecided(first: int) -> None:
    for seed in range(first, first + BATCH):
        random = Random(seed)
        story, scripts = random_story(random, go_on=random.random() < 0.5, ends_early=True)
        simulation = Simulation(story, scripts, random)
        try:
            for _ in range(random.randint(0, 150)):
                simulation.step()
            if random.random() < 0.5:
                simulation.request_cancel()
            simulation.run()
            simulation.settle()
            assert all(phase in ENDED for phase in simulation.states.values())
            assert simulation.phase in ENDED
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}\n{story.spec.to_wire()}\n{scripts}") from error
