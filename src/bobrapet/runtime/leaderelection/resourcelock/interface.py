"""What an elector needs of a lock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class LeaderElectionRecord:
    """Who leads. The times are for people to read; nobody decides by them."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    leader_transitions: int = 0


class ResourceLock(Protocol):
    """A record that only one writer at a time can change."""

    @property
    def identity(self) -> str:
        """Who we are."""
        ...

    async def get(self) -> tuple[LeaderElectionRecord, bytes]:
        """The record, and its raw form, in which any change shows. Raises `NotFound`."""
        ...

    async def create(self, record: LeaderElectionRecord) -> None: ...

    async def update(self, record: LeaderElectionRecord) -> None:
        """Replaces the record as it was last read or written here. Raises `Conflict` when somebody else was faster."""
        ...

    def record_event(self, message: str) -> None:
        """Tells users, in an Event."""
        ...

    def describe(self) -> str: ...


@runtime_checkable
class TellsRelease(Protocol):
    """A lock that can be watched. Candidates of others find out at their next try."""

    async def released(self) -> bool:
        """Waits until nobody holds the record; false when it can no longer be watched."""
        ...
