"""The pods of an API server as a stream of changes, across lost connections and expired resource versions."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from bobrapet.runtime.clock import Clock
from bobrapet.runtime.errors import ControllerRuntimeError, Expired, Gone
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.toolscache.listwatch import ListWatch

log = logging.getLogger(__name__)

PAGE_SIZE = 500  # what client-go asks for
WATCH_SECONDS = 300  # after which the server ends a watch that we then open again
RETRY_INITIAL, RETRY_LIMIT = 0.05, 10.0  # seconds between attempts while the API server cannot be reached

Object = Mapping[str, Any]


class PodListener(Protocol):
    """Who is told about pods."""

    def pod_changed(self, pod: Object) -> None:
        """The pod is new, or different."""

    def pod_deleted(self, pod: Object) -> None:
        """The pod is gone; `pod` is its last known version."""

    def pods_known(self) -> None:
        """Every pod that exists has been told at least once."""


class PodWatch:
    """Tells a listener about every pod: first the existing ones, then each change in order, until cancelled."""

    def __init__(self, client: RestClient, listener: PodListener, clock: Clock) -> None:
        self._source = ListWatch(client, "/api/v1/pods")
        self._listener = listener
        self._clock = clock
        self._known: dict[str, Object] = {}

    async def run(self) -> None:
        """Lists, watches, and begins again when it has to; only cancellation ends it."""
        version = ""
        delay = RETRY_INITIAL
        while True:
            try:
                if not version:
                    version = await self._list()
                version = await self._watch(version)
                delay = RETRY_INITIAL
            except (Gone, Expired):
                version = ""
            except ControllerRuntimeError as error:
                log.warning("pods cannot be watched, trying again in %.2g s: %s", delay, error)
                await self._clock.sleep(delay)
                delay = min(delay * 2, RETRY_LIMIT)

    async def _list(self) -> str:
        """Tells the difference between what was known and what is."""
        found: dict[str, Object] = {}
        params = {"limit": str(PAGE_SIZE)}
        while True:
            page = await self._source.list(params)
            for raw in page.items:
                pod = json.loads(bytes(raw))
                found[pod["metadata"]["uid"]] = pod
            if not page.continue_:
                break
            params = {"limit": str(PAGE_SIZE), "continue": page.continue_}
        gone = [pod for uid, pod in self._known.items() if uid not in found]
        self._known = found
        for pod in gone:
            self._listener.pod_deleted(pod)
        for pod in found.values():
            self._listener.pod_changed(pod)
        self._listener.pods_known()
        return page.resource_version

    async def _watch(self, version: str) -> str:
        """Follows the changes after `version` until the server ends the watch; answers where to go on."""
        params = {"resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        async with self._source.watch(params) as lines:
            async for line in lines:
                event = json.loads(line)
                pod = event["object"]
                if event["type"] == "ERROR":
                    raise Expired(pod.get("message") or "the watch ended", status=pod.get("code"))
                version = pod["metadata"]["resourceVersion"]
                if event["type"] == "BOOKMARK":
                    continue
                uid = pod["metadata"]["uid"]
                if event["type"] == "DELETED":
                    self._known.pop(uid, None)
                    self._listener.pod_deleted(pod)
                else:
                    self._known[uid] = pod
                    self._listener.pod_changed(pod)
        return version
