"""A scripted collection of the API: what a reflector asks is recorded, what it is answered is written by the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bobrapet.runtime.errors import ConnectionFailed
from bobrapet.runtime.scheme import GroupVersionKind
from bobrapet.runtime.toolscache.listwatch import RawList

WIDGET = GroupVersionKind("example.org", "v1", "Widget")


def widget(name: str, rv: int | str = 1, *, namespace: str = "ns", uid: str = "", **body: Any) -> dict[str, Any]:
    """A Widget. Keyword arguments that metadata knows go there, all others to the top level."""
    metadata: dict[str, Any] = {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(rv)}
    if namespace:
        metadata["namespace"] = namespace
    for key in ("labels", "annotations", "generation", "ownerReferences", "managedFields", "deletionTimestamp"):
        if key in body:
            metadata[key] = body.pop(key)
    return {"apiVersion": WIDGET.api_version, "kind": WIDGET.kind, "metadata": metadata, **body}


def line(kind: str, obj: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode()


def bookmark(rv: int | str, *, ends_initial: bool = False) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(rv)}
    if ends_initial:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return line("BOOKMARK", {"apiVersion": WIDGET.api_version, "kind": WIDGET.kind, "metadata": metadata})


def status(code: int, reason: str, message: str = "", **details: Any) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message or reason,
        "details": details,
    }


class Stream:
    """An open watch. The test sends lines and ends it."""

    def __init__(self, params: Mapping[str, str]) -> None:
        self.params = dict(params)
        self.aborted = False
        self._queue: asyncio.Queue[list[bytes] | BaseException | None] = asyncio.Queue()

    def send(self, *lines: bytes) -> None:
        self._queue.put_nowait(list(lines))

    def close(self) -> None:
        self._queue.put_nowait(None)

    def break_off(self, error: BaseException | None = None) -> None:
        self._queue.put_nowait(error or ConnectionFailed("reset by peer"))

    async def batches(self) -> AsyncIterator[list[bytes]]:
        while True:
            batch = await self._queue.get()
            if batch is None:
                return
            if isinstance(batch, BaseException):
                raise batch
            yield batch

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("reflectors read batches")


def page(objects: list[dict[str, Any]], rv: int | str, continue_: str = "") -> RawList:
    return RawList(
        [msgspec.Raw(json.dumps(obj, separators=(",", ":")).encode()) for obj in objects], str(rv), continue_
    )


@dataclass
class Script:
    """A `ListerWatcher`. `lists` and `watches` are what to answer next; a list that is not scripted hangs."""

    lists: list[RawList | Exception] = field(default_factory=list)
    refused_watches: list[Exception] = field(default_factory=list)
    list_params: list[dict[str, str]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    on_watch: Callable[[Stream], Awaitable[None]] | None = None
    lists_aborted: int = 0

    async def list(self, params: Mapping[str, str]) -> RawList:
        self.list_params.append(dict(params))
        if not self.lists:
            try:
                await asyncio.Event().wait()
            finally:
                self.lists_aborted += 1
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @asynccontextmanager
    async def watch(self, params: Mapping[str, str]) -> AsyncIterator[Stream]:
        stream = Stream(params)
        self.streams.append(stream)
        if self.refused_watches:
            raise self.refused_watches.pop(0)
        if self.on_watch is not None:
            await self.on_watch(stream)
        try:
            yield stream
        finally:
            stream.aborted = True

    @property
    def open(self) -> Stream:
        """The watch that is open now."""
        assert self.streams, "no watch was opened"
        assert not self.streams[-1].aborted, "the last watch is closed"
        return self.streams[-1]
