"""Waiting for a state of the API server without sleeping: read, check, and read again when something changed.

>>> await eventually(client, Job, key, lambda job: job.get("status", "succeeded") == 1)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from bobrapet.runtime.client.interfaces import WithWatch
from bobrapet.runtime.client.object import ObjectKey, to_dict
from bobrapet.runtime.errors import ApiError, ControllerRuntimeError, TransportError

T = TypeVar("T")

PAUSE = 0.05
"""Seconds before reading again after a watch that ended without an event."""


class NeverHappened(ControllerRuntimeError, AssertionError):
    """The state was not reached in time; the message shows the last one seen."""


async def eventually(
    client: WithWatch, cls: type[T], key: ObjectKey, holds: Callable[[T], object], *, timeout: float = 10.0
) -> T:
    """Returns the object once `holds(object)` is true. An `AssertionError` in it counts as not yet.

    `client` reads live: a cache cannot say at which version it was read.
    """
    found: T | None = await _until(client, cls, key, lambda obj: obj is not None and _true(holds, obj), timeout)
    assert found is not None
    return found


async def eventually_gone(client: WithWatch, cls: type[Any], key: ObjectKey, *, timeout: float = 10.0) -> None:
    """Returns once there is no such object."""
    await _until(client, cls, key, lambda obj: obj is None, timeout)


async def _until(
    client: WithWatch, cls: type[T], key: ObjectKey, holds: Callable[[T | None], bool], timeout: float
) -> T | None:
    last: T | None = None
    where: dict[str, Any] = {"namespace": key.namespace or None, "fields": {"metadata.name": key.name}}
    try:
        async with asyncio.timeout(timeout):
            while True:
                found = await client.list(cls, **where)
                last = found[0] if found else None
                if holds(last):
                    return last
                await _change(client, cls, where, found.resource_version)
    except TimeoutError:
        shown = "it does not exist" if last is None else to_dict(last)
        raise NeverHappened(f"{cls.__name__} {key}: not as expected within {timeout:g} s; last seen: {shown}") from None


async def _change(client: WithWatch, cls: type[Any], where: dict[str, Any], version: str) -> None:
    """Returns at the first event after a version. A watch that fails is a reason to read again, too."""
    with contextlib.suppress(ApiError, TransportError):
        async with client.watch(cls, **where, resource_version=version) as events:
            async for _ in events:
                return
    await asyncio.sleep(PAUSE)


def _true(holds: Callable[[Any], object], obj: Any) -> bool:
    try:
        return bool(holds(obj))
    except AssertionError:
        return False
