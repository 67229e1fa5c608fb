"""Probes decide by the rules of a kubelet; checked in virtual time, with actions that a test answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
from aiohttp import web

from bobrapet.local.node import grpchealth
from bobrapet.local.node.actions import Actor
from bobrapet.local.node.probes import Probe, Prober, probes_of
from bobrapet.local.node.processes import Command, Launcher
from bobrapet.runtime.clock import FakeClock

from .pods import container


class Watched:
    """A container whose probes a test answers, and what came of it."""

    def __init__(self, **probes: dict[str, Any]) -> None:
        self.clock = FakeClock()
        self.healthy = {"startup": True, "liveness": True, "readiness": True}
        self.log: list[str] = []
        given = {f"{kind}Probe": {"exec": {"command": [kind]}, **probe} for kind, probe in probes.items()}
        self._prober = Prober(
            probes_of(container(**given)),
            self,  # type: ignore[arg-type]
            self.clock,
            started=lambda: self.log.append("started"),
            ready=lambda value: self.log.append("ready" if value else "unready"),
            unhealthy=lambda probe, why: self.log.append(f"{probe.kind} failed: {why}"),
            dead=lambda probe: self.log.append(f"dead by {probe.kind}"),
        )

    async def act(self, action: Mapping[str, Any], timeout: float | None = None) -> str:
        (kind,) = action["exec"]["command"]
        return "" if self.healthy[kind] else "no"

    async def __aenter__(self) -> Watched:
        self._task = asyncio.create_task(self._prober.run())
        await self.clock.advance(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def after(self, seconds: float) -> list[str]:
        """What was told within the next `seconds`."""
        self.log.clear()
        for _ in range(round(seconds)):
            await self.clock.advance(1)
        return list(self.log)


async def test_without_probes_a_container_is_started_and_ready_at_once() -> None:
    async with Watched() as watched:
        assert watched.log == ["started", "ready"]


async def test_a_container_is_ready_when_its_probe_says_so_and_unready_after_enough_failures() -> None:
    async with Watched(readiness={"periodSeconds": 1, "initialDelaySeconds": 2, "failureThreshold": 2}) as watched:
        assert watched.log == ["started"]
        assert await watched.after(1) == []
        assert await watched.after(1) == ["ready"]
        watched.healthy["readiness"] = False
        assert await watched.after(1) == ["readiness failed: no"]
        assert await watched.after(1) == ["readiness failed: no", "unready"]
        watched.healthy["readiness"] = True
        assert await watched.after(1) == ["ready"]


async def test_one_success_forgives_the_failures_before_it() -> None:
    async with Watched(liveness={"periodSeconds": 1, "failureThreshold": 2}) as watched:
        for _ in range(3):
            watched.healthy["liveness"] = False
            assert await watched.after(1) == ["liveness failed: no"]
            watched.healthy["liveness"] = True
            assert await watched.after(1) == []


async def test_a_liveness_probe_that_fails_often_enough_ends_the_container_once() -> None:
    async with Watched(liveness={"periodSeconds": 1}, readiness={"periodSeconds": 1}) as watched:
        watched.healthy["liveness"] = False
        assert (await watched.after(3))[-1] == "dead by liveness"
        assert await watched.after(10) == []


async def test_the_startup_probe_comes_first_and_alone() -> None:
    probes = {"startup": {"periodSeconds": 2, "failureThreshold": 30}, "liveness": {"periodSeconds": 1}}
    watched = Watched(**probes)
    watched.healthy.update(startup=False, liveness=False)
    async with watched:
        assert set(await watched.after(20)) == {"startup failed: no"}
        watched.healthy.update(startup=True, liveness=True)
        assert await watched.after(2) == ["started", "ready"]


async def test_a_container_that_never_starts_up_is_ended() -> None:
    watched = Watched(startup={"periodSeconds": 1, "failureThreshold": 3})
    watched.healthy["startup"] = False
    async with watched:
        assert (await watched.after(5))[-1] == "dead by startup"


def test_defaults_are_those_of_the_api() -> None:
    probe = probes_of(container(livenessProbe={"tcpSocket": {"port": 1}}))["liveness"]
    assert probe == Probe("liveness", {"tcpSocket": {"port": 1}}, 0, 10, 1, 1, 3, None)


@pytest.fixture
def nobodys_port() -> Iterator[int]:
    """A port that is taken and on which nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
