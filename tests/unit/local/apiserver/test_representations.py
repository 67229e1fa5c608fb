"""What clients ask for besides plain objects: tables, metadata, discovery, protobuf bodies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bobrapet.local.apiserver import ApiError, protobuf
from bobrapet.local.apiserver.printers import duration, evaluate
from tests.unit.local.apiserver.builders import CONFIGMAPS, CRDS, MERGE, PODS, WIDGETS, configmap, crd, pod, widget
from tests.unit.local.apiserver.conftest import Client

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


async def test_a_table_has_cells_and_metadata_per_row(api: Client) -> None:
    await api("POST", PODS, pod())
    table = (await api("GET", PODS, accept=TABLE)).body
    assert [column["name"] for column in table["columnDefinitions"]][:5] == [
        "Name",
        "Ready",
        "Status",
        "Restarts",
        "Age",
    ]
    (row,) = table["rows"]
    assert row["cells"][:4] == ["p", "0/1", "Pending", "0"]
    assert (row["object"]["kind"], row["object"]["metadata"]["name"]) == ("PartialObjectMetadata", "p")
    whole = (await api("GET", PODS, accept=TABLE, includeObject="Object")).body
    assert whole["rows"][0]["object"]["kind"] == "Pod"
    assert "object" not in (await api("GET", PODS, accept=TABLE, includeObject="None")).body["rows"][0]


async def test_a_definition_brings_its_columns(api: Client) -> None:
    columns = [
        {"name": "A", "type": "integer", "jsonPath": ".spec.a"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    ]
    await api("POST", CRDS, crd(additionalPrinterColumns=columns))
    await api("POST", WIDGETS, widget(a=1))
    ready = {"status": {"conditions": [{"type": "X", "status": "False"}, {"type": "Ready", "status": "True"}]}}
    await api("PATCH", f"{WIDGETS}/w/status", ready, type=MERGE)
    table = (await api("GET", WIDGETS, accept=TABLE)).body
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "A", "Ready"]
    assert table["rows"][0]["cells"] == ["w", 1, "True"]


async def test_metadata_only_leaves_out_the_rest(api: Client) -> None:
    await api("POST", CONFIGMAPS, configmap(x="1"))
    one = (await api("GET", f"{CONFIGMAPS}/a", accept=METADATA)).body
    assert (one["kind"], one["apiVersion"], "data" in one) == ("PartialObjectMetadata", "meta.k8s.io/v1", False)
    assert one["metadata"]["name"] == "a"
    many = (await api("GET", CONFIGMAPS, accept=METADATA.replace("Metadata;", "MetadataList;"))).body
    assert many["kind"] == "PartialObjectMetadataList"


async def test_a_format_nobody_has_is_not_acceptable(api: Client) -> None:
    answer = await api("GET", CONFIGMAPS, accept="text/html")
    assert (answer.code, answer["reason"]) == (406, "NotAcceptable")


async def test_discovery_in_all_its_shapes_agrees(api: Client) -> None:
    await api("POST", CRDS, crd())
    groups = (await api("GET", "/apis")).body
    assert "example.com" in [group["name"] for group in groups["groups"]]
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    for path in ("/api", "/apis"):
        answer = await api("GET", path, accept=accept)
        assert answer.headers["Content-Type"].startswith("application/json;g=apidiscovery.k8s.io;v=v2")
        for group in answer["items"]:
            for version in group["versions"]:
                name = group["metadata"].get("name", "")
                base = f"/apis/{name}/{version['version']}" if name else f"/api/{version['version']}"
                plain = {entry["name"] for entry in (await api("GET", base))["resources"] if "/" not in entry["name"]}
                assert {entry["resource"] for entry in version["resources"]} == plain


async def test_openapi_follows_the_definitions(api: Client) -> None:
    before = (await api("GET", "/openapi/v3"))["paths"]
    await api("POST", CRDS, crd({"type": "object", "properties": {"a": {"type": "string", "description": "The a."}}}))
    after = (await api("GET", "/openapi/v3"))["paths"]
    assert set(after) - set(before) == {"apis/example.com/v1"}
    document = (await api("GET", "/openapi/v3/apis/example.com/v1")).body
    spec = document["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"]
    assert spec["properties"]["a"]["description"] == "The a."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (121, "2m1s"),
        (660, "11m"),
        (10_800, "3h"),
        (12_000, "3h20m"),
        (86_400 * 2, "2d"),
        (86_400 * 9, "9d"),
        (86_400 * 400, "400d"),
        (86_400 * 800, "2y70d"),
        (-5, "<invalid>"),
    ],
)
def test_ages_are_short(seconds: int, text: str) -> None:
    assert duration(timedelta(seconds=seconds).total_seconds()) == text


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        (".list[0].n", ["x"]),
        (".list[-1].n", ["y"]),
        (".list[*].n", ["x", "y"]),
        (".list[?(@.n=='y')].v", [2]),
        (r".a.dotted\.key", [3]),
        (".a['dotted.key']", [3]),
        (".nope.deeper", []),
    ],
)
def test_column_paths(path: str, found: list[Any]) -> None:
    obj = {"a": {"b": 1, "dotted.key": 3}, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]}
    assert evaluate(path, obj) == found


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def test_a_protobuf_body_becomes_the_object_it_stands_for() -> None:
    metadata = field(1, b"a") + field(11, field(1, b"l") + field(2, b"v")) + field(8, field(1, 5))
    data = field(2, field(1, b"k") + field(2, b"v"))
    configmap = field(1, metadata) + data + field(4, 1)
    envelope = field(1, field(1, b"v1") + field(2, b"ConfigMap")) + field(2, configmap)
    assert protobuf.decode(b"k8s\x00" + envelope) == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {
            "name": "a",
            "labels": {"l": "v"},
            "creationTimestamp": datetime.fromtimestamp(5, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "data": {"k": "v"},
        "immutable": True,
    }


@pytest.mark.parametrize(
    "body", [b"", b"k8s", b"{}", b"k8s\x00\x0a\xff", b"k8s\x00\x0a\x05v", b"k8s\x00" + b"\xff" * 20]
)
def test_broken_protobuf_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        protobuf.decode(body)
    assert refused.value.code == 400
