"""Credentials from a plugin program of a kubeconfig (client.authentication.k8s.io)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import CredentialError
from bobrapet.runtime.rest.config import ExecConfig, RestConfig
from bobrapet.runtime.rest.tls import ClientCertificate

MAX_SKEW = 300.0
"""Seconds before its end at which a credential is renewed; a fifth of its life when that is shorter."""

SUPPORTED = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class ExecCredentials:
    """Runs the plugin when there is no credential, when it is about to expire, and when the server refused it.

    Concurrent requests wait for one run of it. Its standard error is shown when it fails.
    """

    def __init__(self, plugin: ExecConfig, config: RestConfig, clock: Clock = REAL_CLOCK) -> None:
        if plugin.api_version not in SUPPORTED:
            raise CredentialError(
                f"the credential plugin {plugin.command} speaks {plugin.api_version or 'no version'}; "
                f"supported are {', '.join(SUPPORTED)}"
            )
        self._plugin = plugin
        self._config = config
        self._clock = clock
        self._lock = asyncio.Lock()
        self._header: str | None = None
        self._renew_at: datetime | None = None
        self._fetched = False
        self._runs = 0
        self.certificate: ClientCertificate | None = None

    async def authorization(self, *, force: bool = False) -> str | None:
        runs = self._runs
        if not force and self._fresh():
            return self._header
        async with self._lock:
            # Whoever held the lock may have renewed for us.
            if self._runs == runs and (force or not self._fresh()):
                self._accept(await self._run())
        return self._header

    def _fresh(self) -> bool:
        return self._fetched and (self._renew_at is None or self._clock.now() < self._renew_at)

    def _accept(self, answer: dict[str, Any]) -> None:
        status = answer.get("status")
        if answer.get("kind") != "ExecCredential" or not isinstance(status, dict):
            raise self._failure("it printed no ExecCredential with a status")
        if answer.get("apiVersion") != self._plugin.api_version:
            raise self._failure(f"it answered in {answer.get('apiVersion')}, asked was {self._plugin.api_version}")
        token, cert, key = (
            status.get("token"),
            status.get("clientCertificateData"),
            status.get("clientKeyData"),
        )
        if not token and not (cert and key):
            raise self._failure("it printed neither a token nor a client certificate with its key")
        self._header = f"Bearer {token.strip()}" if token else None
        self.certificate = ClientCertificate(cert.encode(), key.encode()) if cert and key else None
        self._renew_at = self._renewal(status.get("expirationTimestamp"))
        self._fetched = True
        self._runs += 1

    def _renewal(self, expires: str | None) -> datetime | None:
        if not expires:
            return None
        try:
            end = datetime.fromisoformat(expires.replace("Z", "+00:00"))
        except ValueError:
            raise self._failure(f"its expirationTimestamp {expires!r} is no RFC 3339 time") from None
        left = (end - self._clock.now()).total_seconds()
        return datetime.fromtimestamp(end.timestamp() - min(MAX_SKEW, max(0.0, left) / 5), UTC)

    async def _run(self) -> dict[str, Any]:
        plugin = self._plugin
        interactive = self._interactive()
        try:
            process = await asyncio.create_subprocess_exec(
                self._program(),
                *plugin.args,
                stdin=None if interactive else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **plugin.env, "KUBERNETES_EXEC_INFO": self._info(interactive)},
            )
        except OSError as error:
            hint = f"\n{plugin.install_hint}" if plugin.install_hint else ""
            raise self._failure(f"it cannot be started: {error.strerror}{hint}") from error
        try:
            out, complaint = await asyncio.wait_for(process.communicate(), plugin.timeout)
        except TimeoutError:
            raise self._failure(f"it did not end within {plugin.timeout:g} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            text = complaint[-2048:].decode("utf-8", "replace").strip()
            raise self._failure(f"it ended with exit code {process.returncode}: {text}")
        try:
            answer = msgspec.json.decode(out)
        except msgspec.DecodeError as error:
            raise self._failure(f"it printed no JSON: {error}") from error
        if not isinstance(answer, dict):
            raise self._failure("it printed JSON that is no object")
        return answer

    def _interactive(self) -> bool:
        terminal = sys.stdin is not None and sys.stdin.isatty()
        if self._plugin.interactive_mode == "Always" and not terminal:
            raise self._failure("it must talk to a user, and standard input is no terminal")
        return terminal and self._plugin.interactive_mode != "Never"

    def _program(self) -> str:
        command = self._plugin.command
        if os.sep in command and not os.path.isabs(command) and self._plugin.cwd:
            return os.path.join(self._plugin.cwd, command)
        return shutil.which(command) or command

    def _info(self, interactive: bool) -> str:
        spec: dict[str, Any] = {"interactive": interactive}
        if self._plugin.provide_cluster_info:
            spec["cluster"] = self._cluster()
        info = {"kind": "ExecCredential", "apiVersion": self._plugin.api_version, "spec": spec}
        return msgspec.json.encode(info).decode()

    def _cluster(self) -> dict[str, Any]:
        config = self._config
        cluster: dict[str, Any] = {"server": config.host}
        authority = config.ca_data
        if authority is None and config.ca_file:
            with open(config.ca_file, "rb") as file:
                authority = file.read()
        if authority:
            cluster["certificate-authority-data"] = base64.b64encode(authority).decode("ascii")
        if config.insecure_skip_tls_verify:
            cluster["insecure-skip-tls-verify"] = True
        if config.tls_server_name:
            cluster["tls-server-name"] = config.tls_server_name
        if config.proxy_url:
            cluster["proxy-url"] = config.proxy_url
        if self._plugin.cluster_extension is not None:
            cluster["config"] = self._plugin.cluster_extension
        return cluster

    def _failure(self, what: str) -> CredentialError:
        return CredentialError(f"credential plugin {self._plugin.command}: {what}")
