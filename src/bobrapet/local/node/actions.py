"""What a probe checks and what a lifecycle hook does: run a command in the container, ask over HTTP or gRPC, connect.

Each answers why it failed, or "". Nothing here decides what follows from that.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import grpchealth
from .processes import Command, Launcher

Action = Mapping[str, Any]

MAX_OUTPUT = 4096
"""Bytes of a command's output, or of an answer, that become part of a message."""
_AGENT = "kube-probe/1.35"


class Actor:
    """Carries out the actions of one container."""

    def __init__(self, launcher: Launcher, container: Mapping[str, Any], command: Command, host: str) -> None:
        self._launcher = launcher
        self._ports = {port["name"]: port["containerPort"] for port in container.get("ports") or () if port.get("name")}
        self._command = command
        self._host = host

    async def act(self, action: Action, timeout: float | None = None) -> str:
        """Does it once; why it failed, or ""."""
        try:
            async with asyncio.timeout(timeout):
                return await self._act(action, timeout)
        except TimeoutError:
            return f"timed out after {timeout:g}s"

    async def _act(self, action: Action, timeout: float | None) -> str:
        if (given := action.get("exec")) is not None:
            return await self._execute(given.get("command") or ())
        if (given := action.get("httpGet")) is not None:
            return await self._get(given)
        if (given := action.get("tcpSocket")) is not None:
            return await self._connect(given)
        if (given := action.get("grpc")) is not None:
            return await grpchealth.check(f"{self._host}:{given.get('port')}", str(given.get("service") or ""), timeout)
        if (given := action.get("sleep")) is not None:
            await asyncio.sleep(float(given.get("seconds") or 0))
            return ""
        return f"a {' or '.join(action) or 'missing'} action is not offered by this node"

    async def _execute(self, argv: Sequence[str]) -> str:
        if not argv:
            return "the command is empty"
        descriptor = os.memfd_create("output", os.MFD_CLOEXEC)
        try:
            process = await self._launcher.run(replace(self._command, argv=argv), descriptor, descriptor)
            try:
                end = await process.wait()
            except asyncio.CancelledError:
                process.kill()
                raise
            if end.code == 0:
                return ""
            told = os.pread(descriptor, MAX_OUTPUT, 0).decode(errors="replace").strip()
            return told or f"command exited with {end.code}"
        finally:
            os.close(descriptor)

    async def _get(self, given: Mapping[str, Any]) -> str:
        import aiohttp

        scheme = str(given.get("scheme") or "HTTP").lower()
        path = str(given.get("path") or "/")
        url = f"{scheme}://{given.get('host') or self._host}:{self._port(given.get('port'))}/{path.lstrip('/')}"
        headers = {"User-Agent": _AGENT, "Accept": "*/*"}
        headers |= {entry["name"]: entry["value"] for entry in given.get("httpHeaders") or ()}
        try:
            async with (
                aiohttp.ClientSession() as session,
                # A probe asks whether somebody answers, not who: like a kubelet it looks at no certificate.
                session.get(url, headers=headers, ssl=False) as response,
            ):
                if 200 <= response.status < 400:
                    return ""
                return f"HTTP probe failed with statuscode: {response.status}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f'Get "{url}": {error}'

    async def _connect(self, given: Mapping[str, Any]) -> str:
        host, port = given.get("host") or self._host, self._port(given.get("port"))
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except (OSError, ValueError) as error:
            return f"dial tcp {host}:{port}: {error}"
        writer.close()
        return ""

    def _port(self, given: Any) -> Any:
        return self._ports.get(given, given)
