"""Create-or-update: bring one object to a wanted state, whatever is there (spec runtime CU-6 to CU-9)."""

from __future__ import annotations

import copy
import logging
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from bobrapet.runtime.client.interfaces import Client
from bobrapet.runtime.client.object import ObjectKey, deep_copy, to_dict
from bobrapet.runtime.client.patch import merge_diff, raw_patch
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.controller.controllerutil.equality import semantic_equal
from bobrapet.runtime.errors import ClientError, NotFound
from bobrapet.runtime.rest.interface import MERGE_PATCH

T = TypeVar("T")

log = logging.getLogger(__name__)


class OperationResult(StrEnum):
    """What was done."""

    NONE = "unchanged"
    CREATED = "created"
    UPDATED = "updated"
    UPDATED_STATUS = "updatedStatus"
    """The object and its status."""

    UPDATED_STATUS_ONLY = "updatedStatusOnly"


async def create_or_update(client: Client, obj: T, mutate: Callable[[T], None]) -> tuple[T, OperationResult]:
    """Makes the object that `obj` names look as `mutate` wants, and returns it with what was done.

    `mutate` gets the object as it is (or a copy of `obj` where there is none) and changes it in place, but neither its
    name nor its namespace. Changes of status are lost where status is a subresource. A `mutate` that clears a field
    which the server fills with a default makes each call an update: set such fields, or leave them alone.
    """
    key = ObjectKey.of(obj)
    try:
        current = await client.get(type(obj), key)
    except NotFound:
        return await _create(client, obj, key, mutate), OperationResult.CREATED
    before = copy.deepcopy(to_dict(current))
    _mutate(current, key, mutate)
    if semantic_equal(before, to_dict(current)):
        return current, OperationResult.NONE
    LOOPS.note(current, before)
    return await client.update(current), OperationResult.UPDATED


async def create_or_patch(client: Client, obj: T, mutate: Callable[[T], None]) -> tuple[T, OperationResult]:
    """As `create_or_update`, but sends only what changed, and the status after it through its subresource.

    A created object has no status yet; the next call writes it.
    """
    key = ObjectKey.of(obj)
    try:
        current = await client.get(type(obj), key)
    except NotFound:
        return await _create(client, obj, key, mutate), OperationResult.CREATED
    before = copy.deepcopy(to_dict(current))
    _mutate(current, key, mutate)
    after = copy.deepcopy(to_dict(current))
    status_before, status = before.pop("status", None), after.pop("status", None)

    result = OperationResult.NONE
    if not semantic_equal(before, after):
        LOOPS.note(current, before)
        current = await client.patch(current, _merge(merge_diff(before, after)))
        result = OperationResult.UPDATED
    if not semantic_equal(status_before, status):
        # The answer to the first patch carries the old status; what mutate wanted is sent from its own copy.
        difference = merge_diff({"status": status_before or {}}, {"status": status or {}})
        current = await client.status().patch(current, _merge(difference))
        result = (
            OperationResult.UPDATED_STATUS_ONLY if result is OperationResult.NONE else OperationResult.UPDATED_STATUS
        )
    return current, result


async def _create(client: Client, obj: T, key: ObjectKey, mutate: Callable[[T], None]) -> T:
    wanted = deep_copy(obj)
    _mutate(wanted, key, mutate)
    return await client.create(wanted)


def _mutate(obj: Any, key: ObjectKey, mutate: Callable[[Any], None]) -> None:
    mutate(obj)
    if ObjectKey.of(obj) != key:
        raise ClientError(f"mutate changed the name of {obj.kind} from {key} to {ObjectKey.of(obj)}; it may not")


def _merge(difference: dict[str, Any]) -> Any:
    return raw_patch(MERGE_PATCH, msgspec.json.encode(difference))


class UpdateLoops:
    """Notices objects that are updated with the same change again and again (CU-7). Watches only while debugging."""

    REPEATS = 10
    WINDOW = 60.0
    REMEMBERED = 1000

    def __init__(self, clock: Clock = REAL_CLOCK) -> None:
        self._clock = clock
        self._seen: OrderedDict[tuple[str, ObjectKey, bytes], list[float]] = OrderedDict()

    def note(self, obj: Any, before: dict[str, Any]) -> None:
        if not log.isEnabledFor(logging.DEBUG):
            return
        change = merge_diff(_unversioned(before), _unversioned(to_dict(obj)))
        entry = (str(obj.kind), ObjectKey.of(obj), msgspec.json.encode(change, order="sorted"))
        now = self._clock.monotonic()
        times = [moment for moment in self._seen.pop(entry, []) if now - moment < self.WINDOW]
        times.append(now)
        if len(times) >= self.REPEATS:
            log.debug(
                "%s %s was updated %d times within %g s with the same change %s; does mutate clear a field that the "
                "server fills with a default?",
                obj.kind,
                entry[1],
                len(times),
                self.WINDOW,
                entry[2].decode(),
            )
            times = []
        self._seen[entry] = times
        while len(self._seen) > self.REMEMBERED:
            self._seen.popitem(last=False)


LOOPS = UpdateLoops()


def _unversioned(raw: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in (raw.get("metadata") or {}).items() if key != "resourceVersion"}
    return {**raw, "metadata": metadata}
