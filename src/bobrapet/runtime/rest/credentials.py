"""The Authorization header of a request, from whatever the configuration names (spec runtime CLI-19)."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import CredentialError
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.rest.exec import ExecCredentials
from bobrapet.runtime.rest.tls import ClientCertificate

TOKEN_FILE_PERIOD = 60.0
"""Seconds after which a token file is read again; bound tokens are rotated well before they end."""

log = logging.getLogger(__name__)


class Credentials(Protocol):
    """A source of credentials; it caches by itself."""

    async def authorization(self, *, force: bool = False) -> str | None:
        """The value of the Authorization header; `force` after a 401: what was cached is no good."""
        ...

    @property
    def certificate(self) -> ClientCertificate | None:
        """A client certificate to use instead of the configured one."""
        ...


def credentials_for(config: RestConfig, clock: Clock = REAL_CLOCK) -> Credentials:
    """The source that a configuration names; the first of plugin, hook, token file, token, password."""
    if config.exec is not None:
        return ExecCredentials(config.exec, config, clock)
    if config.token_source is not None:
        return HookCredentials(config.token_source)
    if config.token_file:
        return FileCredentials(config.token_file, fallback=config.token, clock=clock)
    if config.token:
        return StaticCredentials(f"Bearer {config.token.strip()}")
    if config.username is not None:
        pair = f"{config.username}:{config.password or ''}".encode()
        return StaticCredentials(f"Basic {base64.b64encode(pair).decode('ascii')}")
    return StaticCredentials(None)


class StaticCredentials:
    """Always the same header, or none."""

    certificate = None

    def __init__(self, header: str | None) -> None:
        self._header = header

    async def authorization(self, *, force: bool = False) -> str | None:
        return self._header


class FileCredentials:
    """A token in a file that somebody else renews. While the file cannot be read the last token stays in use."""

    certificate = None

    def __init__(self, path: str, *, fallback: str | None = None, clock: Clock = REAL_CLOCK) -> None:
        self._path = path
        self._clock = clock
        self._header = f"Bearer {fallback.strip()}" if fallback else None
        self._read_at: float | None = None

    async def authorization(self, *, force: bool = False) -> str | None:
        now = self._clock.monotonic()
        if force or self._read_at is None or now - self._read_at >= TOKEN_FILE_PERIOD:
            self._read_at = now
            self._read()
        return self._header

    def _read(self) -> None:
        try:
            # A few kilobytes from a memory file system: not worth a thread.
            with open(self._path, encoding="utf-8") as file:
                token = file.read().strip()
        except OSError as error:
            if self._header is None:
                raise CredentialError(f"the token file {self._path} cannot be read: {error.strerror}") from error
            log.warning("token file %s cannot be read, keeping the last token: %s", self._path, error)
            return
        if token:
            self._header = f"Bearer {token}"
        elif self._header is None:
            raise CredentialError(f"the token file {self._path} is empty")


class HookCredentials:
    """A token that a function of the user delivers. One call at a time."""

    certificate = None

    def __init__(self, source: Callable[[bool], Awaitable[str | None]]) -> None:
        self._source = source
        self._lock = asyncio.Lock()

    async def authorization(self, *, force: bool = False) -> str | None:
        async with self._lock:
            token = await self._source(force)
        return f"Bearer {token.strip()}" if token else None