async def actor(nobodys_port: int) -> AsyncIterator[Actor]:
    launcher = Launcher()
    spec = container(ports=[{"name": "web", "containerPort": nobodys_port}])
    yield Actor(launcher, spec, Command(("x",), {"PATH": "/usr/bin:/bin", "V": "1"}, "/tmp"), "127.0.0.1")
    await launcher.aclose()


async def test_a_command_runs_with_the_environment_and_folder_of_its_container(actor: Actor) -> None:
    assert await actor.act({"exec": {"command": ["sh", "-c", 'test "$V$PWD" = 1/tmp']}}) == ""
    assert await actor.act({"exec": {"command": ["sh", "-c", "echo broken >&2; exit 3"]}}) == "broken"
    assert await actor.act({"exec": {"command": ["false"]}}) == "command exited with 1"


async def test_a_command_that_takes_too_long_is_killed(actor: Actor) -> None:
    assert await actor.act({"exec": {"command": ["sleep", "60"]}}, 0.05) == "timed out after 0.05s"


async def test_an_answer_of_2xx_or_3xx_is_well(actor: Actor) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers.get("X-Probe")))
        return web.Response(status=int(request.path.rpartition("/")[2]))

    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    headers = [{"name": "X-Probe", "value": "yes"}]
    assert await actor.act({"httpGet": {"port": port, "path": "/s/204", "httpHeaders": headers}}) == ""
    assert await actor.act({"httpGet": {"port": port, "path": "/503"}}) == "HTTP probe failed with statuscode: 503"
    assert await actor.act({"tcpSocket": {"port": port}}) == ""
    await runner.cleanup()
    assert asked[0] == ("/s/204", "yes")


async def test_where_nobody_listens_that_is_said(actor: Actor, nobodys_port: int) -> None:
    assert "connect" in (await actor.act({"httpGet": {"port": nobodys_port}})).lower()
    told = await actor.act({"tcpSocket": {"port": nobodys_port}})
    assert told.startswith(f"dial tcp 127.0.0.1:{nobodys_port}")


async def test_a_named_port_is_that_of_the_container(actor: Actor, nobodys_port: int) -> None:
    assert (await actor.act({"tcpSocket": {"port": "web"}})).startswith(f"dial tcp 127.0.0.1:{nobodys_port}")


async def test_what_this_node_cannot_do_is_said(actor: Actor) -> None:
    assert await actor.act({"smoke": {"port": 1}}) == "a smoke action is not offered by this node"


HEALTH = {"": b"\x08\x01", "good": b"\x08\x01", "bad": b"\x08\x02", "x" * 200: b"\x08\x01", "unsure": b""}


@pytest.fixture
def health() -> Iterator[int]:
    """The port of a gRPC server that answers for the services of HEALTH as the health protocol wants it."""
    grpc = pytest.importorskip("grpc")
    from concurrent.futures import ThreadPoolExecutor

    def check(request: bytes, context: Any) -> bytes:
        name = request[request.index(b"\x01", 2) + 1 if len(request) > 129 else 2 :].decode()
        if name not in HEALTH:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no {name}")
        return HEALTH[name]

    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("service", "answer"),
    [
        ("", ""),
        ("good", ""),
        ("x" * 200, ""),
        ("bad", 'service unhealthy (responded with "NOT_SERVING")'),
        ("unsure", 'service unhealthy (responded with "UNKNOWN")'),
        ("absent", "error: health rpc failed: NOT_FOUND: no absent"),
    ],
)
async def test_a_grpc_probe_asks_the_health_protocol(health: int, service: str, answer: str) -> None:
    assert await grpchealth.check(f"127.0.0.1:{health}", service, 60) == answer


async def test_a_grpc_probe_of_nobody_says_that_it_could_not_connect(actor: Actor, nobodys_port: int) -> None:
    pytest.importorskip("grpc")
    told = await actor.act({"grpc": {"port": nobodys_port, "service": None}}, 60)
    assert told.startswith(f'error: failed to connect service "127.0.0.1:{nobodys_port}"')


async def test_a_grpc_probe_without_the_library_says_what_to_install() -> None:
    assert "pip install grpcio" in await grpchealth.check("127.0.0.1:1", "", 1, library="no_such_library")
