"""Create, read, update, patch, delete over HTTP."""

from __future__ import annotations

import asyncio

from tests.unit.local.apiserver.builders import (
    CONFIGMAPS,
    CRDS,
    JSON_PATCH,
    MERGE,
    PODS,
    WIDGETS,
    configmap,
    crd,
    pod,
    widget,
)
from tests.unit.local.apiserver.conftest import Client


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


async def test_generated_names_begin_with_their_base_and_differ(api: Client) -> None:
    body = configmap()
    body["metadata"] = {"generateName": "run-"}
    names = {(await api("POST", CONFIGMAPS, body))["metadata"]["name"] for _ in range(20)}

    assert len(names) == 20
    assert all(name.startswith("run-") and len(name) == len("run-") + 5 for name in names)


async def test_a_stale_update_is_a_conflict(api: Client) -> None:
    stale = (await api("POST", CONFIGMAPS, configmap(x="1"))).body
    await api("PATCH", f"{CONFIGMAPS}/a", {"data": {"x": "2"}}, type=MERGE)

    answer = await api("PUT", f"{CONFIGMAPS}/a", stale)

    assert (answer.code, answer["reason"]) == (409, "Conflict")
    assert answer["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_concurrent_patches_without_a_version_all_take_effect(api: Client) -> None:
    await api("POST", CONFIGMAPS, configmap())
    await asyncio.gather(*(api("PATCH", f"{CONFIGMAPS}/a", {"data": {f"k{i}": "v"}}, type=MERGE) for i in range(20)))
    assert len((await api("GET", f"{CONFIGMAPS}/a"))["data"]) == 20


async def test_concurrent_updates_of_one_version_let_one_win(api: Client) -> None:
    seen = (await api("POST", CONFIGMAPS, configmap())).body
    answers = await asyncio.gather(
        *(api("PUT", f"{CONFIGMAPS}/a", {**seen, "data": {"by": str(i)}}) for i in range(10))
    )
    assert sorted(answer.code for answer in answers) == [200, *[409] * 9]


async def test_a_write_that_changes_nothing_keeps_the_version_and_wakes_nobody(api: Client) -> None:
    created = await api("POST", CONFIGMAPS, configmap(x="1"))
    same = await api("PATCH", f"{CONFIGMAPS}/a", {"data": {"x": "1"}}, type=MERGE)
    assert same["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_generation_counts_changes_of_the_spec_only(api: Client) -> None:
    await api("POST", CRDS, crd())
    assert (await api("POST", WIDGETS, widget(a=1)))["metadata"]["generation"] == 1
    labelled = await api("PATCH", f"{WIDGETS}/w", {"metadata": {"labels": {"l": "v"}}}, type=MERGE)
    assert labelled["metadata"]["generation"] == 1
    reported = await api("PATCH", f"{WIDGETS}/w/status", {"status": {"ok": True}}, type=MERGE)
    assert reported["metadata"]["generation"] == 1
    changed = await api("PATCH", f"{WIDGETS}/w", {"spec": {"a": 2}}, type=MERGE)
    assert changed["metadata"]["generation"] == 2


async def test_status_and_spec_are_written_through_their_own_doors(api: Client) -> None:
    await api("POST", CRDS, crd())
    created = await api("POST", WIDGETS, {**widget(a=1), "status": {"phase": "Made up"}})
    assert "status" not in created.body
    main = await api("PATCH", f"{WIDGETS}/w", {"status": {"phase": "X"}, "spec": {"a": 2}}, type=MERGE)
    assert ("status" in main.body, main["spec"]) == (False, {"a": 2})
    through = await api("PATCH", f"{WIDGETS}/w/status", {"status": {"phase": "On"}, "spec": {"a": 9}}, type=MERGE)
    assert (through["status"], through["spec"]) == ({"phase": "On"}, {"a": 2})
    again = await api("PUT", f"{WIDGETS}/w", {**through.body, "spec": {"a": 3}, "status": {}})
    assert (again["status"], again["spec"]) == ({"phase": "On"}, {"a": 3})


async def test_a_custom_resource_without_a_version_cannot_be_overwritten(api: Client) -> None:
    await api("POST", CRDS, crd())
    await api("POST", WIDGETS, widget())
    answer = await api("PUT", f"{WIDGETS}/w", widget(a=1))
    assert answer.code == 422
    assert answer["details"]["causes"][0]["field"] == "metadata.resourceVersion"


async def test_a_finalizer_holds_an_object_until_it_is_removed(api: Client) -> None:
    await api("POST", CONFIGMAPS, configmap("a", {"finalizers": ["example.com/hold"]}))

    marked = await api("DELETE", f"{CONFIGMAPS}/a")
    assert marked["metadata"]["deletionTimestamp"]
    assert (await api("GET", f"{CONFIGMAPS}/a")).code == 200
    more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    assert (await api("PATCH", f"{CONFIGMAPS}/a", more, type=MERGE)).code == 422
    await api("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}}, type=MERGE)
    assert (await api("GET", f"{CONFIGMAPS}/a")).code == 404


async def test_a_delete_of_another_object_than_meant_is_a_conflict(api: Client) -> None:
    await api("POST", CONFIGMAPS, configmap())
    assert (await api("DELETE", f"{CONFIGMAPS}/a", {"preconditions": {"uid": "other"}})).code == 409
    assert (await api("DELETE", f"{CONFIGMAPS}/a", {"preconditions": {"resourceVersion": "1"}})).code == 409
    assert (await api("DELETE", f"{CONFIGMAPS}/a")).code == 200


async def test_dry_runs_answer_as_if_and_change_nothing(api: Client) -> None:
    assert (await api("POST", f"{CONFIGMAPS}?dryRun=All", configmap())).code == 201
    assert (await api("GET", f"{CONFIGMAPS}/a")).code == 404
    await api("POST", CONFIGMAPS, configmap(x="1"))
    changed = await api("PATCH", f"{CONFIGMAPS}/a?dryRun=All", {"data": {"x": "2"}}, type=MERGE)
    assert changed["data"] == {"x": "2"}
    await api("DELETE", f"{CONFIGMAPS}/a?dryRun=All")
    assert (await api("GET", f"{CONFIGMAPS}/a"))["data"] == {"x": "1"}


async def test_a_collection_is_deleted_by_selector(api: Client) -> None:
    for name, kind in (("a", "old"), ("b", "old"), ("c", "new")):
        await api("POST", CONFIGMAPS, configmap(name, {"labels": {"kind": kind}}))
    await api("DELETE", f"{CONFIGMAPS}?labelSelector=kind%3Dold")
    left = [item["metadata"]["name"] for item in (await api("GET", CONFIGMAPS))["items"]]
    assert left == ["c", "kube-root-ca.crt"]


async def test_pages_of_a_list_are_one_consistent_snapshot(api: Client) -> None:
    for number in range(7):
        await api("POST", CONFIGMAPS, configmap(f"n{number}"))
    names, token, version = [], "", set()
    while True:
        page = await api("GET", CONFIGMAPS, limit=3, **({"continue": token} if token else {}))
        names += [item["metadata"]["name"] for item in page["items"]]
        version.add(page["metadata"]["resourceVersion"])
        await api("DELETE", f"{CONFIGMAPS}/n6")  # after the first page: still on the last one
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert names == ["kube-root-ca.crt", *(f"n{number}" for number in range(7))]
    assert len(version) == 1


async def test_a_forgotten_page_is_gone(api: Client) -> None:
    for number in range(3):
        await api("POST", CONFIGMAPS, configmap(f"n{number}"))
    token = (await api("GET", CONFIGMAPS, limit=1))["metadata"]["continue"]
    for _ in range(100):
        await api("GET", CONFIGMAPS, limit=1)
    answer = await api("GET", CONFIGMAPS, limit=1, **{"continue": token})
    assert (answer.code, answer["reason"]) == (410, "Expired")


async def test_a_body_over_3_mb_is_refused_and_so_is_an_object_over_the_store_limit(api: Client) -> None:
    await api("POST", CRDS, crd())
    huge = await api("POST", WIDGETS, widget(x="y" * (3 * 1024 * 1024)))
    assert (huge.code, huge["reason"]) == (413, "RequestEntityTooLarge")
    large = await api("POST", WIDGETS, widget(x="y" * (2 * 1024 * 1024)))
    assert (large.code, large["reason"]) == (413, "RequestEntityTooLarge")
    assert (await api("POST", WIDGETS, widget(x="y" * (1024 * 1024)))).code == 201


async def test_a_json_patch_applies_in_order_or_not_at_all(api: Client) -> None:
    await api("POST", CONFIGMAPS, configmap(x="1"))
    both = [{"op": "replace", "path": "/data/x", "value": "2"}, {"op": "test", "path": "/data/x", "value": "3"}]
    assert (await api("PATCH", f"{CONFIGMAPS}/a", both, type=JSON_PATCH)).code == 422
    assert (await api("GET", f"{CONFIGMAPS}/a"))["data"] == {"x": "1"}


async def test_unknown_fields_are_dropped_warned_about_or_refused(api: Client) -> None:
    odd = {**configmap(), "spec": {"a": 1}}
    strict = await api("POST", f"{CONFIGMAPS}?fieldValidation=Strict", odd)
    assert (strict.code, strict["message"]) == (
        400,
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "spec"',
    )
    warned = await api("POST", CONFIGMAPS, odd)
    assert (warned.code, "spec" in warned.body) == (201, False)
    assert warned.headers["Warning"] == '299 - "unknown field \\"spec\\""'
    ignored = await api("PUT", f"{CONFIGMAPS}/a?fieldValidation=Ignore", odd)
    assert "Warning" not in ignored.headers


async def test_a_running_pod_is_marked_with_its_grace_period_and_removed_by_its_node(api: Client) -> None:
    await api("POST", PODS, pod(nodeName="n", terminationGracePeriodSeconds=7))
    marked = await api("DELETE", f"{PODS}/p")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 7
    assert (await api("GET", f"{PODS}/p")).code == 200
    shorter = await api("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 1})
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 1
    await api("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0})
    assert (await api("GET", f"{PODS}/p")).code == 404


async def test_a_pod_is_bound_once(api: Client) -> None:
    await api("POST", PODS, pod())
    target = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "node-1"}}
    assert (await api("POST", f"{PODS}/p/binding", target)).code == 201
    assert (await api("GET", f"{PODS}/p"))["spec"]["nodeName"] == "node-1"
    assert (await api("POST", f"{PODS}/p/binding", target)).code == 409


async def test_an_evicted_pod_is_deleted(api: Client) -> None:
    await api("POST", PODS, pod())
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert (await api("POST", f"{PODS}/p/eviction", eviction)).code == 201
    assert (await api("GET", f"{PODS}/p")).code == 404


async def test_events_of_both_groups_are_the_same_objects(api: Client) -> None:
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "note": "text",
        "reason": "Why",
        "action": "Do",
        "type": "Normal",
        "reportingController": "c",
        "reportingInstance": "i",
    }
    new = "/apis/events.k8s.io/v1/namespaces/default/events"
    assert (await api("POST", new, event)).code == 201
    core = await api("GET", "/api/v1/namespaces/default/events/e")
    assert (core["message"], core["involvedObject"]["name"], core["apiVersion"]) == ("text", "p", "v1")
    selected = await api("GET", "/api/v1/namespaces/default/events", fieldSelector="involvedObject.name=p,type=Normal")
    assert len(selected["items"]) == 1
    assert len((await api("GET", new, fieldSelector="regarding.name=p"))["items"]) == 1
    assert (await api("GET", new, fieldSelector="regarding.name=q"))["items"] == []
    assert (await api("GET", f"{new}/e"))["note"] == "text"


async def test_a_pod_needs_an_account_that_exists(api: Client) -> None:
    refused = await api("POST", PODS, pod(serviceAccountName="nobody"))
    assert (refused.code, refused["message"]) == (
        403,
        'pods "p" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found',
    )


async def test_a_pod_gets_its_account_and_a_token_to_use(api: Client) -> None:
    made = await api("POST", PODS, pod())
    spec = made["spec"]
    assert spec["serviceAccountName"] == "default"
    (volume,) = spec["volumes"]
    assert [next(iter(source)) for source in volume["projected"]["sources"]] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]
    (mount,) = spec["containers"][0]["volumeMounts"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/var/run/secrets/kubernetes.io/serviceaccount")
    without = await api("POST", PODS, pod("q", automountServiceAccountToken=False))
    assert "volumes" not in without["spec"]
