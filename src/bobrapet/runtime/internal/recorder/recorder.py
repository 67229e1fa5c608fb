"""Event recorders that share one background writer (spec runtime EV-1, EV-2)."""

from __future__ import annotations

import re
import socket
import time
import uuid
from collections.abc import Mapping
from typing import Any

from bobrapet.runtime.client.apiutil import gvk_for_object
from bobrapet.runtime.client.interfaces import Client
from bobrapet.runtime.clock import Clock
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.internal.recorder.broadcaster import Broadcaster, EventKey, micro_time
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.recorder import NORMAL, WARNING, EventRecorder

NOTE_LIMIT = 1024
INSTANCE_LIMIT = 128
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

log = get_logger("recorder")


class Provider:
    """Gives out recorders."""

    def __init__(self, client: Client, *, clock: Clock, broadcaster: Broadcaster | None = None) -> None:
        self._client = client
        self._clock = clock
        self.broadcaster = broadcaster or Broadcaster(client, clock)

    def recorder(self, name: str) -> EventRecorder:
        """A recorder that reports as controller `name`."""
        return _Recorder(name, self._client, self.broadcaster, self._clock)

    async def stop(self, deadline: float | None = None) -> None:
        """Writes what is queued, until `deadline`; later events are dropped."""
        await self.broadcaster.stop(deadline)


class _Recorder:
    def __init__(self, name: str, client: Client, broadcaster: Broadcaster, clock: Clock) -> None:
        self._name = name
        self._instance = f"{name}-{socket.gethostname()}"[:INSTANCE_LIMIT]
        self._client = client
        self._broadcaster = broadcaster
        self._clock = clock

    def event(
        self,
        regarding: Any,
        related: Any,
        type: str,
        reason: str,
        action: str,
        note: str,
        *,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        if type not in (NORMAL, WARNING):
            log.error("Dropped an event whose type is neither Normal nor Warning", type=type, reason=reason)
            return
        try:
            about = self._reference(regarding)
            other = None if related is None else self._reference(related)
        except (ControllerRuntimeError, AttributeError) as error:
            log.error("Dropped an event about something that is no object", reason=reason, error=error)
            return
        log.debug(note, object=about, type=type, reason=reason, action=action)
        now = self._clock.now()
        namespace = about.get("namespace") or "default"
        body: dict[str, Any] = {
            "metadata": {"name": _event_name(about["name"]), "namespace": namespace},
            "eventTime": micro_time(now),
            "reportingController": self._name,
            "reportingInstance": self._instance,
            "action": action,
            "reason": reason,
            "regarding": about,
            "note": _cut(note),
            "type": type,
        }
        if labels:
            body["metadata"]["labels"] = dict(labels)
        if other is not None:
            body["related"] = other
        key = EventKey(type, action, reason, self._name, self._instance, (*about.values(),), (*(other or {}).values(),))
        self._broadcaster.record(key, body, now)

    def _reference(self, obj: Any) -> dict[str, str]:
        gvk = gvk_for_object(obj, self._client.scheme)
        metadata = obj.metadata
        reference = {
            "apiVersion": gvk.api_version,
            "kind": gvk.kind,
            "namespace": metadata.namespace or "",
            "name": metadata.name or "",
            "uid": metadata.uid or "",
        }
        # Without the resourceVersion: it would keep a series from forming.
        return {key: value for key, value in reference.items() if value}


def _event_name(regarding: str) -> str:
    if _SUBDOMAIN.fullmatch(regarding) and len(regarding) <= 230:
        return f"{regarding}.{time.time_ns():x}"
    return str(uuid.uuid4())


def _cut(note: str) -> str:
    data = note.encode()
    return note if len(data) <= NOTE_LIMIT else data[:NOTE_LIMIT].decode("utf-8", "ignore")
