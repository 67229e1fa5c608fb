"""The worlds themselves."""

from __future__ import annotations

import pytest

from tests.behaviour.worlds import World


def test_all_tests_of_a_world_run_in_one_worker(world: World, request: pytest.FixtureRequest) -> None:
    """Otherwise each worker starts each world, which nobody notices but by the time that it takes."""
    if not getattr(request.config.option, "loadgroup", False):  # pytest-xdist tells its workers so
        pytest.skip("one worker runs everything")
    assert request.node.nodeid.endswith(f"[{world.name}]@{world.name}")
