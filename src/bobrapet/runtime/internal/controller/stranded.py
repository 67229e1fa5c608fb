"""Reconciles that found no API server: what they wait for has nothing to do with their requests.

Their pauses grow as after any failure, to minutes. That would be time lost once the server is back, so one of them is
tried every few seconds, and when it gets through, all are.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Generic, TypeVar

from bobrapet.runtime.errors import NO_SERVER

R = TypeVar("R", bound=Hashable)

TRY_EVERY = 5.0
"""Seconds that the one that is tried waits at most, before jitter of up to as much again."""


class Stranded(Generic[R]):
    """The requests of one controller that wait for the API server, each with its priority."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._random = rng or random.Random()
        self._requests: dict[R, int] = {}
        self._tried: R | None = None

    def __contains__(self, request: R) -> bool:
        return request in self._requests

    def add(self, request: R, priority: int) -> float:
        """Seconds that this request may wait at most; 0: as long as its failures say."""
        self._requests[request] = priority
        if self._tried is None:
            self._tried = request
        return TRY_EVERY * (1 + self._random.random()) if request == self._tried else 0.0

    def got_through(self, request: R) -> dict[R, int]:
        """This request was reconciled with the server, or needs it no more. Gives those that shall be tried now."""
        self._requests.pop(request, None)
        if request != self._tried:
            return {}
        self._tried = None
        released, self._requests = self._requests, {}
        return released


def is_stranded(error: BaseException) -> bool:
    """Whether a reconcile failed because there was no API server."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_stranded(member) for member in error.exceptions)
    return isinstance(error, NO_SERVER)
