"""The requests behind one informer: list a page, open a watch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from bobrapet.runtime.rest.interface import JSON, METADATA_ONLY, METADATA_ONLY_LIST, Lines, Rest

LIST_TIMEOUT = 60.0
"""Seconds for one page: as long as an API server lets itself take."""


@dataclass(frozen=True, slots=True)
class RawList:
    """One page, not decoded. The items share one buffer, so do not keep them."""

    items: list[msgspec.Raw] = field(default_factory=list)
    resource_version: str = ""
    continue_: str = ""


class ListerWatcher(Protocol):
    """What a reflector reads from."""

    async def list(self, params: Mapping[str, str]) -> RawList: ...

    def watch(self, params: Mapping[str, str]) -> AbstractAsyncContextManager[Lines]: ...


class ListWatch:
    """Lists and watches one collection of an API server."""

    def __init__(
        self,
        rest: Rest,
        path: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> None:
        self._rest = rest
        self._path = path
        self._metadata_only = metadata_only
        self._selectors: dict[str, str] = {}
        if label_selector:
            self._selectors["labelSelector"] = label_selector
        if field_selector:
            self._selectors["fieldSelector"] = field_selector

    async def list(self, params: Mapping[str, str]) -> RawList:
        accept = METADATA_ONLY_LIST if self._metadata_only else JSON
        body = await self._rest.request(
            "GET", self._path, {**self._selectors, **params}, accept=accept, timeout=LIST_TIMEOUT
        )
        # Joining and decoding tens of megabytes take tens of milliseconds each; others get a turn in between.
        await asyncio.sleep(0)
        page = _list_decoder.decode(body)
        return RawList(page.items or [], page.metadata.resourceVersion, page.metadata.continue_)

    def watch(self, params: Mapping[str, str]) -> AbstractAsyncContextManager[Lines]:
        accept = METADATA_ONLY if self._metadata_only else JSON
        return self._rest.stream(self._path, {**self._selectors, **params, "watch": "true"}, accept=accept)


class _ListMeta(msgspec.Struct):
    resourceVersion: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


_list_decoder = msgspec.json.Decoder(_List)
