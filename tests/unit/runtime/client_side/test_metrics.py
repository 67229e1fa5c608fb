"""The metrics of requests (spec runtime 15.4)."""

from __future__ import annotations

import pytest

from bobrapet.runtime.errors import ApiError, ConnectionFailed
from bobrapet.runtime.metrics import REGISTRY
from bobrapet.runtime.metrics.client_go_adapter import observe_requests, register_rest_client_metrics
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from tests.unit.runtime.client_side.stub import StubServer, failure, json

SECONDS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60]
BYTES = [64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216]
HISTOGRAMS = {
    "rest_client_request_duration_seconds": SECONDS,
    "rest_client_dns_resolution_duration_seconds": SECONDS,
    "rest_client_request_size_bytes": BYTES,
    "rest_client_response_size_bytes": BYTES,
    "rest_client_rate_limiter_duration_seconds": SECONDS,
}


@pytest.fixture(autouse=True)
def observed() -> None:
    observe_requests()


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_requests_are_counted_by_code(stub: StubServer) -> None:
    host = stub.url.partition("//")[2]

    def counted() -> list[float]:  # another server of this process may have had the same port
        pairs = (("200", "GET"), ("404", "PATCH"))
        return [value("rest_client_requests_total", code=code, method=method, host=host) for code, method in pairs]

    before = counted()
    stub.answer(json({}), failure(404, "NotFound"))
    async with RestClient(stub.config()) as rest:
        await rest.request("GET", "/x")
        with pytest.raises(ApiError):
            await rest.request("PATCH", "/x", body=b"{}")
    assert counted() == [number + 1 for number in before]


async def test_a_request_without_answer_has_the_code_error() -> None:
    labels = {"code": "<error>", "method": "GET", "host": "127.0.0.1:1"}
    before = value("rest_client_requests_total", **labels)
    async with RestClient(RestConfig(host="http://127.0.0.1:1")) as rest:
        with pytest.raises(ConnectionFailed):
            await rest.request("GET", "/x")
    assert value("rest_client_requests_total", **labels) == before + 1


async def test_the_optional_ones_are_switched_on_once_each(stub: StubServer) -> None:
    for _ in range(2):
        register_rest_client_metrics(*HISTOGRAMS, "rest_client_request_retries_total")
    stub.answer(failure(503, "", Retry_After="0"), json({}))
    config = stub.config(qps=1000)
    config.host = config.host.replace("127.0.0.1", "localhost")
    labels = {"host": config.host.partition("//")[2], "verb": "POST"}

    def counted() -> dict[str, float]:
        found = {name: value(f"{name}_count", **labels) for name in HISTOGRAMS if "dns" not in name}
        found["bytes"] = value("rest_client_request_size_bytes_sum", **labels)
        found["retries"] = value("rest_client_request_retries_total", code="503", **labels)
        found["dns"] = value("rest_client_dns_resolution_duration_seconds_count", host="localhost")
        return found

    before = counted()
    async with RestClient(config) as rest:
        await rest.request("POST", "/x", body=b"x" * 100)
    more = {name: number - before[name] for name, number in counted().items()}
    assert more.pop("dns") >= 1
    assert (more.pop("bytes"), more.pop("retries")) == (200, 1)
    assert set(more.values()) == {2}, more
    for name, bounds in HISTOGRAMS.items():
        (family,) = (metric for metric in REGISTRY.collect() if metric.name == name)
        seen = {float(sample.labels["le"]) for sample in family.samples if sample.name.endswith("_bucket")}
        assert sorted(seen)[:-1] == bounds, name


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(Exception, match="'other'"):
        register_rest_client_metrics("other")
