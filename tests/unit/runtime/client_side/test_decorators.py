"""Clients that add options to every verb (spec runtime CLI-12 to CLI-15)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.dryrun import new_dry_run_client
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.fieldowner import with_field_owner
from bobrapet.runtime.client.fieldvalidation import with_field_validation
from bobrapet.runtime.client.interfaces import WithWatch
from bobrapet.runtime.client.namespaced_client import NamespacedClient
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.client.patch import ApplyConfiguration, json_patch
from bobrapet.runtime.errors import NamespaceMismatch
from bobrapet.runtime.rest.client import RestClient
from tests.unit.runtime.client_side.models import ConfigMap, Job, Meta, Namespace, Planet, Widget, config_map
from tests.unit.runtime.client_side.stub import StubServer, json

PATCH = json_patch([{"op": "add", "path": "/data", "value": {}}])
JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n"}}
Verb = Callable[[WithWatch], Awaitable[Any]]


def job() -> Unstructured:
    return Job({"metadata": {"name": "j", "namespace": "n", "resourceVersion": "1"}})


WRITES: dict[str, Verb] = {
    "create": lambda c: c.create(job()),
    "update": lambda c: c.update(job()),
    "patch": lambda c: c.patch(job(), PATCH),
    "apply": lambda c: c.apply(ApplyConfiguration(dict(JOB)), field_owner="given"),
    "delete": lambda c: c.delete(job()),
    "delete_all_of": lambda c: c.delete_all_of(Job, namespace="n"),
    "status update": lambda c: c.status().update(job()),
    "status patch": lambda c: c.status().patch(job(), PATCH),
    "status apply": lambda c: c.status().apply(ApplyConfiguration(dict(JOB)), field_owner="given"),
    "subresource create": lambda c: c.sub_resource("token").create(job(), job()),
}


async def sent(stub: StubServer, decorate: Callable[[WithWatch], WithWatch], verb: Verb) -> tuple[dict[str, str], Any]:
    """Query and body of the one write that `verb` sends through a decorated client."""

    async def answer(request: Any) -> Any:
        if request.path == "/apis/batch/v1":
            return json({"resources": [{"name": "jobs", "kind": "Job", "namespaced": True}]})
        return json(JOB)

    stub.handler = answer
    async with ApiClient(RestClient(stub.config())) as client:
        await verb(decorate(client))
    write = stub.seen[-1]
    return write.query, write.json


@pytest.mark.spec("runtime-91")
@pytest.mark.parametrize("name", WRITES)
async def test_dry_run_reaches_every_write(stub: StubServer, name: str) -> None:
    query, body = await sent(stub, new_dry_run_client, WRITES[name])
    assert query.get("dryRun") == "All" or body.get("dryRun") == ["All"]


@pytest.mark.spec("runtime-91")
@pytest.mark.parametrize("name", WRITES)
async def test_the_field_owner_reaches_every_write_that_has_one(stub: StubServer, name: str) -> None:
    query, _ = await sent(stub, lambda c: with_field_owner(c, "me"), WRITES[name])
    expected = {"delete": None, "delete_all_of": None, "apply": "given", "status apply": "given"}
    assert query.get("fieldManager") == expected.get(name, "me")


@pytest.mark.spec("runtime-91")
async def test_an_explicit_field_owner_wins_and_the_default_is_the_manager(stub: StubServer) -> None:
    query, _ = await sent(stub, with_field_owner, lambda c: c.create(job(), field_owner="given"))
    assert query["fieldManager"] == "given"
    query, _ = await sent(stub, with_field_owner, lambda c: c.create(job()))
    assert query["fieldManager"] == "bobrapet-manager"


@pytest.mark.spec("runtime-91")
@pytest.mark.parametrize("name", WRITES)
async def test_field_validation_reaches_create_update_and_patch(stub: StubServer, name: str) -> None:
    query, _ = await sent(stub, lambda c: with_field_validation(c, "Warn"), WRITES[name])
    if "delete" in name:
        assert "fieldValidation" not in query
    else:
        assert query["fieldValidation"] == ("Strict" if "apply" in name else "Warn")


@pytest.mark.spec("runtime-91")
async def test_explicit_field_validation_wins(stub: StubServer) -> None:
    query, _ = await sent(
        stub, lambda c: with_field_validation(c, "Strict"), lambda c: c.create(job(), field_validation="Ignore")
    )
    assert query["fieldValidation"] == "Ignore"


@pytest.mark.spec("runtime-91")
async def test_decorators_stack(stub: StubServer) -> None:
    query, _ = await sent(
        stub,
        lambda c: new_dry_run_client(with_field_owner(with_field_validation(c, "Strict"), "me")),
        lambda c: c.create(job()),
    )
    assert query == {"dryRun": "All", "fieldManager": "me", "fieldValidation": "Strict"}


@pytest.mark.spec("runtime-91")
async def test_a_dry_run_changes_nothing() -> None:
    fake = ClientBuilder().with_objects(config_map(a="1")).build()
    dry = new_dry_run_client(fake)
    created = await dry.create(config_map("new"))
    assert created.metadata.uid
    changed = await dry.get(ConfigMap, ObjectKey("default", "c"))
    changed.object["data"] = {"a": "2"}
    assert (await dry.update(changed)).object["data"] == {"a": "2"}
    await dry.delete(changed)
    await dry.delete_all_of(ConfigMap, namespace="default")
    assert [obj.object["data"] for obj in await fake.list(ConfigMap)] == [{"a": "1"}]


# One namespace


def bare(name: str = "c", **data: str) -> Unstructured:
    return ConfigMap({"metadata": {"name": name}, "data": data})


@pytest.mark.spec("runtime-91")
async def test_a_namespaced_client_fills_in_the_namespace_everywhere() -> None:
    fake = ClientBuilder().with_types(Widget).with_objects(config_map("other", "elsewhere")).build()
    client = NamespacedClient(fake, "mine")
    given = bare(a="1")
    stored = await client.create(given)
    assert "namespace" not in given.object["metadata"]
    assert stored.metadata.namespace == "mine"
    stored = await client.get(ConfigMap, ObjectKey("", "c"))
    assert [obj.metadata.name for obj in await client.list(ConfigMap)] == ["c"]

    wanted = bare(a="2")
    wanted.metadata.resource_version = stored.metadata.resource_version
    assert (await client.update(wanted)).object["data"] == {"a": "2"}
    patched = await client.patch(bare(), json_patch([{"op": "add", "path": "/data/b", "value": "3"}]))
    assert patched.object["data"] == {"a": "2", "b": "3"}
    applied = await client.apply(
        ApplyConfiguration({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}}), field_owner="me"
    )
    assert applied.metadata.namespace == "mine"

    created = await client.create(Widget(metadata=Meta(name="w")))
    created.metadata.namespace = None
    assert (await client.status().update(created)).metadata.namespace == "mine"
    assert (await client.status().patch(created, PATCH)).metadata.namespace == "mine"

    async with client.watch(ConfigMap) as events:
        assert (await anext(aiter(events))).object.metadata.namespace == "mine"
    await client.delete(bare())
    await client.delete_all_of(ConfigMap)
    assert [str(ObjectKey.of(obj)) for obj in await fake.list(ConfigMap)] == ["elsewhere/other"]


@pytest.mark.spec("runtime-91")
async def test_a_namespaced_client_rejects_another_namespace() -> None:
    client = NamespacedClient(ClientBuilder().with_types(Widget).build(), "mine")
    elsewhere = config_map("c", "other")
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: client.get(ConfigMap, ObjectKey("other", "c")),
        lambda: client.list(ConfigMap, namespace="other"),
        lambda: client.create(elsewhere),
        lambda: client.update(elsewhere),
        lambda: client.patch(elsewhere, PATCH),
        lambda: client.delete(elsewhere),
        lambda: client.delete_all_of(ConfigMap, namespace="other"),
        lambda: client.status().update(elsewhere),
        lambda: client.apply(ApplyConfiguration(elsewhere), field_owner="me"),
    ]
    for call in calls:
        with pytest.raises(NamespaceMismatch, match="'other' is not that of this client, 'mine'"):
            await call()


@pytest.mark.spec("runtime-91")
async def test_a_namespaced_client_leaves_cluster_kinds_alone() -> None:
    client = NamespacedClient(ClientBuilder().with_types(Planet).build(), "mine")
    assert not (await client.create(Planet(metadata=Meta(name="earth")))).metadata.namespace
    await client.create(Namespace({"metadata": {"name": "x"}}))
    assert len(await client.list(Planet)) == 1
    await client.delete(Planet(metadata=Meta(name="earth")))
