"""An API server with our CRDs that asks our webhooks over TLS, in both worlds; nothing reconciles.

The manager is the real one, but somebody else holds its Lease: it serves webhooks and keeps caches, as every replica
does, and its controllers wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import urllib3

from bobrapet import manager
from bobrapet.admission import Service, webhook_configurations
from bobrapet.api import KINDS
from bobrapet.api.crds import crd_manifests
from bobrapet.runtime.envtest import Environment, LocalServing, PortLease, install_crds, install_webhooks
from bobrapet.runtime.envtest import Options as EnvironmentOptions
from bobrapet.runtime.manager import ControllerManager
from bobrapet.runtime.rest.config import RestConfig

T = TypeVar("T")
CONFIG = ("bobrapet-system", "bobrapet-operator-config")
NAMESPACES = ("ns", "other", "workflows", "shared", CONFIG[0])
WITHIN = 180.0
"""Seconds for what takes one on an idle machine."""
_PATHS = {
    "Secret": ("/api/v1", "secrets", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases", True),
    **{kind.KIND: (f"/apis/{kind.API_VERSION}", kind.PLURAL, kind.NAMESPACED) for kind in KINDS},
}
LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "held-by-another", "namespace": CONFIG[0]},
    "spec": {
        "holderIdentity": "another",
        "leaseDurationSeconds": 36000,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
    },
}


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    body: dict[str, Any]
    warnings: list[str]

    @property
    def accepted(self) -> bool:
        return self.status in (200, 201)

    @property
    def is_passing(self) -> bool:
        """Whether a webhook could not be asked in time, or could not read what it had to."""
        return self.status == 500 and any(words in self.text for words in ("failed calling webhook", "try again"))

    @property
    def causes(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = (self.body.get("details") or {}).get("causes") or []
        return found

    @property
    def text(self) -> str:
        return f"{self.status} {self.body.get('message', '')}"


class AdmissionWorld:
    """The API server as its administrator sees it."""

    def __init__(self, name: str, config: RestConfig) -> None:
        self.name = name
        authority = (config.ca_data or b"").decode()
        tls = ssl.create_default_context(cadata=authority)
        if config.cert_file:
            tls.load_cert_chain(config.cert_file, config.key_file)
        headers = {"Content-Type": "application/json"}
        if config.token:
            headers["Authorization"] = f"Bearer {config.token}"
        self._base = config.host
        self._made: dict[str, dict[str, Any]] = {}
        self._http = urllib3.PoolManager(ssl_context=tls, headers=headers, retries=False)

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Answer:
        """One request; asked again while no webhook has judged it, which has seconds to do so."""
        deadline = time.monotonic() + WITHIN
        while True:
            answer = self._call(method, path, body, content_type)
            if not answer.is_passing or time.monotonic() > deadline:
                return answer
            time.sleep(0.05)

    def _call(self, method: str, path: str, body: Any, content_type: str) -> Answer:
        text = json.dumps(body) if body is not None else None
        headers = {**self._http.headers, "Content-Type": content_type}
        answer = self._http.request(method, self._base + path, body=text, headers=headers)
        return Answer(answer.status, answer.json(), answer.headers.getlist("Warning"))

    def path(self, manifest: dict[str, Any], sub: str = "", *, collection: bool = False) -> str:
        base, plural, namespaced = _PATHS[manifest["kind"]]
        metadata = manifest["metadata"]
        where = f"/namespaces/{metadata['namespace']}" if namespaced else ""
        name = "" if collection else f"/{metadata['name']}{sub}"
        return f"{base}{where}/{plural}{name}"

    def create(self, manifest: dict[str, Any], *, dry_run: bool = False) -> Answer:
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        answer = self.call("POST", self.path(manifest, collection=True) + query, manifest)
        if answer.accepted and not dry_run:
            self._made[self.path(manifest)] = manifest
        return answer

    def update(self, manifest: dict[str, Any], sub: str = "", *, dry_run: bool = False) -> Answer:
        """Replaces what is stored, whatever version it has."""
        stored = self.get(manifest)
        assert stored is not None, manifest["metadata"]
        metadata = {**manifest["metadata"], "resourceVersion": stored["metadata"]["resourceVersion"]}
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.call("PUT", self.path(manifest, sub) + query, {**manifest, "metadata": metadata})

    def get(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        answer = self.call("GET", self.path(manifest))
        return answer.body if answer.accepted else None

    def delete(self, manifest: dict[str, Any]) -> None:
        answer = self.call("DELETE", self.path(manifest))
        assert answer.status in (200, 202, 404), answer.text
        self._made.pop(self.path(manifest), None)

    def replace(self, manifest: dict[str, Any]) -> Answer:
        """Deletes what has the name, and creates it anew."""
        self.delete(manifest)
        return self.create(manifest)

    def clear(self) -> None:
        """Deletes everything that was created, but Lease and ConfigMap."""
        for manifest in [*self._made.values()]:
            if manifest["kind"] not in ("Lease", "ConfigMap"):
                self.delete(manifest)

    def configure(self, settled: Callable[[], bool], **data: str) -> None:
        """Changes the operator's ConfigMap and waits until the webhooks go by it."""
        metadata = {"namespace": CONFIG[0], "name": CONFIG[1]}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        answer = self.update(manifest) if self.get(manifest) else self.create(manifest)
        assert answer.accepted, answer.text
        _wait_for(settled)


