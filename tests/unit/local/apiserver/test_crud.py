"""Create, read, update, patch, delete over HTTP."""

from __future__ import annotations

from typing import Any

from tests.unit.local.apiserver.conftest import Client

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def configmap(name: str = "a", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_a_created_object_gets_its_system_fields(api: Client) -> None:
    created = await api("POST", CONFIGMAPS, configmap(x="1"))

    assert created.code == 201
    metadata = created["metadata"]
    assert metadata["namespace"] == "default"
    assert metadata["uid"]
    assert metadata["creationTimestamp"].endswith("Z")
    assert (await api("GET", f"{CONFIGMAPS}/a")).body == created.body


async def test_a_taken_name_is_a_409_and_a_missing_object_a_404(api: Client) -> None:
    await api("POST", CONFIGMAPS, configmap())

    taken = await api("POST", CONFIGMAPS, configmap())
    assert (taken.code, taken["reason"], taken["message"]) == (409, "AlreadyExists", 'configmaps "a" already exists')
    missing = await api("GET", f"{CONFIGMAPS}/b")
    assert (missing.code, missing["reason"], missing["message"]) == (404, "NotFound", 'configmaps "b" not found')
    assert missing["details"] == {"name": "b", "kind": "configmaps"}


async def test_a_stale_update_is_a_conflict(api: Client) -> None:
    stale = (await api("POST", CONFIGMAPS, configmap(x="1"))).body
    await api("PATCH", f"{CONFIGMAPS}/a", {"data": {"x": "2"}}, type="application/merge-patch+json")

    answer = await api("PUT", f"{CONFIGMAPS}/a", stale)

    assert (answer.code, answer["reason"]) == (409, "Conflict")
    assert answer["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_a_watch_from_a_list_sees_every_later_change(api: Client) -> None:
    start = (await api("GET", CONFIGMAPS))["metadata"]["resourceVersion"]
    await api("POST", CONFIGMAPS, configmap(x="1"))
    await api("PATCH", f"{CONFIGMAPS}/a", {"data": {"x": "2"}}, type="application/merge-patch+json")
    await api("DELETE", f"{CONFIGMAPS}/a")

    types = []
    async for event in api.watch(CONFIGMAPS, resourceVersion=start):
        types.append(event["type"])
        if event["type"] == "DELETED":
            break
    assert types == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_finalizer_holds_an_object_until_it_is_removed(api: Client) -> None:
    held = configmap()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api("POST", CONFIGMAPS, held)

    marked = await api("DELETE", f"{CONFIGMAPS}/a")
    assert marked["metadata"]["deletionTimestamp"]
    await api("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}}, type="application/merge-patch+json")
    assert (await api("GET", f"{CONFIGMAPS}/a")).code == 404
