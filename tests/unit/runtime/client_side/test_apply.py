"""Server-side apply, on the fake and on the real API server (spec runtime CLI-9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.fieldowner import with_field_owner
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.client.patch import ApplyConfiguration
from bobrapet.runtime.envtest import install_crds
from bobrapet.runtime.errors import ClientError, Conflict
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.scheme import Scheme
from tests.unit.runtime.client_side.models import DEFINITION, ConfigMap, Meta, Widget, WidgetSpec
from tests.unit.runtime.client_side.stub import StubServer, json

pytestmark = pytest.mark.spec("runtime-89")

KEY = ObjectKey("default", "applied")


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[ApiClient]:
    if request.param == "fake":
        yield ClientBuilder().with_types(Widget).build()
        return
    config = request.getfixturevalue("environment").config
    await install_crds(config, [DEFINITION], timeout=60)
    scheme = Scheme()
    scheme.add_known_types(Widget)
    async with ApiClient(RestClient(config), scheme) as real:
        yield real
        await real.delete_all_of(ConfigMap, namespace="default", fields={"metadata.name": KEY.name})
        await real.delete_all_of(Widget, namespace="default")


def wanted(**data: str) -> ApplyConfiguration:
    return ApplyConfiguration(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": KEY.name, "namespace": KEY.namespace},
            "data": data,
        }
    )


async def test_an_owner_is_required(client: ApiClient) -> None:
    with pytest.raises(ClientError, match="needs a field_owner"):
        await client.apply(wanted(a="1"))


async def test_apply_creates_merges_and_removes_what_is_no_longer_wanted(client: ApiClient) -> None:
    await client.apply(wanted(a="1", b="2"), field_owner="one")
    await client.apply(wanted(c="3"), field_owner="two")
    stored = await client.apply(wanted(a="1"), field_owner="one")
    assert stored.object["data"] == {"a": "1", "c": "3"}
    owners = {entry["manager"]: entry["fieldsV1"] for entry in stored.metadata.managed_fields}
    assert owners == {"one": {"f:data": {"f:a": {}}}, "two": {"f:data": {"f:c": {}}}}


async def test_a_conflict_lists_the_managers_and_changes_nothing(client: ApiClient) -> None:
    await client.apply(wanted(a="1", b="1"), field_owner="one")
    with pytest.raises(Conflict) as raised:
        await client.apply(wanted(a="2", b="2"), field_owner="two")
    assert raised.value.field_managers == {"one": [".data.a", ".data.b"]}
    assert (await client.get(ConfigMap, KEY)).object["data"] == {"a": "1", "b": "1"}


async def test_the_same_value_is_no_conflict_but_shared(client: ApiClient) -> None:
    await client.apply(wanted(a="1"), field_owner="one")
    await client.apply(wanted(a="1"), field_owner="two")
    stored = await client.apply(ApplyConfiguration({**wanted().to_dict(), "data": {"x": "1"}}), field_owner="one")
    assert stored.object["data"] == {"a": "1", "x": "1"}


async def test_force_wins_and_takes_the_fields_over(client: ApiClient) -> None:
    await client.apply(wanted(a="1", b="1"), field_owner="one")
    stored = await client.apply(wanted(a="2"), field_owner="two", force=True)
    assert stored.object["data"] == {"a": "2", "b": "1"}
    with pytest.raises(Conflict):
        await client.apply(wanted(a="1", b="1"), field_owner="one")


async def test_an_update_owns_what_it_changed(client: ApiClient) -> None:
    stored = await client.apply(wanted(a="1", b="1"), field_owner="one")
    stored.object["data"]["a"] = "2"
    await client.update(stored, field_owner="editor")
    with pytest.raises(Conflict) as raised:
        await client.apply(wanted(a="1", b="1"), field_owner="one")
    assert raised.value.field_managers == {"editor": [".data.a"]} or "editor" in str(raised.value)


async def test_a_model_comes_back_as_a_model(client: ApiClient) -> None:
    cfg = Widget(metadata=Meta(name="w", namespace="default"), spec=WidgetSpec(size=3))
    stored = await client.apply(ApplyConfiguration(cfg), field_owner="one")
    assert isinstance(stored, Widget)
    assert stored.spec is not None
    assert stored.spec.size == 3


async def test_managed_fields_and_version_are_left_out_of_what_is_sent(client: ApiClient) -> None:
    stored = await client.apply(wanted(a="1"), field_owner="one")
    again = await client.apply(ApplyConfiguration(stored), field_owner="one")
    assert again.metadata.resource_version == stored.metadata.resource_version
    await client.apply(wanted(b="1"), field_owner="two")
    await client.apply(ApplyConfiguration(stored), field_owner="one")
    with pytest.raises(Conflict):
        await client.apply(ApplyConfiguration(stored, optimistic_lock=True), field_owner="one")


async def test_a_decorated_client_supplies_the_owner(client: ApiClient) -> None:
    stored = await with_field_owner(client, "decorator").apply(wanted(a="1"))
    assert [entry["manager"] for entry in stored.metadata.managed_fields] == ["decorator"]


async def test_the_request_is_strict_and_says_who_and_whether_by_force(stub: StubServer) -> None:
    async def answer(request: Any) -> Any:
        if request.method == "GET":
            return json({"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": True}]})
        return json({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}})

    stub.handler = answer
    async with ApiClient(RestClient(stub.config())) as client:
        await client.apply(wanted(a="1"), field_owner="me", force=True)
        await client.apply(wanted(a="1"), field_owner="me", dry_run=True)
    first, second = stub.seen[1:]
    assert (first.method, first.headers["Content-Type"]) == ("PATCH", "application/apply-patch+yaml")
    assert first.query == {"fieldManager": "me", "force": "true", "fieldValidation": "Strict"}
    assert second.query == {"fieldManager": "me", "force": "false", "fieldValidation": "Strict", "dryRun": "All"}
