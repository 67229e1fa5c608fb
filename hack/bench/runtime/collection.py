"""A stub of an API server for the benchmarks: one collection of objects of 3 KB, in a process of its own.

`/list` style requests are answered with all objects, as pages where a limit is given; watches with initial events where
they are asked for, then with as many MODIFIED events as the stub was told to send.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from urllib.parse import parse_qs, urlsplit

import msgspec

from bobrapet.runtime.scheme import GroupVersionKind

GVK = GroupVersionKind("bench.example.org", "v1", "Widget")
PATH = "/apis/bench.example.org/v1/widgets"
EVENTS_PER_WRITE = 20


def widget(number: int, version: int) -> bytes:
    """The JSON of one object: about 3.2 KB, a quarter of it managedFields, like a real custom resource."""
    steps = [
        {"name": f"step-{i}", "phase": "Succeeded", "startedAt": "2026-01-01T00:00:00Z", "message": "done " * 12}
        for i in range(15)
    ]
    fields = {"f:status": {f"f:step-{i}": {"f:phase": {}, "f:message": {}} for i in range(15)}}
    return msgspec.json.encode(
        {
            "apiVersion": GVK.api_version,
            "kind": GVK.kind,
            "metadata": {
                "name": f"widget-{number}",
                "namespace": f"namespace-{number % 10}",
                "uid": f"00000000-0000-0000-0000-{number:012}",
                "resourceVersion": str(version),
                "generation": 1,
                "labels": {"app": "bench", "shard": str(number % 16)},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Owner", "name": "o", "uid": "u", "controller": True},
                ],
                "managedFields": [{"manager": "bench", "operation": "Update", "fieldsV1": fields}],
            },
            "spec": {"size": number},
            "status": {"phase": "Running", "steps": steps},
        }
    )


class StubProtocol(asyncio.Protocol):
    """Enough HTTP for one client."""

    def __init__(self, objects: int, events: int) -> None:
        self.objects = [widget(number, number + 1) for number in range(objects)]
        self.events = events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.writable = asyncio.Event()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        query = parse_qs(urlsplit(data.split(b" ", 2)[1].decode()).query)
        self.task = asyncio.create_task(self.watch(query) if "watch" in query else self.list(query))

    async def list(self, query: dict[str, list[str]]) -> None:
        start = int(query.get("continue", ["0"])[0])
        limit = int(query.get("limit", ["0"])[0]) if query.get("resourceVersion") != ["0"] else 0
        end = start + limit if limit else len(self.objects)
        following = b',"continue":"%d"' % end if end < len(self.objects) else b""
        body = b'{"kind":"WidgetList","apiVersion":"%s","metadata":{"resourceVersion":"%d"%s},"items":[%s]}' % (
            GVK.api_version.encode(),
            len(self.objects),
            following,
            b",".join(self.objects[start:end]),
        )
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.transport.write(head)
        for offset in range(0, len(body), 1 << 18):
            await self.writable.wait()
            self.transport.write(body[offset : offset + (1 << 18)])

    async def watch(self, query: dict[str, list[str]]) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        version = len(self.objects)
        if query.get("sendInitialEvents") == ["true"]:
            await self.send([b'{"type":"ADDED","object":%s}\n' % obj for obj in self.objects])
            mark = b'{"resourceVersion":"%d","annotations":{"k8s.io/initial-events-end":"true"}}' % version
            await self.send([b'{"type":"BOOKMARK","object":{"kind":"Widget","metadata":%s}}\n' % mark])
        numbers = range(min(self.events, 1000))
        prepared = [widget(number, 0).split(b'"resourceVersion":"0"') for number in numbers]
        lines: list[bytes] = []
        for event in range(self.events):
            version += 1
            before, after = prepared[event % len(prepared)]
            lines.append(b'{"type":"MODIFIED","object":%s"resourceVersion":"%d"%s}\n' % (before, version, after))
            if len(lines) == EVENTS_PER_WRITE:
                await self.send(lines)
                lines = []
        await self.send(lines)

    async def send(self, lines: list[bytes]) -> None:
        """One HTTP chunk per event, some events per write."""
        for start in range(0, len(lines), EVENTS_PER_WRITE):
            await self.writable.wait()
            part = lines[start : start + EVENTS_PER_WRITE]
            self.transport.write(b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in part))


def _serve(pipe: Connection, objects: int, events: int) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: StubProtocol(objects, events), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    pin(0)
    asyncio.run(run())


def pin(core: int) -> None:
    """Keeps this process on one core, so that client and stub do not share one."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


@contextlib.contextmanager
def serving(objects: int, events: int) -> Iterator[str]:
    """Runs a stub; gives its URL."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, objects, events), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()
