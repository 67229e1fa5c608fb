"""The lock that is a Lease (client-go resourcelock/leaselock)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from bobrapet.runtime.client.interfaces import Client, WithWatch
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.leaderelection.errors import ElectionError
from bobrapet.runtime.leaderelection.resourcelock.interface import LeaderElectionRecord
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.recorder import NORMAL, EventRecorder

Lease = Unstructured.of("coordination.k8s.io/v1", "Lease")

EVENT_REASON = "LeaderElection"

log = get_logger("leaderelection")


class LeaseLock:
    """Implements `ResourceLock`. `labels` are kept on the Lease beside those that it has."""

    def __init__(
        self,
        client: Client,
        key: ObjectKey,
        identity: str,
        *,
        labels: Mapping[str, str] | None = None,
        recorder: EventRecorder | None = None,
    ) -> None:
        self._client = client
        self._key = key
        self._identity = identity
        self._labels = dict(labels or {})
        self._recorder = recorder
        self._lease: Unstructured | None = None

    @property
    def identity(self) -> str:
        return self._identity

    async def get(self) -> tuple[LeaderElectionRecord, bytes]:
        self._lease = await self._client.get(Lease, self._key)
        spec = self._lease.object.get("spec") or {}
        return _record(spec), msgspec.json.encode(spec, order="sorted")

    async def create(self, record: LeaderElectionRecord) -> None:
        metadata: dict[str, Any] = {"namespace": self._key.namespace, "name": self._key.name}
        if self._labels:
            metadata["labels"] = dict(self._labels)
        self._lease = await self._client.create(Lease({"metadata": metadata, "spec": _spec(record)}))

    async def update(self, record: LeaderElectionRecord) -> None:
        if self._lease is None:
            raise ElectionError(f"{self.describe()} must be read or created before it is updated")
        lease = self._lease.deep_copy()
        if self._labels:
            lease.metadata.labels = {**(lease.metadata.labels or {}), **self._labels}
        lease.object["spec"] = {**(lease.object.get("spec") or {}), **_spec(record)}
        self._lease = await self._client.update(lease)

    async def released(self) -> bool:
        if self._lease is None or not isinstance(self._client, WithWatch):
            return False
        events = self._client.watch(
            Lease,
            namespace=self._key.namespace,
            fields={"metadata.name": self._key.name},
            resource_version=self._lease.metadata.resource_version,
        )
        try:
            async with events as told:
                async for event in told:
                    spec = event.object.object.get("spec") or {}
                    if event.type == "DELETED" or not spec.get("holderIdentity"):
                        return True
        except (ControllerRuntimeError, OSError) as error:
            log.debug("the lock cannot be watched", lock=self.describe(), error=error)
        return False

    def record_event(self, message: str) -> None:
        if self._recorder is not None:
            metadata = {"namespace": self._key.namespace, "name": self._key.name}
            lease = self._lease or Lease({"metadata": metadata})
            # An action for each message: equal events would become a series that shows only the first note.
            action = message.title().replace(" ", "")
            self._recorder.event(lease, None, NORMAL, EVENT_REASON, action, f"{self._identity} {message}")

    def describe(self) -> str:
        return f"Lease {self._key}"


def _record(spec: Mapping[str, Any]) -> LeaderElectionRecord:
    return LeaderElectionRecord(
        holder_identity=spec.get("holderIdentity") or "",
        lease_duration_seconds=spec.get("leaseDurationSeconds") or 0,
        acquire_time=_parse(spec.get("acquireTime")),
        renew_time=_parse(spec.get("renewTime")),
        leader_transitions=spec.get("leaseTransitions") or 0,
    )


def _spec(record: LeaderElectionRecord) -> dict[str, Any]:
    return {
        "holderIdentity": record.holder_identity,
        "leaseDurationSeconds": record.lease_duration_seconds,
        "acquireTime": _format(record.acquire_time),
        "renewTime": _format(record.renew_time),
        "leaseTransitions": record.leader_transitions,
    }


def _parse(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None
    except ValueError:
        return None  # nothing is decided by it


def _format(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
