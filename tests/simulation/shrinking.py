"""Runs seeds, and makes a failing one small enough to be read."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from random import Random

import yaml

from tests.simulation.simulation import Faults, Simulation
from tests.simulation.stories import SIMPLER, Case, random_case, smaller

ORDERS = 40
"""Orders of events that a smaller case is tried with."""

QUIETER = ("crash", "failover", "split", "lost_job", "duplicate", "request", "late_list")


def failure(case: Case, order: int, faults: Faults) -> tuple[Exception | None, Simulation]:
    """What goes wrong when a case is run in one order of events."""
    simulation = Simulation(case, Random(order), faults)
    try:
        asyncio.run(simulation.run())
    except Exception as error:
        return error, simulation
    return None, simulation


def check(seed: int, faults: Faults | None = None, *, seconds: float = 60) -> None:
    """Runs a seed. Raises AssertionError with the smallest case and the shortest trace found in `seconds`."""
    faults = faults or Faults()
    case = random_case(Random(seed))
    error, simulation = failure(case, seed, faults)
    if error is None:
        return
    found = (case, seed, faults, error, simulation)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (next_ := _smaller(found[0], found[2], deadline)) is not None:
        found = next_
    raise AssertionError(f"seed {seed}: {error}\n\n{_told(*found)}") from error


def _smaller(case: Case, faults: Faults, deadline: float) -> tuple[Case, int, Faults, Exception, Simulation] | None:
    quieter = [replace(faults, **{name: 0}) for name in QUIETER if getattr(faults, name)]
    for candidate, kept in [*((case, fewer) for fewer in quieter), *((less, faults) for less in smaller(case))]:
        for order in range(ORDERS):
            if time.monotonic() > deadline:
                return None
            error, simulation = failure(candidate, order, kept)
            if error is not None:
                return candidate, order, kept, error, simulation
    return None


def _told(case: Case, order: int, faults: Faults, error: Exception, simulation: Simulation) -> str:
    spec = yaml.safe_dump(case.spec(), sort_keys=False, default_flow_style=None, width=120)
    around = [f"{name}: {getattr(case, name)}" for name, value in SIMPLER.items() if getattr(case, name) != value]
    return "\n".join(
        [
            "the smallest Story that fails:",
            f"{spec}{', '.join(around)}; components: {case.scripts}",
            f"with {faults}, order {order}: {type(error).__name__}: {error}",
            "what happened:",
            *simulation.trace[-80:],
        ]
    )
