"""The metrics of requests to API servers (spec runtime 15.4). Importing this module makes all clients report to them.

Only the count of requests is on; the others cost series and time, so `register_rest_client_metrics` switches them on.
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from bobrapet.runtime.metrics.registry import REGISTRY
from bobrapet.runtime.rest.metrics import OBSERVERS

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_BYTES = (64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)

REQUESTS = Counter(
    "rest_client_requests_total",
    "Requests to API servers by HTTP code, method and host",
    ["code", "method", "host"],
    registry=REGISTRY,
)
DURATION = Histogram(
    "rest_client_request_duration_seconds",
    "Time until the answer of a request was there",
    ["verb", "host"],
    buckets=_SECONDS,
    registry=None,
)
DNS = Histogram(
    "rest_client_dns_resolution_duration_seconds",
    "Time to look up the address of an API server",
    ["host"],
    buckets=_SECONDS,
    registry=None,
)
REQUEST_SIZE = Histogram(
    "rest_client_request_size_bytes", "Size of request bodies", ["verb", "host"], buckets=_BYTES, registry=None
)
RESPONSE_SIZE = Histogram(
    "rest_client_response_size_bytes", "Size of response bodies", ["verb", "host"], buckets=_BYTES, registry=None
)
RATE_LIMITER = Histogram(
    "rest_client_rate_limiter_duration_seconds",
    "Time that requests were held back by the client's own limit",
    ["verb", "host"],
    buckets=_SECONDS,
    registry=None,
)
RETRIES = Counter(
    "rest_client_request_retries_total",
    "Requests that were sent again, by the HTTP code that led to it",
    ["code", "verb", "host"],
    registry=None,
)

OPTIONAL: dict[str, Counter | Histogram] = {
    "rest_client_request_duration_seconds": DURATION,
    "rest_client_dns_resolution_duration_seconds": DNS,
    "rest_client_request_size_bytes": REQUEST_SIZE,
    "rest_client_response_size_bytes": RESPONSE_SIZE,
    "rest_client_rate_limiter_duration_seconds": RATE_LIMITER,
    "rest_client_request_retries_total": RETRIES,
}


def register_rest_client_metrics(*names: str) -> None:
    """Switches optional metrics on, by name. One that is on stays on. Raises `ValueError` for an unknown name.

    Clients that were connected before do not report the time of their DNS look-ups.
    """
    for name in names:
        metric = OPTIONAL.get(name)
        if metric is None:
            raise ValueError(f"no REST client metric {name!r}; there are {', '.join(OPTIONAL)}")
        if name not in ADAPTER.enabled:
            REGISTRY.register(metric)
            ADAPTER.enabled.add(name)


class Adapter:
    """Implements `rest.metrics.RequestObserver`. Series of metrics that are off are not even made."""

    def __init__(self) -> None:
        self.enabled: set[str] = set()

    @property
    def wants_dns(self) -> bool:
        return "rest_client_dns_resolution_duration_seconds" in self.enabled

    def on_response(
        self, *, method: str, host: str, code: str, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        REQUESTS.labels(code, method, host).inc()
        if not self.enabled:
            return
        self._observe("rest_client_request_duration_seconds", DURATION, method, host, seconds)
        self._observe("rest_client_request_size_bytes", REQUEST_SIZE, method, host, request_bytes)
        self._observe("rest_client_response_size_bytes", RESPONSE_SIZE, method, host, response_bytes)

    def on_retry(self, *, method: str, host: str, code: str) -> None:
        if "rest_client_request_retries_total" in self.enabled:
            RETRIES.labels(code, method, host).inc()

    def on_rate_limited(self, *, method: str, host: str, seconds: float) -> None:
        self._observe("rest_client_rate_limiter_duration_seconds", RATE_LIMITER, method, host, seconds)

    def on_dns(self, *, host: str, seconds: float) -> None:
        if self.wants_dns:
            DNS.labels(host).observe(seconds)

    def _observe(self, name: str, metric: Histogram, method: str, host: str, value: float) -> None:
        if name in self.enabled:
            metric.labels(method, host).observe(value)


ADAPTER = Adapter()
OBSERVERS.register(ADAPTER)
