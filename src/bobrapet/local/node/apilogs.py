"""The logs of a node as the embedded API server asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from bobrapet.local.apiserver.errors import ApiError

from .logsource import LogUnavailable, PodLogs


class ApiLogs:
    """A `LogSource` of the API server: what is not there is a bad request (400), as on a cluster."""

    def __init__(self, logs: PodLogs) -> None:
        self._logs = logs

    async def open(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool = False,
        previous: bool = False,
        timestamps: bool = False,
        tail_lines: int | None = None,
        since: datetime | None = None,
        limit_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        """Opens a log. Raises `ApiError`."""
        try:
            return await self._logs.open(
                namespace,
                pod,
                container,
                follow=follow,
                previous=previous,
                timestamps=timestamps,
                tail_lines=tail_lines,
                since=since,
                limit_bytes=limit_bytes,
            )
        except LogUnavailable as error:
            raise ApiError(400, "BadRequest", str(error)) from error
