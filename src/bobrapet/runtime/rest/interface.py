"""What clients, mappers and reflectors need of a connection: so small that a test can bring its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_ONLY_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

Params = Mapping[str, str] | Iterable[tuple[str, str]] | None
"""Query parameters, not yet encoded."""

DEFAULT_TIMEOUT: Any = object()
"""Stands for the time limit of the configuration."""


class Lines(Protocol):
    """The lines of an open response: one by one, or in the groups in which they arrived."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def batches(self) -> AsyncIterator[list[bytes]]: ...


class Rest(Protocol):
    """A connection to an API server. `RestClient` is the real one."""

    async def request(
        self,
        method: str,
        path: str,
        params: Params = None,
        body: bytes | None = None,
        content_type: str = JSON,
        *,
        accept: str = JSON,
        timeout: float | None = DEFAULT_TIMEOUT,
        before_send: Callable[[], None] | None = None,
    ) -> bytes: ...

    def stream(
        self,
        path: str,
        params: Params = None,
        *,
        accept: str = JSON,
        idle_timeout: float | None = None,
        connect_timeout: float = 30.0,
    ) -> AbstractAsyncContextManager[Lines]: ...

    async def close(self) -> None: ...
