"""The server as a whole: what it is made of, how it starts and stops."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import secrets
import socket
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from bobrapet import __version__
from bobrapet.local.apiserver import crd, discovery, errors, pki, swagger
from bobrapet.local.apiserver.admission import Chain, NamespaceLifecycle, PodAccounts
from bobrapet.local.apiserver.api import Api
from bobrapet.local.apiserver.authorization import AllowAuthenticated, Attributes, Authorizer, check
from bobrapet.local.apiserver.collector import Collector
from bobrapet.local.apiserver.errors import AddressUnusable, IdentityDamaged, PortTaken
from bobrapet.local.apiserver.expiry import EventExpiry
from bobrapet.local.apiserver.http import Front, Request, Response, json_response
from bobrapet.local.apiserver.kinds import builtin_resources
from bobrapet.local.apiserver.lifecycle import DEFINITIONS, Lifecycle
from bobrapet.local.apiserver.openapi import OpenApi
from bobrapet.local.apiserver.reading import Reader
from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.rest import Rest
from bobrapet.local.apiserver.reviews import Reviews, review_resources
from bobrapet.local.apiserver.subresources import LogSource, Subresources
from bobrapet.local.apiserver.tokens import Tokens
from bobrapet.local.apiserver.types import Object
from bobrapet.local.apiserver.webhooks import Webhooks
from bobrapet.local.store import Change, ChangeType, Key, Store, StoreUnavailable

_IDENTITY = "identity.json"
_HEADER_LIMIT = 256 * 1024
"""Bytes of a request line (selectors may be long) and of a header."""
_SHUTDOWN = 1.0
"""Seconds that requests in flight get to finish."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an `ApiServer` runs."""

    data_dir: Path | None = None
    """Where objects, certificates, keys and tokens are kept. None: in memory only, gone with the process."""

    host: str = "127.0.0.1"
    """The address to listen on."""

    port: int = 0
    """The port; 0 takes the one of the last start with this `data_dir`, else a free one."""

    durable: bool = False
    """Whether an acknowledged write also survives a power cut, not only a crash of the process. Slower."""

    logs: LogSource | None = None
    """Where `pods/log` reads; may be set later with `ApiServer.serve_logs`."""

    authorizer: Authorizer = field(default_factory=AllowAuthenticated)
    """Who may do what."""

    now: Callable[[], datetime] = _utc_now
    """The clock of creation times and token lifetimes."""


class ApiServer:
    """A Kubernetes-compatible API server in this process and event loop."""

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or Options()
        directory = self._options.data_dir
        self._store = Store(directory / "store" if directory else None, durable=self._options.durable)
        self._registry = Registry()
        self._reader = Reader(self._store)
        self._webhooks = Webhooks(self._store, self._registry)
        parts = (NamespaceLifecycle(self._store, self._registry), PodAccounts(self._store), self._webhooks)
        self._rest = Rest(self._store, Chain(parts))
        self._subresources = Subresources(self._rest, self._options.logs)
        self._reviews = Reviews(self._options.authorizer)
        self._api = Api(
            self._registry,
            self._rest,
            self._reader,
            self._subresources,
            self._reviews,
            self._options.authorizer,
            lambda: f"{self._options.host}:{self.port}",
        )
        now = self._options.now
        self._lifecycle = Lifecycle(self._store, self._registry, self._rest, now, lambda: self.ca_pem)
        self._collector = Collector(self._store, self._registry, self._rest, now)
        self._expiry = EventExpiry(self._store, self._registry, self._rest, now)
        self._openapi = OpenApi(self._registry)
        self._runner: web.ServerRunner | None = None
        self._identity: _Identity | None = None
        self._tokens: Tokens | None = None
        self.port = 0
        """The port it listens on, once started."""
        self.serving_context: ssl.SSLContext | None = None
        """Its TLS context, once started; whoever else serves on the same host may use it too."""

    @property
    def url(self) -> str:
        """Where it listens: `https://host:port`."""
        return f"https://{self._options.host}:{self.port}"

    @property
    def ca_pem(self) -> str:
        """The certificate to trust."""
        return self._require().pki.ca_certificate

    @property
    def admin_token(self) -> str:
        """The bearer token of the administrator."""
        return self._require().admin_token

    async def start(self) -> None:
        """Opens the store and listens. Raises `StoreError`, `IdentityDamaged`, `AddressUnusable`."""
        options = self._options
        self._store.open()
        try:
            identity = self._identity = _Identity.load(options)
            self._tokens = Tokens(identity.admin_token, identity.pki.token_key, self._uid_of, options.now)
            self._subresources.tokens = self._reviews.tokens = self._tokens
            for resource in (*builtin_resources(), *review_resources()):
                self._registry.add(resource)
            for record in self._store.list(DEFINITIONS):
                crd.serve(self._registry, record.object())
            self._store.subscribe(self._changed)
            self._webhooks.start()
            await self._lifecycle.start()
            self._collector.start()
            self._expiry.start()
            await self._listen(identity)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends watches, lets requests finish for a moment, closes the store."""
        self._reader.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._webhooks.stop()
        await self._expiry.stop()
        await self._collector.stop()
        await self._lifecycle.stop()
        await self._store.close()

    @property
    def refused(self) -> asyncio.Future[StoreUnavailable] | None:
        """Done when the disk refuses a write for the first time; None when there is no disk."""
        return self._store.refused

    def serve_logs(self, logs: LogSource) -> None:
        """Lets `pods/log` read from whoever runs pods."""
        self._subresources.logs = logs

    async def issue_token(self, namespace: str, account: str, *, seconds: int = 3600) -> str:
        """A bearer token of an existing ServiceAccount."""
        assert self._tokens is not None
        uid = self._uid_of("serviceaccounts", namespace, account)
        if uid is None:
            resource = self._registry.get("", "v1", "serviceaccounts")
            assert resource is not None
            raise errors.not_found(resource, account)
        return self._tokens.issue(namespace, account, uid, seconds=seconds)[0]

    def write_kubeconfig(self, path: Path, *, token: str = "", namespace: str = "default") -> None:
        """Writes a kubeconfig for `token` (default: the administrator's), readable by its owner only."""
        config = kubeconfig(self.url, self.ca_pem, token or self.admin_token, namespace)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(config, file, indent=2)
            file.write("\n")

    async def _listen(self, identity: _Identity) -> None:
        options = self._options
        assert self._tokens is not None
        front = Front(self._handle, self._tokens.authenticate, options.now)
        server = web.Server(front, access_log=None, max_line_size=_HEADER_LIMIT, max_field_size=_HEADER_LIMIT)
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN)
        await self._runner.setup()
        port = options.port or identity.port
        bound = _bind(options.host, port)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            (path / "serving.pem").write_text(identity.pki.certificate + identity.pki.key)
            context = self.serving_context = identity.pki.server_context(path)
        await web.SockSite(self._runner, bound, ssl_context=context, backlog=1024).start()
        self.port = bound.getsockname()[1]
        identity.keep(options, self.port)

    async def _handle(self, request: Request) -> Response:
        path = request.path
        if path.startswith(("/api/", "/apis/")) and len(path.split("/")) > 3:
            return await self._api.serve(request)
        check(self._options.authorizer, Attributes(user=request.user, verb=request.method.lower(), path=path))
        if path.startswith(("/api/", "/apis/")) or path in ("/api", "/apis"):
            return await self._api.serve(request)
        if path in ("/healthz", "/livez", "/readyz"):
            return Response(b"ok", content_type="text/plain; charset=utf-8")
        if path == "/openapi/v3":
            return json_response(self._openapi.index())
        if path == "/openapi/v2":
            if "protobuf" in request.headers.get("Accept", ""):
                return Response(swagger.binary(self._registry.all()), content_type=swagger.MEDIA_TYPE)
            return Response(self._openapi.swagger())
        if path.startswith("/openapi/v3/") and (document := self._openapi.document(path[12:])) is not None:
            return Response(document)
        if path in ("/version", "/version/"):
            return json_response(discovery.version(__version__))
        raise errors.no_such_path()

    def _changed(self, change: Change) -> None:
        if change.record.key.resource == DEFINITIONS:
            definition = change.record.object()
            if change.type is ChangeType.DELETED:
                crd.withdraw(self._registry, definition)
            else:
                crd.serve(self._registry, definition)

    def _uid_of(self, resource: str, namespace: str, name: str) -> str | None:
        record = self._store.get(Key(resource, namespace, name))
        return record.object()["metadata"]["uid"] if record else None

    def _require(self) -> _Identity:
        if self._identity is None:
            raise RuntimeError("the server is not started")
        return self._identity


