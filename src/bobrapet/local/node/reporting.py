"""Telling the API server: pod status with one writer for each pod, and Events."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from bobrapet.runtime.clock import Clock
from bobrapet.runtime.errors import ApiError, Conflict, ControllerRuntimeError, NotFound, TransportError

from .api import NodeApi
from .status import timestamp

log = logging.getLogger(__name__)

RETRY_INITIAL, RETRY_LIMIT = 0.1, 5.0  # seconds between attempts while the API server cannot be reached
COMPONENT = "bobrapet-node"


class StatusReporter:
    """Writes a pod's status, the newest only: what is overtaken while a write is on its way is never sent."""

    def __init__(self, api: NodeApi, pod: Mapping[str, Any], clock: Clock) -> None:
        self.pod = pod
        self._api = api
        self._clock = clock
        self._wanted: Mapping[str, Any] | None = None
        self._written: Mapping[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._abandoned = False

    def observe(self, pod: Mapping[str, Any]) -> None:
        """Takes a newer version of the object, for the conditions that others write."""
        self.pod = pod

    def report(self, status: Mapping[str, Any]) -> None:
        """Wants this status to be written soon; never waits."""
        if self._abandoned or status == self._written:
            return
        self._wanted = status
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())

    def abandon(self) -> None:
        """The object is gone: nothing is written any more."""
        self._abandoned = True
        self._wanted = None

    async def finish(self) -> None:
        """Returns when the last status is written, or cannot be."""
        if self._task is not None:
            await self._task

    async def _write(self) -> None:
        delay = RETRY_INITIAL
        while self._wanted is not None:
            status, self._wanted = self._wanted, None
            try:
                self.pod = await self._api.patch_status(self.pod, status)
                self._written = status
                delay = RETRY_INITIAL
            except (NotFound, Conflict):
                self.abandon()  # deleted; Conflict: another pod has the name by now
            except ControllerRuntimeError as error:
                if isinstance(error, ApiError) and error.status < 500 and error.status != 429:
                    log.error("pod %s: its status is refused: %s", self.pod["metadata"]["name"], error)
                    continue
                if not isinstance(error, TransportError):
                    log.warning("pod %s: its status cannot be written yet: %s", self.pod["metadata"]["name"], error)
                if self._wanted is None and not self._abandoned:
                    self._wanted = status
                await self._clock.sleep(delay)
                delay = min(delay * 2, RETRY_LIMIT)


class EventRecorder:
    """Records Events beside the work; a lost one is only a missing line in `kubectl describe`."""

    def __init__(self, api: NodeApi, node: str, clock: Clock) -> None:
        self._api = api
        self._node = node
        self._clock = clock
        self._told: dict[str, set[tuple[str, str]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def warning(self, pod: Mapping[str, Any], reason: str, message: str) -> None:
        """Records a Warning about the pod, the same one once only."""
        meta = pod["metadata"]
        self._record(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
            },
            reason,
            message,
        )

    def warning_of_node(self, reason: str, message: str) -> None:
        """Records a Warning about the node: what is the same for all of its pods."""
        node = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": self._node}
        self._record(node, reason, message)

    def _record(self, involved: Mapping[str, str], reason: str, message: str) -> None:
        told = self._told.setdefault(involved["uid"], set())
        if (reason, message) in told:
            return
        told.add((reason, message))
        now = timestamp(self._clock.now())
        namespace = involved.get("namespace") or "default"  # where Events of what has no namespace are
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{involved['name'][:230]}.{secrets.token_hex(8)}", "namespace": namespace},
            "involvedObject": {**involved},
            "type": "Warning",
            "reason": reason,
            "message": message[:1024],
            "source": {"component": COMPONENT, "host": self._node},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        task = asyncio.create_task(self._create(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._told.pop(uid, None)

    async def aclose(self) -> None:
        """Lets what is on its way arrive."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        for task in self._tasks:
            task.cancel()

    async def _create(self, event: Mapping[str, Any]) -> None:
        try:
            await self._api.create_event(event)
        except ControllerRuntimeError as error:
            log.debug(
                "event %s of pod %s was not recorded: %s", event["reason"], event["involvedObject"]["name"], error
            )
