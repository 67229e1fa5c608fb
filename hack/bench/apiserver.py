#!/usr/bin/env python3
"""Rates of the embedded API server: GET, PUT, create, list, watch fan-out; in memory and on disk.

    .venv/bin/python hack/bench/apiserver.py [--seconds 2] [--connections 16]

The server runs in a process of its own; the client sends prepared bytes over raw TLS sockets, so that the server is
what is measured. Prints one table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

SERVE = """
import asyncio, json, sys
from pathlib import Path
from bobrapet.local.apiserver import ApiServer, Options
async def main():
    server = ApiServer(Options(data_dir=Path(sys.argv[1]) if sys.argv[1] else None))
    await server.start()
    print(json.dumps([server.port, server.admin_token, server.ca_pem]), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop()
try:
    import uvloop
    uvloop.run(main())
except ImportError:
    asyncio.run(main())
"""
PATH = "/api/v1/namespaces/default/configmaps"
PAYLOAD = "x" * 400


class Connection:
    """One keep-alive connection that answers whole responses."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self._reader, self._writer, self._token = reader, writer, token

    @classmethod
    async def open(cls, port: int, token: str, context: ssl.SSLContext) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1 << 26)
        return cls(reader, writer, token)

    def head(self, method: str, path: str, size: int, type: str) -> bytes:
        return (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: {type}\r\nContent-Length: {size}\r\n\r\n"
        ).encode()

    async def __call__(self, method: str, path: str, body: Any = None, type: str = "application/json") -> bytes:
        data = json.dumps(body).encode() if body is not None else b""
        self._writer.write(self.head(method, path, len(data), type) + data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await self._reader.readexactly(size)
        assert head[9:10] == b"2", (head, answer[:500])
        return answer

    async def count_events(self, path: str, wanted: int) -> None:
        """Opens a watch and returns after `wanted` events."""
        self._writer.write(self.head("GET", path, 0, "application/json"))
        await self._reader.readuntil(b"\r\n\r\n")
        seen = 0
        while seen < wanted:
            seen += (await self._reader.read(1 << 20)).count(b'{"type":"')

    def close(self) -> None:
        self._writer.transport.abort()


def configmap(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **metadata},
        "data": {"payload": PAYLOAD},
    }


async def rate(
    connections: list[Connection], seconds: float, step: Callable[[Connection, int, int], Awaitable[Any]]
) -> float:
    """Steps per second over all connections."""
    end = time.perf_counter() + seconds
    counts = [0] * len(connections)

    async def run(index: int) -> None:
        while time.perf_counter() < end:
            await step(connections[index], index, counts[index])
            counts[index] += 1

    start = time.perf_counter()
    await asyncio.gather(*(run(index) for index in range(len(connections))))
    return sum(counts) / (time.perf_counter() - start)


def bench(folder: str, seconds: float, count: int) -> dict[str, float]:
    """Measures one server; "" as its folder keeps everything in memory."""
    command = [sys.executable, "-c", SERVE, folder]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        port, token, authority = json.loads(server.stdout.readline())
        result = asyncio.run(measure(port, token, authority, seconds, count))
        result["RSS MB"] = resident(server.pid)
        return result
    finally:
        server.stdin.close()
        server.wait(10)


def resident(pid: int) -> float:
    """Megabytes of a process."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


async def measure(port: int, token: str, authority: str, seconds: float, count: int) -> dict[str, float]:
    context = ssl.create_default_context(cadata=authority)
    pool = await asyncio.gather(*(Connection.open(port, token, context) for _ in range(count)))
    try:
        for index in range(count):
            await pool[0]("POST", PATH, configmap(f"own{index}"))
        result: dict[str, float] = {}
        result["GET"] = await rate(pool, seconds, lambda c, i, n: c("GET", f"{PATH}/own{i}"))
        result["PUT"] = await rate(
            pool, seconds, lambda c, i, n: c("PUT", f"{PATH}/own{i}", configmap(f"own{i}", labels={"n": str(n)}))
        )
        result["merge patch"] = await rate(
            pool,
            seconds,
            lambda c, i, n: c("PATCH", f"{PATH}/own{i}", {"data": {"n": str(n)}}, "application/merge-patch+json"),
        )
        result["create"] = await rate(pool, seconds, lambda c, i, n: c("POST", PATH, configmap(f"made-{i}-{n}")))
        one = pool[:1]
        result["PUT, 1 client"] = await rate(
            one, seconds, lambda c, i, n: c("PUT", f"{PATH}/own{i}", configmap(f"own{i}", labels={"m": str(n)}))
        )
        body = await pool[0]("GET", f"{PATH}?limit=1000")
        result["list of 1,000"] = await rate(one, seconds, lambda c, i, n: c("GET", f"{PATH}?limit=1000"))
        result["list MB/s"] = result["list of 1,000"] * len(body) / 1e6
        result["watch events"] = await fan_out(pool, port, token, context)
        return result
    finally:
        for connection in pool:
            connection.close()


async def fan_out(pool: list[Connection], port: int, token: str, context: ssl.SSLContext) -> float:
    """Events per second delivered to 50 watchers of one resource."""
    writes, watchers = 400, 50
    namespace = "/api/v1/namespaces/kube-public/configmaps"
    await pool[0]("POST", namespace, configmap("w"))
    listed = json.loads(await pool[0]("GET", namespace))["metadata"]["resourceVersion"]
    opened = await asyncio.gather(*(Connection.open(port, token, context) for _ in range(watchers)))
    start = time.perf_counter()
    watching = [
        asyncio.ensure_future(c.count_events(f"{namespace}?watch=1&resourceVersion={listed}", writes)) for c in opened
    ]
    for number in range(writes):
        await pool[0]("PUT", f"{namespace}/w", configmap("w", labels={"n": str(number)}))
    await asyncio.gather(*watching)
    elapsed = time.perf_counter() - start
    for connection in opened:
        connection.close()
    return writes * watchers / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=16)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with tempfile.TemporaryDirectory() as folder:
        memory = bench("", arguments.seconds, arguments.connections)
        disk = bench(folder, arguments.seconds, arguments.connections)
    print(f"{os.cpu_count()} cores, {arguments.connections} connections, TLS; per second")
    print(f"{'':<16}{'in memory':>12}{'on disk':>12}")
    for name, value in memory.items():
        print(f"{name:<16}{value:>12,.0f}{disk[name]:>12,.0f}")


if __name__ == "__main__":
    main()
