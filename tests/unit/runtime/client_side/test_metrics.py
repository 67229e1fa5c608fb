"""The metrics of requests (spec runtime 15.4)."""

from __future__ import annotations

import pytest
from prometheus_client import Histogram

from bobrapet.runtime.errors import ConnectionFailed
from bobrapet.runtime.metrics import REGISTRY
from bobrapet.runtime.metrics.client_go_adapter import OPTIONAL, register_rest_client_metrics
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from tests.unit.runtime.client_side.stub import StubServer, failure, json

SECONDS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60]
BYTES = [64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216]


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def host_of(stub: StubServer) -> str:
    return stub.url.partition("//")[2]


async def test_requests_are_counted_by_code(stub: StubServer) -> None:
    stub.answer(json({}), failure(404, "NotFound"))
    async with RestClient(stub.config()) as rest:
        await rest.request("GET", "/x")
        with pytest.raises(Exception, match="no"):
            await rest.request("PATCH", "/x", body=b"{}")
    labels = {"host": host_of(stub)}
    assert value("rest_client_requests_total", code="200", method="GET", **labels) == 1
    assert value("rest_client_requests_total", code="404", method="PATCH", **labels) == 1


async def test_a_request_without_answer_has_the_code_error() -> None:
    before = value("rest_client_requests_total", code="<error>", method="GET", host="127.0.0.1:1")
    async with RestClient(RestConfig(host="http://127.0.0.1:1")) as rest:
        with pytest.raises(ConnectionFailed):
            await rest.request("GET", "/x")
    assert value("rest_client_requests_total", code="<error>", method="GET", host="127.0.0.1:1") == before + 1


async def test_the_optional_ones_are_switched_on_once_each(stub: StubServer) -> None:
    with pytest.raises(ValueError, match="'other'"):
        register_rest_client_metrics("other")
    register_rest_client_metrics(*OPTIONAL)
    register_rest_client_metrics(*OPTIONAL)
    stub.answer(failure(503, "", Retry_After="0"), json({}))
    config = stub.config(qps=1000)
    config.host = config.host.replace("127.0.0.1", "localhost")
    async with RestClient(config) as rest:
        await rest.request("POST", "/x", body=b"x" * 100)
    port = config.host.rpartition(":")[2]
    labels = {"host": f"localhost:{port}", "verb": "POST"}
    for name in (
        "request_duration_seconds",
        "request_size_bytes",
        "response_size_bytes",
        "rate_limiter_duration_seconds",
    ):
        assert value(f"rest_client_{name}_count", **labels) == 2
    assert value("rest_client_request_size_bytes_sum", **labels) == 200
    assert value("rest_client_request_retries_total", code="503", **labels) == 1
    assert value("rest_client_dns_resolution_duration_seconds_count", host="localhost") >= 1


@pytest.mark.parametrize("name", [name for name, metric in OPTIONAL.items() if isinstance(metric, Histogram)])
def test_the_buckets(name: str) -> None:
    histogram = OPTIONAL[name]
    histogram.labels(*("x" for _ in histogram._labelnames))
    (family,) = histogram.collect()
    bounds = {float(sample.labels["le"]) for sample in family.samples if sample.name.endswith("_bucket")}
    assert sorted(bounds)[:-1] == (BYTES if "bytes" in name else SECONDS)
