"""Garbage collection by owner references, namespaces and definitions that end."""

from __future__ import annotations

from typing import Any

from tests.unit.local.apiserver.builders import CONFIGMAPS, CRDS, MERGE, WIDGETS, configmap, crd, owned_by, widget
from tests.unit.local.apiserver.conftest import Client


async def gone(api: Client, path: str, name: str) -> None:
    """Returns when an object is deleted; a watch tells."""
    select = f"metadata.name={name}"
    listed = await api("GET", path, fieldSelector=select)
    if not listed["items"]:
        return
    version = listed["metadata"]["resourceVersion"]
    async for event in api.watch(path, fieldSelector=select, resourceVersion=version, timeoutSeconds=90):
        if event["type"] == "DELETED":
            return
    raise AssertionError(f"{path}/{name} is still there")


async def changed(api: Client, path: str, name: str, key: str) -> Any:
    """The object once its metadata has no `key`."""
    async for event in api.watch(path, fieldSelector=f"metadata.name={name}", timeoutSeconds=90):
        if key not in event["object"]["metadata"]:
            return event["object"]
    raise AssertionError(f"{path}/{name} still has {key}")


async def family(api: Client, *, block: bool = False) -> dict[str, Any]:
    """An owner `a` with a dependent `b`, which has a dependent `c`."""
    owner = (await api("POST", CONFIGMAPS, configmap("a"))).body
    middle = (await api("POST", CONFIGMAPS, configmap("b", owned_by(owner, block=block)))).body
    await api("POST", CONFIGMAPS, configmap("c", owned_by(middle, block=block)))
    return owner


async def test_dependents_follow_their_owner_in_the_background(api: Client) -> None:
    await family(api)
    assert (await api("DELETE", f"{CONFIGMAPS}/a")).code == 200
    assert (await api("GET", f"{CONFIGMAPS}/a")).code == 404
    await gone(api, CONFIGMAPS, "c")
    assert (await api("GET", f"{CONFIGMAPS}/b")).code == 404


async def test_the_pods_of_a_job_follow_its_owner_although_a_deleted_job_lets_them_go_by_default(api: Client) -> None:
    owner = (await api("POST", CONFIGMAPS, configmap("a"))).body
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    metadata = {"name": "job", **owned_by(owner)}
    job = (await api("POST", jobs, {"metadata": metadata, "spec": {"template": template}})).body
    await api("POST", CONFIGMAPS, configmap("of-the-job", owned_by(job)))
    await api("DELETE", f"{CONFIGMAPS}/a")
    await gone(api, CONFIGMAPS, "of-the-job")


async def test_a_foreground_delete_keeps_the_owner_until_its_dependents_are_gone(api: Client) -> None:
    owner = (await api("POST", CONFIGMAPS, configmap("a"))).body
    held = {**owned_by(owner, block=True), "finalizers": ["example.com/hold"]}
    await api("POST", CONFIGMAPS, configmap("b", held))

    marked = await api("DELETE", f"{CONFIGMAPS}/a", {"propagationPolicy": "Foreground"})
    assert marked["metadata"]["finalizers"] == ["foregroundDeletion"]
    async for event in api.watch(CONFIGMAPS, fieldSelector="metadata.name=b"):
        if "deletionTimestamp" in event["object"]["metadata"]:
            break
    else:
        raise AssertionError("the watch ended")
    assert (await api("GET", f"{CONFIGMAPS}/a")).code == 200
    await api("PATCH", f"{CONFIGMAPS}/b", {"metadata": {"finalizers": None}}, type=MERGE)
    await gone(api, CONFIGMAPS, "a")


async def test_an_orphaning_delete_lets_go_of_the_dependents_first(api: Client) -> None:
    await family(api)
    await api("DELETE", f"{CONFIGMAPS}/a", {"propagationPolicy": "Orphan"})
    freed = await changed(api, CONFIGMAPS, "b", "ownerReferences")
    assert "deletionTimestamp" not in freed["metadata"]
    await gone(api, CONFIGMAPS, "a")
    assert (await api("GET", f"{CONFIGMAPS}/b")).code == 200


