"""A lock in memory, for tests. Several locks over one `FakeLease` compete like processes do."""

from __future__ import annotations

from bobrapet.runtime.errors import AlreadyExists, Conflict, NotFound
from bobrapet.runtime.leaderelection.resourcelock import LeaderElectionRecord


class FakeLease:
    """What a server would store."""

    def __init__(self) -> None:
        self.record: LeaderElectionRecord | None = None
        self.version = 0
        self.writes: list[str] = []
        """Who wrote, in order."""


class FakeLock:
    """Implements `ResourceLock`. While `error` is set every request raises it."""

    def __init__(self, lease: FakeLease, identity: str) -> None:
        self.lease = lease
        self.error: Exception | None = None
        self.requests: list[str] = []
        self.events: list[str] = []
        self._identity = identity
        self._seen = -1

    @property
    def identity(self) -> str:
        return self._identity

    async def get(self) -> tuple[LeaderElectionRecord, bytes]:
        self._request("get")
        if self.lease.record is None:
            raise NotFound("no lease")
        self._seen = self.lease.version
        return self.lease.record, f"{self.lease.record}".encode()

    async def create(self, record: LeaderElectionRecord) -> None:
        self._request("create")
        if self.lease.record is not None:
            raise AlreadyExists("somebody was faster")
        self._store(record)

    async def update(self, record: LeaderElectionRecord) -> None:
        self._request("update")
        if self._seen != self.lease.version:
            raise Conflict("somebody was faster")
        self._store(record)

    def record_event(self, message: str) -> None:
        self.events.append(f"{self._identity} {message}")

    def describe(self) -> str:
        return "fake lease"

    def _request(self, verb: str) -> None:
        self.requests.append(verb)
        if self.error is not None:
            raise self.error

    def _store(self, record: LeaderElectionRecord) -> None:
        self.lease.record = record
        self.lease.version += 1
        self.lease.writes.append(self._identity)
        self._seen = self.lease.version
