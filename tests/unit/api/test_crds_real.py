"""The CRDs on the real kube-apiserver: accepted without a warning, within its CEL budget, same verdicts as ours."""

from __future__ import annotations

import base64
import copy
import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bobrapet.api import KINDS, crd_manifests
from bobrapet.validation import check_structure
from tests.unit.api.strategies import SCHEMAS, values
from tests.unit.validation.test_api_objects import INVALID, OBJECTS, VALID, edited

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("KUBEBUILDER_ASSETS"), reason="KUBEBUILDER_ASSETS is not set: hack/envtest"),
]
PLURALS = {kind.KIND: kind for kind in KINDS}


class Server:
    """Plain HTTP, so that headers can be seen."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        tls = ssl.create_default_context(cadata=authority)
        self._base = cluster["server"]
        headers = {"Authorization": f"Bearer {user['token']}", "Content-Type": "application/json"}
        self._http = urllib3.PoolManager(ssl_context=tls, headers=headers, retries=False)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any, list[str]]:
        answer = self._http.request(method, self._base + path, body=json.dumps(body) if body is not None else None)
        return answer.status, answer.json(), answer.headers.getlist("Warning")

    def path(self, manifest: dict[str, Any], name: str = "") -> str:
        kind = PLURALS[manifest["kind"]]
        namespace = f"/namespaces/{manifest['metadata']['namespace']}" if kind.NAMESPACED else ""
        return f"/apis/{kind.API_VERSION}{namespace}/{kind.PLURAL}" + (f"/{name}" if name else "")

    def create(self, manifest: dict[str, Any]) -> tuple[int, Any, list[str]]:
        """Creates an object for a moment, status included; the answer is the worse of both writes."""
        name = manifest["metadata"]["name"]
        answer = self.call("POST", self.path(manifest) + "?fieldValidation=Strict", manifest)
        if answer[0] == 201 and "status" in manifest:
            body = copy.deepcopy(manifest)
            body["metadata"]["resourceVersion"] = answer[1]["metadata"]["resourceVersion"]
            answer = self.call("PUT", self.path(manifest, name) + "/status?fieldValidation=Strict", body)
        self.call("DELETE", self.path(manifest, name))
        return answer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from bobrapet.runtime.envtest import Environment, Options

    with Environment(Options(controllers=False)) as environment:
        server = Server(environment.kubeconfig(tmp_path_factory.mktemp("real") / "kubeconfig"))
        for crd in crd_manifests():
            status, answer, warnings = server.call(
                "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldValidation=Strict", crd
            )
            assert (status, warnings) == (201, []), (crd["metadata"]["name"], answer, warnings)
        for namespace in ("workflows", "shared"):
            server.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        _wait_until_established(server)
        yield server


def _wait_until_established(server: Server) -> None:
    for crd in crd_manifests():
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        for _ in range(200):
            _, answer, _ = server.call("GET", path)
            conditions = {c["type"]: c["status"] for c in answer.get("status", {}).get("conditions", [])}
            assert conditions.get("NonStructuralSchema") != "True"
            kind = PLURALS[crd["spec"]["names"]["kind"]]
            listing = f"/apis/{kind.API_VERSION}/{kind.PLURAL}"
            if conditions.get("Established") == "True" and server.call("GET", listing)[0] == 200:
                break
        else:
            raise AssertionError(f"{crd['metadata']['name']} is not served")


@pytest.mark.parametrize(("kind", "variant", "manifest"), [pytest.param(*c, id=f"{c[0]}-{c[1]}") for c in VALID])
def test_valid_objects_are_taken_without_a_warning(
    server: Server, kind: str, variant: str, manifest: dict[str, Any]
) -> None:
    status, answer, warnings = server.create(manifest)
    assert status in (200, 201), answer
    assert warnings == []
    for part in ("spec", "status"):
        _assert_contains(answer.get(part, {}), manifest.get(part, {}), part)


def _assert_contains(stored: Any, written: Any, path: str) -> None:
    """Nothing that was written is lost; defaults may have come."""
    if isinstance(written, dict):
        for name, value in written.items():
            assert name in stored, f"{path}.{name} was pruned"
            _assert_contains(stored[name], value, f"{path}.{name}")
    elif isinstance(written, list):
        assert len(stored) == len(written), path
        for index, value in enumerate(written):
            _assert_contains(stored[index], value, f"{path}[{index}]")
    else:
        assert stored == written, path


@pytest.mark.parametrize(("kind", "edit"), [pytest.param(*case, id=case[1]["id"]) for case in INVALID])
def test_invalid_objects_are_refused_where_the_crd_can_know(server: Server, kind: str, edit: dict[str, Any]) -> None:
    status, answer, _ = server.create(edited(OBJECTS[kind]["valid"]["min"], edit))
    assert (status == 422) is (edit["layer"] in ("schema", "cel")), answer


def big_story(steps: int) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = [
        {"name": f"s-{i}", "ref": {"name": "e"}, "needs": [f"s-{i - 1}"] if i else []} for i in range(steps)
    ]
    meta = {"name": "big", "namespace": "workflows"}
    return {"apiVersion": "bubustack.io/v1alpha1", "kind": "Story", "metadata": meta, "spec": {"steps": nodes}}


def test_a_story_of_1000_steps_stays_within_the_cel_budget(server: Server) -> None:
    assert server.create(big_story(1000))[0] == 201
    status, answer, _ = server.create(big_story(1001))
    assert status == 422
    assert "must have at most 1000 items" in answer["message"]


def test_among_1000_steps_equal_names_and_double_kinds_are_found_with_their_index(server: Server) -> None:
    twice = big_story(1000)
    twice["spec"]["steps"][999]["name"] = "s-0"
    status, answer, _ = server.create(twice)
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "spec.steps[999]")
    both = big_story(1000)
    both["spec"]["steps"][500]["type"] = "sleep"
    status, answer, _ = server.create(both)
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "spec.steps[500]")


BASES = {kind: group["valid"]["min"] for kind, group in OBJECTS.items()}


@pytest.mark.parametrize("kind", list(BASES))
@settings(max_examples=12)
@given(data=st.data())
def test_a_random_object_gets_the_same_verdict_from_the_server_and_from_us(
    server: Server, kind: str, data: st.DataObject
) -> None:
    manifest = {**BASES[kind], "spec": data.draw(values(SCHEMAS[kind]["spec"], spoilt=data.draw(st.booleans())))}
    path = server.path(manifest) + "?fieldValidation=Strict&dryRun=All"
    status, answer, _ = server.call("POST", path, manifest)
    ours = check_structure(manifest)
    assert (status == 201) is (not ours.faults), (answer, list(map(str, ours.faults)))


@pytest.mark.parametrize("kind", list(BASES))
@settings(max_examples=12)
@given(data=st.data())
def test_a_random_status_gets_the_same_verdict_from_the_server_and_from_us(
    server: Server, kind: str, data: st.DataObject
) -> None:
    base = BASES[kind]
    server.call("POST", server.path(base), base)
    manifest = {**base, "status": data.draw(values(SCHEMAS[kind]["status"], spoilt=data.draw(st.booleans())))}
    path = server.path(base, base["metadata"]["name"]) + "/status?fieldValidation=Strict&dryRun=All"
    _, stored, _ = server.call("GET", server.path(base, base["metadata"]["name"]))
    manifest["metadata"] = {**base["metadata"], "resourceVersion": stored["metadata"]["resourceVersion"]}
    status, answer, _ = server.call("PUT", path, manifest)
    ours = check_structure(manifest)
    assert (status == 200) is (not ours.faults), (answer, list(map(str, ours.faults)))
