"""What happened to an object, as the store and the handlers are told it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.toolscache.record import Record


class DeltaType(Enum):
    """The cause of a delta."""

    ADDED = "Added"
    UPDATED = "Updated"
    DELETED = "Deleted"
    SYNC = "Sync"


class Delta(NamedTuple):
    """One step in the life of an object as the cache saw it. `old` is the state before, absent for ADDED."""

    type: DeltaType
    old: Record | None
    new: Record
    is_in_initial_list: bool = False
    final_state_unknown: bool = False


@dataclass(frozen=True, slots=True)
class DeletedFinalStateUnknown:
    """A tombstone: the object vanished while nobody watched, so its last known state may not have been its last."""

    key: ObjectKey
    obj: Record