async def test_a_dependent_with_another_owner_stays_and_forgets_the_lost_one(api: Client) -> None:
    one = (await api("POST", CONFIGMAPS, configmap("one"))).body
    two = (await api("POST", CONFIGMAPS, configmap("two"))).body
    both = owned_by(one)["ownerReferences"] + owned_by(two)["ownerReferences"]
    await api("POST", CONFIGMAPS, configmap("c", {"ownerReferences": both}))
    await api("DELETE", f"{CONFIGMAPS}/one")
    async for event in api.watch(CONFIGMAPS, fieldSelector="metadata.name=c"):
        owners = event["object"]["metadata"].get("ownerReferences", [])
        if len(owners) == 1:
            assert owners[0]["name"] == "two"
            return
    raise AssertionError("the watch ended")


async def test_an_object_born_without_its_owner_is_collected(api: Client) -> None:
    lost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "never", "uid": "no-such-uid"}}
    await api("POST", CONFIGMAPS, configmap("orphan", owned_by(lost)))
    await gone(api, CONFIGMAPS, "orphan")


async def test_a_job_deleted_without_a_word_keeps_its_pods(api: Client) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "x"}]}}
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    job = await api(
        "POST",
        jobs,
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": template}},
    )
    await api("POST", CONFIGMAPS, configmap("c", owned_by(job.body)))
    await api("DELETE", f"{jobs}/j")
    await changed(api, CONFIGMAPS, "c", "ownerReferences")
    await gone(api, jobs, "j")


async def test_a_new_namespace_has_an_account_and_the_authority(api: Client) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}}
    created = await api("POST", "/api/v1/namespaces", namespace)
    assert created["metadata"]["labels"] == {"kubernetes.io/metadata.name": "new"}
    assert created["status"] == {"phase": "Active"}
    accounts = "/api/v1/namespaces/new/serviceaccounts"
    authority = await anext(api.watch("/api/v1/namespaces/new/configmaps"))
    assert authority["object"]["data"]["ca.crt"] == api.server.ca_pem
    account = await anext(api.watch(accounts))
    await api("DELETE", f"{accounts}/default")
    again = await anext(api.watch(accounts))
    assert (again["type"], again["object"]["metadata"]["name"]) == ("ADDED", "default")
    assert again["object"]["metadata"]["uid"] != account["object"]["metadata"]["uid"]


async def test_a_namespace_takes_its_content_along_and_accepts_nothing_new_meanwhile(api: Client) -> None:
    await api("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
    inside = "/api/v1/namespaces/n/configmaps"
    await api("POST", inside, configmap("held", {"finalizers": ["example.com/hold"]}))
    await api("POST", inside, configmap("free"))

    terminating = await api("DELETE", "/api/v1/namespaces/n")
    assert terminating["status"]["phase"] == "Terminating"
    await gone(api, inside, "free")
    refused = await api("POST", inside, configmap("late"))
    assert (refused.code, refused["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    await api("PATCH", f"{inside}/held", {"metadata": {"finalizers": None}}, type=MERGE)
    await gone(api, "/api/v1/namespaces", "n")
    assert (await api("GET", inside))["items"] == []


async def test_content_needs_a_namespace(api: Client) -> None:
    answer = await api("POST", "/api/v1/namespaces/nope/configmaps", configmap())
    assert (answer.code, answer["message"]) == (404, 'namespaces "nope" not found')


async def test_the_default_namespace_stays(api: Client) -> None:
    answer = await api("DELETE", "/api/v1/namespaces/default")
    assert (answer.code, answer["message"]) == (
        403,
        'namespaces "default" is forbidden: this namespace may not be deleted',
    )


async def test_a_definition_takes_its_objects_along(api: Client) -> None:
    await api("POST", CRDS, crd())
    await api("POST", WIDGETS, widget())
    await api("DELETE", f"{CRDS}/widgets.example.com")
    await gone(api, CRDS, "widgets.example.com")
    assert (await api("GET", WIDGETS)).code == 404
    await api("POST", CRDS, crd())
    assert (await api("GET", WIDGETS))["items"] == []
