#!/usr/bin/env python3
"""Measures what one-step runs cost when nothing decides anything: the upper bound of any operator on this machine.

    hack/bench/floor.py --bench DIR [--runs N] [--inflight N] [--events N]      (`plane.py` says what is in DIR)

Control plane and node are those of `runs.py`. First the operator runs twice, so that its objects can be had; then it
ends, and a client that knows them by heart makes the same writes for every run: status of the StoryRun (2), StepRun,
its status (2), Job, two Events. It looks at nothing but whether a run appeared and whether a component reported.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import resource
import ssl
import sys
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop
import yaml
from plane import Plane, bench_option, control_plane
from runs import SCENARIOS, manager, play

RUNS = "/apis/runs.bubustack.io/v1alpha1/namespaces/bench"
JOBS = "/apis/batch/v1/namespaces/bench/jobs"
EVENTS = "/apis/events.k8s.io/v1/namespaces/bench/events"
MERGE = "application/merge-patch+json"
CONNECTIONS = 32

LATE = {"conditions", "completed", "duration", "finishedAt", "message", "phase", "stepStates", "stepsComplete"}
"""What the second status write of a StoryRun brings; the first one brings the rest, and these as they are then."""
LATE_STEP = {"conditions", "duration", "exitClass", "exitCode", "podName", "lastOutputAt", "outputSchemaRef"}
SET_BY_NODE = {"phase", "finishedAt", "exitCode", "exitClass", "output"}

Object = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    bench_option(parser)
    parser.add_argument("--runs", type=int, default=SCENARIOS["throughput"].runs)
    parser.add_argument("--inflight", type=int, default=SCENARIOS["throughput"].inflight)
    parser.add_argument("--events", type=int, default=2, help="Events per run, at most 2")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bobrapet-bench-") as name:
        folder = Path(name)
        with control_plane(options.bench.resolve(), folder) as plane:
            with manager(plane.operator, folder / "manager.log"):
                node(plane, "model", 2, 1)
            model = Model.taken_from(plane, "model-00001")
            operator = Operator(plane.operator, model, options.events)
            thread = threading.Thread(target=lambda: uvloop.run(operator.run()), daemon=True)
            thread.start()
            operator.is_ready.wait(30)
            node(plane, "warm-up", 10, 5)
            before, written, own = plane.spent(), plane.writes(), resource.getrusage(resource.RUSAGE_SELF)
            row = node(plane, "floor", options.runs, options.inflight)
            now = resource.getrusage(resource.RUSAGE_SELF)
            spent = {who: seconds - before[who] for who, seconds in plane.spent().items()}
            spent |= row["cpu"]
            spent["the client"] = now.ru_utime + now.ru_stime - own.ru_utime - own.ru_stime
            operator.stop()
            thread.join(30)
            runs = options.runs
            print(f"runs per second      {row['runs_per_s']:.1f} ({runs} runs, {row['phases']})")
            each = ", ".join(f"{who} {seconds / runs * 1000:.1f}" for who, seconds in spent.items())
            print(f"CPU ms per run       {each}; together {sum(spent.values()) / runs * 1000:.1f}")
            counted = plane.writes() - written
            shown = ", ".join(f"{what} {number / runs:.2f}" for what, number in sorted(counted.items()))
            print(f"writes per run       {sum(counted.values()) / runs:.2f}: {shown}")
    return 0


def node(plane: Plane, prefix: str, runs: int, inflight: int) -> Object:
    """Creates runs and waits for their ends; says how long it took, and what CPU the node needed for it."""
    command = [plane.node, "-story", "one", "-delay", SCENARIOS["throughput"].delay, "-prefix", prefix]
    return play([*command, "-runs", str(runs), "-inflight", str(inflight)], plane)


@dataclass(frozen=True)
class Model:
    """What the operator wrote for one run. Names and UIDs in it stand for those of every other run."""

    name: str
    uid: str
    step_uid: str
    run_status: Object
    step: Object
    step_status: Object
    job: Object
    events: list[Object]

    @classmethod
    def taken_from(cls, plane: Plane, name: str) -> Model:
        call = plane.cluster.call
        run, step = call("GET", f"{RUNS}/storyruns/{name}"), call("GET", f"{RUNS}/stepruns/{name}-a")
        job = call("GET", f"{JOBS}/{name}-a")
        job.pop("status")
        # What the API server filled in at the Job's creation.
        for key in ("selector", "completions", "parallelism", "completionMode", "suspend", "manualSelector"):
            job["spec"].pop(key, None)
        for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
            for key in [key for key in labels if "controller-uid" in key or "job-name" in key]:
                del labels[key]
        told = [e for e in call("GET", EVENTS)["items"] if e["regarding"]["name"].startswith(name)]
        told = [e for e in told if e["regarding"]["kind"] in ("StoryRun", "StepRun")]
        run_status, step_status = run["status"], step.pop("status")
        uid, step_uid = run["metadata"]["uid"], step["metadata"]["uid"]
        return cls(name, uid, step_uid, run_status, _bare(step), step_status, _bare(job), [_bare(e) for e in told])

    def filled(self, body: Object, name: str, uid: str, step_uid: str = "") -> bytes:
        """`body` of the run `name`."""
        text = msgspec.json.encode(body).replace(self.name.encode(), name.encode())
        text = text.replace(self.uid.encode(), uid.encode())
        return text.replace(self.step_uid.encode(), step_uid.encode()) if step_uid else text


def _bare(obj: Object) -> Object:
    """The object as its author sends it."""
    obj = copy.deepcopy(obj)
    for key in ("managedFields", "uid", "resourceVersion", "creationTimestamp", "generation"):
        obj["metadata"].pop(key, None)
    return {key: value for key, value in obj.items() if not key.startswith("deprecated")}


class Operator:
    """Makes the writes of every run, and decides nothing."""

    def __init__(self, kubeconfig: Path, model: Model, events: int) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self._address = urlsplit(config["clusters"][0]["cluster"]["server"])
        self._token = config["users"][0]["user"]["token"]
        self._model = model
        self._uids: dict[str, str] = {}
        """StoryRun -> UID, of those that were begun."""
        self._ended: set[str] = set()
        self._free: asyncio.Queue[Connection]
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self.is_ready = threading.Event()
        early = {**model.run_status, "phase": "Running", "stepsComplete": 0}
        for key in ("completed", "duration", "finishedAt"):
            early.pop(key, None)
        self._begin_run = {"status": early}
        self._end_run = {"status": {key: value for key, value in model.run_status.items() if key in LATE}}
        first = {key: value for key, value in model.step_status.items() if key not in SET_BY_NODE | LATE_STEP}
        first["conditions"] = [c for c in model.step_status["conditions"] if c["type"] != "Finalized"]
        self._begin_step = {"status": {**first, "phase": "Running"}}
        self._end_step = {"status": {key: value for key, value in model.step_status.items() if key in LATE_STEP}}
        self._events = model.events[:events]

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)

    async def run(self) -> None:
        self._loop, self._stop, self._free = asyncio.get_running_loop(), asyncio.Event(), asyncio.Queue()
        for _ in range(CONNECTIONS):
            self._free.put_nowait(await self._connect())
        self._spawn(self._watch("storyruns", self._run_seen))
        self._spawn(self._watch("stepruns", self._step_seen))
        self.is_ready.set()
        await self._stop.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run_seen(self, run: Object) -> None:
        name, uid = run["metadata"]["name"], run["metadata"]["uid"]
        if name not in self._uids and "phase" not in run.get("status", {}):
            self._uids[name] = uid
            self._spawn(self._begin(name, uid))

    def _step_seen(self, step: Object) -> None:
        name = step["spec"]["storyRunRef"]["name"]
        if name in self._uids and name not in self._ended and step.get("status", {}).get("phase") == "Succeeded":
            self._ended.add(name)
            self._spawn(self._end(name, self._uids[name]))

    async def _begin(self, name: str, uid: str) -> None:
        model = self._model
        await self._send("PATCH", f"{RUNS}/storyruns/{name}/status", model.filled(self._begin_run, name, uid), MERGE)
        made = await self._send("POST", f"{RUNS}/stepruns", model.filled(model.step, name, uid))
        step_uid = msgspec.json.decode(made)["metadata"]["uid"]
        await self._tell(0, name, uid, step_uid)
        body = model.filled(self._begin_step, name, uid)
        await self._send("PATCH", f"{RUNS}/stepruns/{name}-a/status", body, MERGE)
        await self._send("POST", JOBS, model.filled(model.job, name, uid, step_uid))

    async def _end(self, name: str, uid: str) -> None:
        filled = self._model.filled
        await self._send("PATCH", f"{RUNS}/stepruns/{name}-a/status", filled(self._end_step, name, uid), MERGE)
        await self._send("PATCH", f"{RUNS}/storyruns/{name}/status", filled(self._end_run, name, uid), MERGE)
        await self._tell(1, name, uid, uid)

    async def _tell(self, number: int, name: str, uid: str, step_uid: str) -> None:
        if number < len(self._events):
            event = copy.deepcopy(self._events[number])
            event["metadata"]["name"] = f"{self._model.name}.{uuid.uuid4().hex[:16]}"
            await self._send("POST", EVENTS, self._model.filled(event, name, uid, step_uid))

    async def _send(self, method: str, path: str, body: bytes, kind: str = "application/json") -> bytes:
        connection = await self._free.get()
        try:
            return await connection.request(method, path, body, kind)
        finally:
            self._free.put_nowait(connection)

    async def _watch(self, plural: str, seen: Callable[[Object], None]) -> None:
        """Shows everything that is there, and every change. An API server ends a watch that it had to wait for; the
        next one begins with everything again."""
        while True:
            connection = await self._connect()
            with contextlib.suppress(asyncio.IncompleteReadError), contextlib.closing(connection):
                async for line in connection.lines(f"{RUNS}/{plural}?watch=true"):
                    event = msgspec.json.decode(line)
                    if event["type"] in ("ADDED", "MODIFIED"):
                        seen(event["object"])

    async def _connect(self) -> Connection:
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        host = self._address.hostname or ""
        streams = await asyncio.open_connection(host, self._address.port, ssl=tls, limit=2**24)
        return Connection(*streams, {"Host": host, "Authorization": f"Bearer {self._token}"})

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            print(f"failed: {task.exception()!r}", file=sys.stderr)


class Connection:
    """As little HTTP as an API server understands, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: Mapping[str, str]) -> None:
        self._reader = reader
        self._writer = writer
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def close(self) -> None:
        self._writer.close()

    async def request(self, method: str, path: str, body: bytes, kind: str) -> bytes:
        """The body of the answer; a refusal is raised."""
        about = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{self._headers}{about}\r\n".encode() + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        answer = b"".join([chunk async for chunk in self._chunks(head)])
        if not head.startswith(b"HTTP/1.1 20"):
            raise OSError(f"{method} {path}: {answer.decode(errors='replace')}")
        return answer

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of an answer that goes on."""
        self._writer.write(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        rest = b""
        async for chunk in self._chunks(head):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line

    async def _chunks(self, head: bytes) -> AsyncIterator[bytes]:
        headers = head.lower()
        if b"content-length: " in headers:
            yield await self._reader.readexactly(int(headers.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)


if __name__ == "__main__":
    sys.exit(main())