def _wait_for(settled: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not settled():
        assert time.monotonic() < deadline, "the webhooks do not go by the configuration"
        time.sleep(0.05)


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WITHIN)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN)
        self._loop.close()


@contextmanager
def admission_world(name: str, folder: Path) -> Iterator[AdmissionWorld]:
    """Starts everything; the webhooks are asked when it yields."""
    with contextlib.ExitStack() as stack:
        loop = LoopThread()
        stack.callback(loop.close)
        start = _real if name == "envtest" else _embedded
        config = stack.enter_context(start(loop))
        loop.run(install_crds(config, crd_manifests()))
        world = AdmissionWorld(name, config)
        for namespace in NAMESPACES:
            world.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        assert world.create({**LEASE, "spec": {**LEASE["spec"], "renewTime": _now()}}).accepted
        serving = LocalServing.prepare(folder / "certs", stack.enter_context(PortLease()))
        operator = loop.run(_build(config, serving))
        running = asyncio.run_coroutine_threadsafe(operator.start(), loop._loop)

        def stop() -> None:
            loop._loop.call_soon_threadsafe(operator.request_stop)
            running.result(WITHIN)

        stack.callback(stop)
        loop.run(operator.get_webhook_server().ready())
        loop.run(install_webhooks(config, serving, webhook_configurations(Service())))
        _wait_for(lambda: _is_filled_in(world) and _is_judged(world))
        yield world


async def _build(config: RestConfig, serving: LocalServing) -> ControllerManager:
    options = manager.Options(
        webhook_cert_path=str(serving.cert_dir),
        webhook_port=serving.port,
        leader_elect=True,
        leader_election_lease_duration="10h",  # no test takes that long, so nobody takes the Lease over
        leader_election_id=LEASE["metadata"]["name"],  # type: ignore[index]
        leader_election_namespace=CONFIG[0],
    )
    return await manager.build(config, options)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())


def _is_filled_in(world: AdmissionWorld) -> bool:
    """Whether the API server has heard of the mutating webhooks."""
    answer = _probed(world, {"execution": {}})
    return answer.accepted and "retry" in answer.body["spec"]["steps"][0]["execution"]


def _is_judged(world: AdmissionWorld) -> bool:
    """Whether it has heard of the validating ones, of which it hears separately."""
    return _probed(world, {"needs": ["nobody"]}).status == 422


def _probed(world: AdmissionWorld, fields: dict[str, Any]) -> Answer:
    metadata = {"name": "probe", "namespace": "ns"}
    spec = {"steps": [{"name": "a", "type": "condition", **fields}]}
    probe = {"apiVersion": "bubustack.io/v1alpha1", "kind": "Story", "metadata": metadata, "spec": spec}
    return world.create(probe, dry_run=True)


@contextmanager
def _real(loop: LoopThread) -> Iterator[RestConfig]:
    with Environment(EnvironmentOptions(controllers=False)) as environment:
        yield environment.config


@contextmanager
def _embedded(loop: LoopThread) -> Iterator[RestConfig]:
    from bobrapet.local.apiserver import ApiServer

    server = ApiServer()
    loop.run(server.start())
    try:
        yield RestConfig(host=server.url, ca_data=server.ca_pem.encode(), token=server.admin_token)
    finally:
        loop.run(server.stop())
