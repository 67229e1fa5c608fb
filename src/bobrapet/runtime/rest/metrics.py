"""Where the metrics of requests go (spec runtime 15.4). The metric objects themselves live in `runtime.metrics`."""

from __future__ import annotations

from typing import Protocol

NO_RESPONSE = "<error>"
"""The `code` of a request that got no response."""


class RequestObserver(Protocol):
    """Told about every attempt of every request. Must be quick and must not raise."""

    def on_response(
        self, *, method: str, host: str, code: str, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        """One attempt ended (a watch: was answered); `code` is the HTTP code as text, or `NO_RESPONSE`."""
        ...

    def on_retry(self, *, method: str, host: str, code: str) -> None:
        """The attempt will be repeated."""
        ...

    def on_rate_limited(self, *, method: str, host: str, seconds: float) -> None:
        """The client-side limit held the request back."""
        ...

    def on_dns(self, *, host: str, seconds: float) -> None:
        """The address of the server was looked up."""
        ...

    @property
    def wants_dns(self) -> bool:
        """Whether look-ups are to be timed. Asked when a client connects, because timing slows every request a bit."""
        ...


class Observers:
    """Any number of observers, told in order of registration."""

    def __init__(self) -> None:
        self._observers: list[RequestObserver] = []

    def register(self, observer: RequestObserver) -> None:
        if observer not in self._observers:
            self._observers.append(observer)

    def unregister(self, observer: RequestObserver) -> None:
        if observer in self._observers:
            self._observers.remove(observer)

    def on_response(
        self, *, method: str, host: str, code: str, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        for observer in self._observers:
            observer.on_response(
                method=method,
                host=host,
                code=code,
                seconds=seconds,
                request_bytes=request_bytes,
                response_bytes=response_bytes,
            )

    def on_retry(self, *, method: str, host: str, code: str) -> None:
        for observer in self._observers:
            observer.on_retry(method=method, host=host, code=code)

    def on_rate_limited(self, *, method: str, host: str, seconds: float) -> None:
        for observer in self._observers:
            observer.on_rate_limited(method=method, host=host, seconds=seconds)

    def on_dns(self, *, host: str, seconds: float) -> None:
        for observer in self._observers:
            observer.on_dns(host=host, seconds=seconds)

    @property
    def wants_dns(self) -> bool:
        return any(observer.wants_dns for observer in self._observers)


OBSERVERS = Observers()
"""What clients report to unless they were given another observer; empty until metrics are set up."""