@dataclass(slots=True)
class _Identity:
    """What makes a restarted server the same one to its clients."""

    pki: pki.Pki
    admin_token: str
    host: str
    port: int
    saved: bool = False

    @classmethod
    def load(cls, options: Options) -> _Identity:
        path = options.data_dir / _IDENTITY if options.data_dir is not None else None
        if path is None or not path.exists():
            keys = pki.create(options.host, options.now())
            return cls(keys, secrets.token_urlsafe(32), options.host, 0)
        try:
            given = json.loads(path.read_text())
            keys = pki.load(given["ca"], given["caKey"], given["certificate"], given["key"], given["tokenKey"])
            identity = cls(keys, str(given["adminToken"]), str(given["host"]), int(given["port"]), saved=True)
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise IdentityDamaged(
                f"{path} is damaged ({type(error).__name__}: {error}); put a copy in its place, or move it away: the "
                "server then makes new keys and tokens"
            ) from error
        if identity.host != options.host:
            identity.pki = keys.serving(options.host, options.now())
            identity.host, identity.saved = options.host, False
        return identity

    def keep(self, options: Options, port: int) -> None:
        """Writes it down, whole or not at all."""
        if options.data_dir is None or (self.saved and port == self.port):
            return
        self.port, self.saved = port, True
        content: dict[str, Any] = {
            "ca": self.pki.ca_certificate,
            "caKey": self.pki.ca_key,
            "certificate": self.pki.certificate,
            "key": self.pki.key,
            "tokenKey": self.pki.token_key_pem(),
            "adminToken": self.admin_token,
            "host": self.host,
            "port": port,
        }
        path = options.data_dir / _IDENTITY
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def kubeconfig(url: str, ca_pem: str, token: str, namespace: str = "default") -> Object:
    """A kubeconfig for one server and one token."""
    authority = base64.b64encode(ca_pem.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bobrapet", "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": "bobrapet", "user": {"token": token}}],
        "contexts": [
            {"name": "bobrapet", "context": {"cluster": "bobrapet", "user": "bobrapet", "namespace": namespace}}
        ],
        "current-context": "bobrapet",
    }


def _bind(host: str, port: int) -> socket.socket:
    """Listens. Raises AddressUnusable."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        # Listening here, not later: with SO_REUSEADDR two sockets may bind one port, but only one may listen.
        bound.listen(1024)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} of {host} is taken ({error.strerror}); stop whoever has it or choose another"
            ) from error
        raise AddressUnusable(f"nobody can listen on {host}, port {port}: {error.strerror}") from error
    return bound
