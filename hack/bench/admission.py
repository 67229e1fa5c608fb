#!/usr/bin/env python3
"""Admissions per second of a 50-step Story, in the handler and over TLS (argument: how many).

`/s per core` is by the processor time of this process, which judges as the manager does; over TLS the asker is another
process, as the API server is.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import ssl
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import uvloop

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.unit.admission.world import World, question  # noqa: E402
from tests.unit.validation.builders import engram, story, template, typed  # noqa: E402

from bobrapet.admission import Defaulter, Url, Validator, webhook_configurations  # noqa: E402
from bobrapet.admission.lookups import Readers  # noqa: E402
from bobrapet.api import Story  # noqa: E402
from bobrapet.manager import calm_the_collector  # noqa: E402
from bobrapet.runtime.client.interfaces import Reader  # noqa: E402
from bobrapet.runtime.client.object import ObjectKey  # noqa: E402
from bobrapet.runtime.envtest import LocalServing, PortLease  # noqa: E402
from bobrapet.runtime.webhook import Options, Server  # noqa: E402
from bobrapet.runtime.webhook.admission import Webhook  # noqa: E402

STEPS = 50
ENGRAMS = 5
CONNECTIONS = 4


def chain(length: int) -> dict[str, Any]:
    """A chain: every step reads the one before it, in a condition and in inputs, one of which must be an integer."""
    steps = ["name: s0, ref: {name: e0}, execution: {}, with: {url: 'https://x'}"]
    for index in range(1, length):
        before = f".steps.s{index - 1}.output"
        steps.append(
            f"name: s{index}, ref: {{name: e{index % ENGRAMS}}}, needs: [s{index - 1}], "
            f"if: '{{{{ eq {before}.ok true }}}}', with: {{url: 'https://x/{{{{ {before}.body }}}}', n: {index}, "
            f"page: '{{{{ {before}.next }}}}'}}"
        )
    return story(*steps)


INPUTS = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string", "minLength": 1},
        "n": {"type": "integer", "minimum": 0},
        "page": {"type": "integer"},
        "method": {"enum": ["GET", "POST"], "default": "GET"},
    },
}


class Cache:
    """Typed objects in memory, as the informers of the manager keep them."""

    def __init__(self, *manifests: dict[str, Any]) -> None:
        self._objects = {(obj.KIND, obj.metadata.name): obj for obj in map(typed, manifests)}

    async def get(self, cls: type[Any], key: ObjectKey, **options: Any) -> Any:
        return self._objects[cls.KIND, key.name]


def with_other_texts(given: dict[str, Any], number: int) -> dict[str, Any]:
    """The same Story with templates that were never seen before."""
    raw = msgspec.json.encode(given).replace(b"https://x/", b"https://x%d/" % number)
    changed: dict[str, Any] = msgspec.json.decode(raw.replace(b".ok true", b".ok%d true" % number))
    return changed


async def measure(name: str, ask_once: Callable[[], Awaitable[None]], rounds: int, at_once: int = 1) -> None:
    times: list[float] = []

    async def worker() -> None:
        for _ in range(rounds // at_once):
            began = time.perf_counter()
            await ask_once()
            times.append((time.perf_counter() - began) * 1000)

    await ask_once()
    calm_the_collector()
    began = time.perf_counter()
    cpu = time.process_time()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    took = time.perf_counter() - began
    report(name, [took, *times], len(times) / (time.process_time() - cpu))


def report(name: str, measured: list[float], per_core: float) -> None:
    """`measured`: the seconds of all together, then the milliseconds of each."""
    took, *times = measured
    times.sort()
    p50, p99 = times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)]
    print(f"{name:28s} {len(times) / took:9.0f} {per_core:11.0f} {p50:8.2f} {p99:8.2f}")


def asker(folder: Path, url: str, body: bytes, authority: bytes) -> list[str]:
    """The command of the other process, save for how often it asks."""
    (folder / "question").write_bytes(body)
    (folder / "authority").write_bytes(authority)
    return [sys.executable, __file__, "ask", url, str(folder)]


async def ask(url: str, body: bytes, authority: str, rounds: int) -> None:
    """What the other process does: it asks over a few connections and prints how long it took."""
    place, _, path = url.removeprefix("https://").partition("/")
    host, _, port = place.rpartition(":")
    trust = ssl.create_default_context(cadata=authority)
    head = f"POST /{path}?timeout=10s HTTP/1.1\r\nHost: {place}\r\nContent-Type: application/json\r\n"
    asked = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    times: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=trust)
        for _ in range(rounds // CONNECTIONS):
            began = time.perf_counter()
            writer.write(asked)
            fields = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0])
            assert msgspec.json.decode(await reader.readexactly(length))["response"]["allowed"]
            times.append((time.perf_counter() - began) * 1000)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    print(msgspec.json.encode([time.perf_counter() - began, *times]).decode())


async def main(rounds: int) -> None:
    around = [*(engram(f"e{index}") for index in range(ENGRAMS)), template(inputSchema=INPUTS)]
    world = World(*around)
    readers = Readers(cached=cast(Reader, Cache(*around)), live=world.live)
    validator = Webhook(Validator(Story, readers, lambda: world.config))
    defaulter = Webhook(Defaulter(Story, lambda: world.config))
    fifty_steps = chain(STEPS)
    asked = question(fifty_steps)
    thousand_steps = chain(1000)
    asked_of_thousand = question(thousand_steps)

    async def judge() -> None:
        assert (await validator.handle(asked)).allowed

    fresh = itertools.count()

    async def judge_new_texts() -> None:
        assert (await validator.handle(question(with_other_texts(fifty_steps, next(fresh))))).allowed

    async def judge_thousand() -> None:
        assert (await validator.handle(asked_of_thousand)).allowed

    async def judge_new_thousand() -> None:
        assert (await validator.handle(question(with_other_texts(thousand_steps, next(fresh))))).allowed

    async def update_label() -> None:
        assert (await validator.handle(relabelled)).allowed

    async def fill() -> None:
        assert (await defaulter.handle(asked)).patches

    relabelled = question({**fifty_steps, "metadata": {**fifty_steps["metadata"], "labels": {"a": "b"}}}, fifty_steps)
    print(f"{STEPS}-step Story, {rounds} times{'/s':>21s} {'/s per core':>11s} {'p50 ms':>8s} {'p99 ms':>8s}")
    await measure("validate, handler", judge, rounds)
    await measure("validate, texts never seen", judge_new_texts, rounds // 4)
    await measure("update of a label", update_label, rounds)
    await measure("1,000 steps (goal 100 ms)", judge_thousand, max(rounds // 20, 5))
    await measure("1,000 steps, never seen", judge_new_thousand, max(rounds // 40, 3))
    await measure("default, handler", fill, rounds)
    with tempfile.TemporaryDirectory() as folder, PortLease() as ports:
        serving = LocalServing.prepare(Path(folder), ports)
        server = Server(Options(host=serving.host, port=serving.port, cert_dir=folder))
        (path,) = {
            hook["clientConfig"]["url"]
            for hook in webhook_configurations(Url(f"https://{serving.host}:{serving.port}"))[1]["webhooks"]
            if hook["name"].startswith("vstory-")
        }
        server.register("/" + path.split("/", 3)[3], validator)
        running = asyncio.create_task(server.start())
        await server.ready()
        command = asker(Path(folder), path, review(asked.object), serving.ca)
        for times in (CONNECTIONS, rounds):  # the first warms up
            cpu = time.process_time()
            asking = await asyncio.create_subprocess_exec(*command, str(times), stdout=asyncio.subprocess.PIPE)
            told, _ = await asking.communicate()
            assert asking.returncode == 0
            cpu = time.process_time() - cpu
        report("validate, over TLS", msgspec.json.decode(told, type=list[float]), float(times / cpu))
        running.cancel()
        await asyncio.wait([running])


def review(raw: bytes) -> bytes:
    request = {
        "uid": base64.b16encode(b"bench").decode(),
        "operation": "CREATE",
        "name": "x",
        "namespace": "ns",
        "kind": {"group": "bubustack.io", "version": "v1alpha1", "kind": "Story"},
        "object": msgspec.Raw(raw),
    }
    return msgspec.json.encode({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})


if __name__ == "__main__":
    if sys.argv[1:2] == ["ask"]:
        files = Path(sys.argv[3])
        authority = (files / "authority").read_text()
        uvloop.run(ask(sys.argv[2], (files / "question").read_bytes(), authority, int(sys.argv[4])))
    else:
        uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 400))
