"""A component's way to the API server: opened when there is something to say, one call at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import Any

from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.report import Change, Reporter
from bobrapet.sdk.step_run_api import ComponentApi


class Link:
    """Until the first call the component has the processor for itself; after it, one connection is kept."""

    def __init__(
        self,
        connect: Callable[[], ComponentApi],
        step: StepIdentity,
        *,
        retries: int = 5,
        budget: float = 30.0,
    ) -> None:
        self.step = step
        self.connect = connect
        """Another connection, for a thread that must not wait for this one."""
        self.budget = budget
        """Seconds that one thing may take to be written, with its repetitions."""
        self._retries = retries
        self._api: ComponentApi | None = None
        self._lock = RLock()

    @contextmanager
    def api(self) -> Iterator[ComponentApi]:
        """The connection, for the calls of the block. Raises EnvironmentInvalid when there is no API server."""
        with self._lock:
            if self._api is None:
                self._api = self.connect()
            yield self._api

    def amend(self, change: Change, *, budget: float | None = None) -> None:
        """Changes the status while the step goes on. Raises ReportError, EnvironmentInvalid."""
        with self.api() as api:
            self._reporter(api).amend(change, budget=budget)

    def report(self, status: Mapping[str, Any]) -> None:
        """Writes the result. Raises ReportError, EnvironmentInvalid."""
        with self.api() as api:
            self._reporter(api).report(status)

    def close(self) -> None:
        with self._lock:
            if self._api is not None:
                self._api.close()
                self._api = None

    def _reporter(self, api: ComponentApi) -> Reporter:
        return Reporter(api, self.step, retries=self._retries, budget=self.budget)
