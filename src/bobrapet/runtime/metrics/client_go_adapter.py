"""Requests to the API server as Prometheus series (spec runtime 15.4).

Only the count of requests is on by default; the histograms cost a series per verb and host and are rarely looked at.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Histogram

from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.metrics.registry import REGISTRY
from bobrapet.runtime.rest.metrics import OBSERVERS

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_BYTES = (64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)

REQUESTS = Counter(
    "rest_client_requests_total",
    "Answers of API servers and failed tries, by HTTP code, method and host",
    ["code", "method", "host"],
    registry=REGISTRY,
)
DURATION = Histogram(
    "rest_client_request_duration_seconds",
    "Seconds from sending a request to the end of its answer",
    ["verb", "host"],
    buckets=_SECONDS,
    registry=None,
)
DNS = Histogram(
    "rest_client_dns_resolution_duration_seconds",
    "Seconds that finding the address of a host took",
    ["host"],
    buckets=_SECONDS,
    registry=None,
)
REQUEST_SIZE = Histogram(
    "rest_client_request_size_bytes",
    "Bytes in the bodies of requests",
    ["verb", "host"],
    buckets=_BYTES,
    registry=None,
)
RESPONSE_SIZE = Histogram(
    "rest_client_response_size_bytes",
    "Bytes in the bodies of answers",
    ["verb", "host"],
    buckets=_BYTES,
    registry=None,
)
RATE_LIMITER = Histogram(
    "rest_client_rate_limiter_duration_seconds",
    "Seconds that a request waited for the client's own rate limit",
    ["verb", "host"],
    buckets=_SECONDS,
    registry=None,
)
RETRIES = Counter(
    "rest_client_request_retries_total",
    "Requests that were sent again, by what the try before ended with",
    ["code", "verb", "host"],
    registry=None,
)

_OPTIONAL: dict[str, Any] = {
    "rest_client_request_duration_seconds": DURATION,
    "rest_client_dns_resolution_duration_seconds": DNS,
    "rest_client_request_size_bytes": REQUEST_SIZE,
    "rest_client_response_size_bytes": RESPONSE_SIZE,
    "rest_client_rate_limiter_duration_seconds": RATE_LIMITER,
    "rest_client_request_retries_total": RETRIES,
}


class UnknownMetric(ControllerRuntimeError):
    """No optional metric has this name."""


def register_rest_client_metrics(*names: str) -> None:
    """Switches optional metrics on. Repeating is harmless. Raises `UnknownMetric`."""
    for name in names:
        metric = _OPTIONAL.get(name)
        if metric is None:
            raise UnknownMetric(f"no optional metric {name!r}; there are {', '.join(_OPTIONAL)}")
        if name not in _adapter.enabled:
            _adapter.enabled.add(name)
            REGISTRY.register(metric)


class _Adapter:
    """A `RequestObserver`."""

    def __init__(self) -> None:
        self.enabled: set[str] = set()

    def on_response(
        self, *, method: str, host: str, code: str, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        REQUESTS.labels(code, method, host).inc()
        if not self.enabled:
            return
        if "rest_client_request_duration_seconds" in self.enabled:
            DURATION.labels(method, host).observe(seconds)
        if "rest_client_request_size_bytes" in self.enabled:
            REQUEST_SIZE.labels(method, host).observe(request_bytes)
        if "rest_client_response_size_bytes" in self.enabled:
            RESPONSE_SIZE.labels(method, host).observe(response_bytes)

    def on_retry(self, *, method: str, host: str, code: str) -> None:
        if "rest_client_request_retries_total" in self.enabled:
            RETRIES.labels(code, method, host).inc()

    def on_rate_limited(self, *, method: str, host: str, seconds: float) -> None:
        if "rest_client_rate_limiter_duration_seconds" in self.enabled:
            RATE_LIMITER.labels(method, host).observe(seconds)

    def on_dns(self, *, host: str, seconds: float) -> None:
        DNS.labels(host).observe(seconds)

    @property
    def wants_dns(self) -> bool:
        return "rest_client_dns_resolution_duration_seconds" in self.enabled


_adapter = _Adapter()


def observe_requests() -> None:
    """Counts the requests of all clients from now on. Repeating is harmless."""
    OBSERVERS.register(_adapter)
