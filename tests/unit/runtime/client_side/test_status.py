"""Status and spec are written apart, on the fake and on the real API server (spec runtime CLI-10)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.client.patch import ApplyConfiguration, merge_from
from bobrapet.runtime.envtest import install_crds
from bobrapet.runtime.errors import Conflict, NotFound
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.scheme import Scheme
from tests.unit.runtime.client_side.models import DEFINITION, Widget, WidgetStatus, config_map, widget

pytestmark = pytest.mark.spec("runtime-90")


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
        await real.delete_all_of(Widget, namespace="default")


def status(phase: str) -> WidgetStatus:
    return WidgetStatus(phase=phase)


async def test_a_create_has_no_status(client: ApiClient) -> None:
    stored = await client.create(widget(size=1).model_copy(update={"status": status("Early")}))
    assert stored.status is None


async def test_a_status_update_never_touches_the_spec(client: ApiClient) -> None:
    stored = await client.create(widget(size=1))
    changed = stored.model_copy(deep=True)
    changed.status = status("Ready")
    assert changed.spec is not None
    changed.spec.size = 99
    changed.metadata.labels = {"from": "status"}
    stored = await client.status().update(changed)
    assert stored.status == status("Ready")
    assert stored.spec is not None
    assert stored.spec.size == 1
    assert not stored.metadata.labels
    assert stored.metadata.generation == 1


async def test_a_main_update_never_touches_the_status(client: ApiClient) -> None:
    stored = await client.create(widget(size=1))
    stored = await client.status().update(stored.model_copy(update={"status": status("Ready")}))
    changed = stored.model_copy(deep=True)
    changed.status = status("Wrong")
    assert changed.spec is not None
    changed.spec.size = 2
    stored = await client.update(changed)
    assert stored.status == status("Ready")
    assert stored.spec is not None
    assert (stored.spec.size, stored.metadata.generation) == (2, 2)


async def test_patches_keep_to_their_side_too(client: ApiClient) -> None:
    base = await client.create(widget(size=1))
    changed = base.model_copy(deep=True)
    changed.status = status("Ready")
    assert changed.spec is not None
    changed.spec.size = 2
    after_status = await client.status().patch(changed, merge_from(base))
    assert after_status.spec is not None
    assert (after_status.status, after_status.spec.size) == (status("Ready"), 1)
    changed.status = status("Wrong")
    after_main = await client.patch(changed, merge_from(base))
    assert after_main.spec is not None
    assert (after_main.status, after_main.spec.size) == (status("Ready"), 2)


async def test_a_stale_status_update_conflicts(client: ApiClient) -> None:
    stale = await client.create(widget(size=1))
    await client.status().update(stale.model_copy(update={"status": status("One")}))
    with pytest.raises(Conflict):
        await client.status().update(stale.model_copy(update={"status": status("Two")}))


async def test_applied_status_keeps_to_its_side(client: ApiClient) -> None:
    await client.create(widget(size=1))
    wanted: dict[str, Any] = {
        "apiVersion": "test.example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": "default"},
        "spec": {"size": 5},
        "status": {"phase": "Applied"},
    }
    await client.status().apply(ApplyConfiguration(wanted), field_owner="tests", force=True)
    stored = await client.get(Widget, ObjectKey("default", "w"))
    assert stored.spec is not None
    assert (stored.status, stored.spec.size) == (status("Applied"), 1)


async def test_a_kind_without_status_has_no_such_endpoint(client: ApiClient) -> None:
    stored = await client.create(config_map("without-status"))
    try:
        with pytest.raises(NotFound):
            await client.status().update(stored)
    finally:
        await client.delete(stored)
