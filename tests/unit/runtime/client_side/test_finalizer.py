"""The registry of finalizers (spec runtime FIN-1 to FIN-3)."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.errors import ClientError
from bobrapet.runtime.finalizer import CleanupFailed, FinalizationFailed, Finalizers, Result
from tests.unit.runtime.client_side.models import config_map

pytestmark = pytest.mark.spec("runtime-94")


class Step:
    """A finalizer that notes its name and does as it is told."""

    def __init__(self, name: str, order: list[str], outcome: Result | Exception | None = None) -> None:
        self.name = name
        self.order = order
        self.outcome = outcome if outcome is not None else Result()

    async def finalize(self, obj: Any) -> Result:
        self.order.append(self.name)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def registry(order: list[str], **outcomes: Result | Exception | None) -> Finalizers:
    finalizers = Finalizers()
    for name, outcome in outcomes.items():
        finalizers.register(name, Step(name, order, outcome))
    return finalizers


def dying(*finalizers: str) -> Unstructured:
    obj = config_map()
    obj.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
    obj.metadata.finalizers = list(finalizers)
    return obj


async def test_a_living_object_gets_the_missing_names_and_nothing_runs() -> None:
    order: list[str] = []
    finalizers = registry(order, a=None, b=None)
    obj = config_map()
    obj.metadata.finalizers = ["other", "a"]
    assert await finalizers.finalize(obj) == Result(updated=True)
    assert obj.metadata.finalizers == ["other", "a", "b"]
    assert await finalizers.finalize(obj) == Result()
    assert order == []


async def test_a_dying_object_is_cleaned_up_in_order_of_registration() -> None:
    order: list[str] = []
    obj = dying("a", "foreign", "b", "c")
    assert await registry(order, c=None, a=Result(status_updated=True), b=None, d=None).finalize(obj) == Result(
        True, True
    )
    assert order == ["c", "a", "b"]
    assert obj.metadata.finalizers == ["foreign"]


async def test_a_failure_keeps_its_name_and_the_others_still_run() -> None:
    order: list[str] = []
    obj = dying("a", "b", "c")
    finalizers = registry(
        order,
        a=CleanupFailed("a is stuck", Result(status_updated=True)),
        b=None,
        c=ValueError("c is broken"),
    )
    with pytest.raises(FinalizationFailed) as raised:
        await finalizers.finalize(obj)
    assert order == ["a", "b", "c"]
    assert obj.metadata.finalizers == ["a", "c"]
    assert raised.value.result == Result(updated=True, status_updated=True)
    assert [str(error) for error in raised.value.exceptions] == ["a is stuck", "c is broken"]


async def test_a_failure_alone_changes_nothing() -> None:
    obj = dying("a")
    with pytest.raises(FinalizationFailed) as raised:
        await registry([], a=ValueError("no")).finalize(obj)
    assert raised.value.result == Result()
    assert obj.metadata.finalizers == ["a"]


async def test_a_dying_object_without_our_names_is_left_alone() -> None:
    order: list[str] = []
    assert await registry(order, a=None).finalize(dying("foreign")) == Result()
    assert order == []


def test_a_name_is_registered_once() -> None:
    finalizers = registry([], a=None)
    with pytest.raises(ClientError, match="'a' is registered already"):
        finalizers.register("a", Step("a", []))
