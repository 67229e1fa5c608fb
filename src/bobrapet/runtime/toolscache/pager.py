"""Lists a collection page by page (spec runtime REF-3, REF-4; client-go tools/pager)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec

from bobrapet.runtime.errors import Expired, Gone
from bobrapet.runtime.toolscache.listwatch import RawList

PAGE_SIZE = 500
"""What client-go asks for; larger pages block the range reads of etcd."""

ListPage = Callable[[Mapping[str, str]], Awaitable[RawList]]
UsePage = Callable[[list[msgspec.Raw]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PagedList:
    """How a whole list went: the resourceVersion of its first page, and whether there was more than one."""

    resource_version: str
    paginated: bool


class Pager:
    """Reads all pages; `page_size` 0 asks for everything at once."""

    def __init__(self, list_page: ListPage, page_size: int = PAGE_SIZE) -> None:
        self._list_page = list_page
        self._page_size = page_size

    async def list(self, resource_version: str, use: UsePage, restart: Callable[[], None]) -> PagedList:
        """Hands each page to `use`. When the snapshot is gone midway, calls `restart` and reads all at once."""
        params = {"resourceVersion": resource_version}
        page = await self._list_page({**params, "limit": str(self._page_size)} if self._page_size else params)
        first = page.resource_version
        paginated = bool(page.continue_)
        await use(page.items)
        while page.continue_:
            try:
                page = await self._list_page({"limit": str(self._page_size), "continue": page.continue_})
            except (Expired, Gone):
                restart()
                page = await self._list_page(params)
                first = page.resource_version
            await use(page.items)
        return PagedList(first, paginated)
