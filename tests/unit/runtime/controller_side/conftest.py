"""Virtual time, and proof that nothing is left running."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.controller.name import forget_names
from bobrapet.runtime.envtest import Environment, Options
from bobrapet.runtime.rest.client import RestClient
from tests.unit.runtime.controller_side.controllers import Bench


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
async def no_task_leaks() -> AsyncIterator[None]:
    """Fails a test that leaves a task behind (spec runtime TS-1)."""
    before = asyncio.all_tasks()
    yield
    await settle()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left running: {left}"


@pytest.fixture
async def bench(clock: FakeClock) -> AsyncIterator[Bench]:
    forget_names()
    made = Bench(clock)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    """A control plane of this module's own, because it suffers."""
    with own_environment() as started:
        yield started


@contextmanager
def own_environment(**options: Any) -> Iterator[Environment]:
    """A control plane without controllers; skips the test where there is none to be had."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        if os.environ.get("CI") == "true":
            pytest.fail("KUBEBUILDER_ASSETS is not set; hack/envtest prints what belongs there")
        pytest.skip("KUBEBUILDER_ASSETS is not set: no real control plane")
    with Environment(Options(assets=assets, controllers=False, start_timeout=240, **options)) as started:
        yield started


@pytest.fixture
async def writer(environment: Environment) -> AsyncIterator[ApiClient]:
    async with ApiClient(RestClient(environment.config)) as client:
        yield client
