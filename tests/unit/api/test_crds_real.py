"""The CRDs on the real kube-apiserver: accepted without a warning, within its CEL budget, same verdicts as ours."""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bobrapet.api import KINDS, crd_manifests
from bobrapet.validation import Fault, Findings, check_structure
from bobrapet.validation.structure import A_TIME
from tests.behaviour.admission_world import LoopThread
from tests.unit.api.strategies import SCHEMAS, values
from tests.unit.validation.test_api_objects import INVALID, OBJECTS, VALID, edited

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("KUBEBUILDER_ASSETS"), reason="KUBEBUILDER_ASSETS is not set: hack/envtest"),
]
FEW = settings().max_examples // 8  # each asks two API servers
PLURALS = {kind.KIND: kind for kind in KINDS}


class Server:
    """Plain HTTP, so that headers can be seen."""

    def __init__(self, base: str, authority: str, token: str) -> None:
        tls = ssl.create_default_context(cadata=authority)
        self._base = base
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._http = urllib3.PoolManager(ssl_context=tls, headers=headers, retries=False)

    @classmethod
    def of(cls, kubeconfig: Path) -> Server:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        return cls(cluster["server"], authority, user["token"])

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, list[str]]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        text = json.dumps(body) if body is not None else None
        answer = self._http.request(method, self._base + path, body=text, headers={**self._http.headers, **given})
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
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from bobrapet.runtime.envtest import Environment, Options

    with Environment(Options(controllers=False)) as environment:
        yield environment.kubeconfig(tmp_path_factory.mktemp("real") / "kubeconfig")


@pytest.fixture(scope="module")
def server(kubeconfig: Path) -> Server:
    return _defined(Server.of(kubeconfig))


@pytest.fixture(scope="module")
def embedded() -> Iterator[Server]:
    """The embedded API server with the same definitions."""
    from bobrapet.local.apiserver import ApiServer

    loop, running = LoopThread(), ApiServer()
    loop.run(running.start())
    try:
        yield _defined(Server(running.url, running.ca_pem, running.admin_token))
    finally:
        loop.run(running.stop())
        loop.close()


def _defined(server: Server) -> Server:
    """The server with our definitions, which it takes without a warning."""
    for crd in crd_manifests():
        status, answer, warnings = server.call(
            "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldValidation=Strict", crd
        )
        assert (status, warnings) == (201, []), (crd["metadata"]["name"], answer, warnings)
    for namespace in ("workflows", "shared"):
        server.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    _wait_until_established(server)
    return server


def _wait_until_established(server: Server) -> None:
    for crd in crd_manifests():
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        deadline = time.monotonic() + 120
        while True:
            _, answer, _ = server.call("GET", path)
            conditions = {c["type"]: c["status"] for c in answer.get("status", {}).get("conditions", [])}
            assert conditions.get("NonStructuralSchema") != "True"
            kind = PLURALS[crd["spec"]["names"]["kind"]]
            listing = f"/apis/{kind.API_VERSION}/{kind.PLURAL}"
            if conditions.get("Established") == "True" and server.call("GET", listing)[0] == 200:
                break
            assert time.monotonic() < deadline, f"{crd['metadata']['name']} is not served"
            time.sleep(0.05)


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


def serious(findings: Findings) -> list[Fault]:
    """The faults that a kube-apiserver finds too: it takes a list for a time, which no reader of times can read."""
    return [fault for fault in findings.faults if not (A_TIME in fault.message and isinstance(fault.value, list))]


@pytest.mark.parametrize("listed", [[], [{}], ["2026-01-31T12:00:00Z"], [1]])
def test_both_servers_take_a_list_for_a_time_and_we_do_not(server: Server, embedded: Server, listed: list[Any]) -> None:
    manifest = copy.deepcopy(BASES["EffectClaim"])
    manifest["spec"]["acquireTime"] = listed
    for each in (server, embedded):
        assert each.call("POST", each.path(manifest) + "?fieldValidation=Strict&dryRun=All", manifest)[0] == 201
    (fault,) = check_structure(manifest).faults
    assert fault.field == "spec.acquireTime"


BASES = {kind: group["valid"]["min"] for kind, group in OBJECTS.items()}


@pytest.mark.parametrize("kind", list(BASES))
@settings(max_examples=FEW)
@given(data=st.data())
def test_a_random_object_gets_the_same_verdict_from_both_servers_and_from_us(
    server: Server, embedded: Server, kind: str, data: st.DataObject
) -> None:
    manifest = {**BASES[kind], "spec": data.draw(values(SCHEMAS[kind]["spec"], spoilt=data.draw(st.booleans())))}
    path = server.path(manifest) + "?fieldValidation=Strict&dryRun=All"
    status, answer, _ = server.call("POST", path, manifest)
    ours = serious(check_structure(manifest))
    assert (status == 201) is (not ours), (answer, list(map(str, ours)))
    also, told, _ = embedded.call("POST", path, manifest)
    assert also == status, (answer, told)
    if status == 201:
        assert told["spec"] == answer["spec"]


@pytest.mark.parametrize("kind", list(BASES))
@settings(max_examples=FEW)
@given(data=st.data())
def test_a_random_status_gets_the_same_verdict_from_both_servers_and_from_us(
    server: Server, embedded: Server, kind: str, data: st.DataObject
) -> None:
    base = BASES[kind]
    manifest = {**base, "status": data.draw(values(SCHEMAS[kind]["status"], spoilt=data.draw(st.booleans())))}
    path = server.path(base, base["metadata"]["name"])
    answers = []
    for each in (server, embedded):
        each.call("POST", each.path(base), base)
        _, stored, _ = each.call("GET", path)
        manifest["metadata"] = {**base["metadata"], "resourceVersion": stored["metadata"]["resourceVersion"]}
        status, answer, _ = each.call("PUT", path + "/status?fieldValidation=Strict&dryRun=All", manifest)
        answers.append((status, answer))
    ours = serious(check_structure(manifest))
    assert (answers[0][0] == 200) is (not ours), (answers[0], list(map(str, ours)))
    assert answers[1][0] == answers[0][0], answers


def explained(server: Server, kind: Any) -> dict[str, Any]:
    """The schema that `kubectl explain` reads."""
    _, answer, _ = server.call("GET", f"/openapi/v3/apis/{kind.API_VERSION}")
    name = ".".join(reversed(kind.group().split("."))) + f".v1alpha1.{kind.KIND}"
    schema: dict[str, Any] = answer["components"]["schemas"][name]
    return schema


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_every_field_can_be_explained(server: Server, kind: Any) -> None:
    def described(node: dict[str, Any], path: str) -> Iterator[str]:
        for name, child in node.get("properties", {}).items():
            if path or name in ("spec", "status"):
                if not child.get("description"):
                    yield f"{path}.{name}"
                inner = child
                while "items" in inner or isinstance(inner.get("additionalProperties"), dict):
                    inner = inner.get("items") or inner["additionalProperties"]
                yield from described(inner, f"{path}.{name}")

    schema = explained(server, kind)
    assert schema["description"]
    assert list(described(schema, "")) == []


def test_kubectl_explains_and_lists_our_kinds(server: Server, kubeconfig: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: see hack/tools")

    def run(*arguments: str) -> str:
        # What an earlier server at the same port offered must not be remembered.
        command = [kubectl, f"--kubeconfig={kubeconfig}", f"--cache-dir={kubeconfig.parent / 'cache'}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout

    text = " ".join(run("explain", "story.spec.steps.needs").split())
    assert "Names of steps that must be finished before this one starts" in text
    assert "A template over" not in text
    story = OBJECTS["Story"]["valid"]["min"]
    server.call("POST", server.path(story), story)
    assert run("get", "story", "-n", "workflows").split("\n")[0].split() == [
        "NAME",
        "STEPS",
        "STATUS",
        "USAGE",
        "TRIGGERS",
        "AGE",
    ]
    assert "batch-etl" in run("get", "bubu", "-n", "workflows", "-o", "name")
    server.call("DELETE", server.path(story, "batch-etl"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_tables_have_the_columns_of_the_kind(server: Server, kind: Any) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    _, table, _ = server.call("GET", f"/apis/{kind.API_VERSION}/{kind.PLURAL}", Accept=accept)
    shown = [column["name"] for column in table["columnDefinitions"]]
    assert shown == ["Name", *(name for name, _, _ in kind.COLUMNS), "Age"]


class Appliers:
    """Several managers that apply parts of one Story."""

    def __init__(self, server: Server, kind: str = "Story") -> None:
        self._server = server
        self._object = {**{name: BASES[kind][name] for name in ("apiVersion", "kind")}}
        self._object["metadata"] = {"name": "shared", "namespace": "workflows"}
        self._path = server.path(self._object, "shared")

    def apply(self, manager: str, *, status: bool = False, force: bool = False, **part: Any) -> tuple[int, Any]:
        query = f"?fieldManager={manager}" + ("&force=true" if force else "")
        path = self._path + ("/status" if status else "") + query
        body = {**self._object, ("status" if status else "spec"): part}
        code, answer, _ = self._server.call("PATCH", path, body, Content_Type="application/apply-patch+yaml")
        return code, answer

    def delete(self) -> None:
        self._server.call("DELETE", self._path)


def test_applied_steps_merge_by_name(server: Server) -> None:
    team = Appliers(server)
    a, b, c = ({"name": name, "ref": {"name": "e"}} for name in "abc")
    assert team.apply("author", steps=[a, b])[0] == 201
    code, merged = team.apply("platform", steps=[{"name": "a", "execution": {"timeout": "5m"}}, c])
    assert code == 200
    assert [step["name"] for step in merged["spec"]["steps"]] == ["a", "b", "c"]
    assert (merged["spec"]["steps"][0]["ref"], merged["spec"]["steps"][0]["execution"]) == (a["ref"], {"timeout": "5m"})
    assert team.apply("other", steps=[{"name": "a", "execution": {"timeout": "1m"}}])[0] == 409
    # Who no longer names a step takes away what is only theirs.
    _, left = team.apply("author", steps=[a])
    assert [step["name"] for step in left["spec"]["steps"]] == ["a", "c"]
    team.delete()


@pytest.mark.parametrize("field", ["compensations", "finally", "transports"])
def test_applied_lists_of_named_things_merge(server: Server, field: str) -> None:
    team = Appliers(server)
    make = {"transports": lambda name: {"name": name, "transportRef": "t"}}.get(
        field, lambda name: {"name": name, "ref": {"name": "e"}}
    )
    step = {"name": "main", "ref": {"name": "e"}}
    assert team.apply("author", steps=[step], **{field: [make("a")]})[0] == 201
    _, merged = team.apply("platform", **{field: [make("b")]}, steps=[step])
    assert [each["name"] for each in merged["spec"][field]] == ["a", "b"]
    team.delete()


def test_applied_conditions_merge_by_type(server: Server) -> None:
    team = Appliers(server)
    team.apply("author", steps=[{"name": "a", "ref": {"name": "e"}}])
    for manager, type in (("one", "Ready"), ("two", "Validated")):
        condition = {"type": type, "status": "True", "reason": "Fine", "message": "", "lastTransitionTime": NOW}
        code, merged = team.apply(manager, status=True, conditions=[condition])
        assert code == 200, merged
    assert [condition["type"] for condition in merged["status"]["conditions"]] == ["Ready", "Validated"]
    team.delete()


def test_atomic_lists_are_replaced_as_a_whole(server: Server) -> None:
    team = Appliers(server)
    step = {"name": "b", "ref": {"name": "e"}, "needs": ["a", "c"]}
    team.apply("author", steps=[step])
    assert team.apply("other", steps=[{"name": "b", "needs": ["a"]}])[0] == 409
    _, merged = team.apply("other", force=True, steps=[{"name": "b", "needs": ["a"]}])
    assert merged["spec"]["steps"][0]["needs"] == ["a"]
    team.delete()


NOW = "2026-01-01T10:00:00Z"


def definitions_of_go() -> list[dict[str, Any]]:
    """Our definitions with what ours have and the Go operator's have not taken away, and the other way round."""
    found = {crd["spec"]["names"]["kind"]: crd for crd in copy.deepcopy(crd_manifests())}

    def schema(kind: str, path: str) -> dict[str, Any]:
        node: dict[str, Any] = found[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for part in path.split("."):
            inner = {"[]": "items", "{}": "additionalProperties"}.get(part)
            node = node[inner] if inner else node["properties"][part]
        return node

    story = schema("Story", "spec")
    story["properties"]["pattern"]["enum"] = ["batch", "realtime"]
    story["properties"]["steps"]["maxItems"] = 100
    for name in ("steps", "compensations", "finally", "transports"):
        _without(story["properties"][name], "x-kubernetes-list-type", "x-kubernetes-list-map-keys")
        _without(story["properties"][name]["items"], "x-kubernetes-validations")
    story["x-kubernetes-validations"] = [
        {"rule": "self.steps.all(step, has(step.ref) != has(step.type))", "message": "one of ref and type"},
    ]
    schema("Impulse", "spec.workload.mode")["default"] = "job"
    for kind in ("EngramTemplate", "ImpulseTemplate"):
        execution = schema(kind, "spec.execution")["properties"]
        for name in ("defaultCPURequest", "defaultCPULimit", "defaultMemoryRequest", "defaultMemoryLimit"):
            del execution["resources"]["properties"][name]
        for name in ("runAsNonRoot", "readOnlyRootFilesystem", "runAsUser", "dropCapabilities"):
            del execution["security"]["properties"][name]
        s3 = execution["storage"]["properties"]["s3"]
        _without(s3, "x-kubernetes-validations")
        del s3["properties"]["auth"], execution["storage"]["properties"]["file"]["properties"]["basePath"]
        s3["required"] = ["authentication", "bucket"]
    for name in ("reason", "until"):
        del schema("StoryRun", "status.stepStates.{}")["properties"][name]
    del schema("StoryRun", "status")["properties"]["storyGeneration"]
    step = schema("StepRun", "status")["properties"]
    step["handoff"]["properties"]["phase"]["enum"] = ["pending", "draining", "cutover", "ready"]
    for name in ("connectorID", "requestedAt", "completedAt"):
        del step["handoff"]["properties"][name]
    for name in ("effects", "signalEvents"):
        _without(step[name], "x-kubernetes-list-type", "x-kubernetes-list-map-keys")
    for name in ("name", "committedAt", "metadata"):
        del step["effects"]["items"]["properties"][name]
    grpc = schema("StepRun", "spec.downstreamTargets.[].grpc")
    _without(grpc, "x-kubernetes-validations")
    grpc["properties"], grpc["required"] = {"endpoint": {"type": "string"}}, ["endpoint"]
    return [*found.values()]


def _without(node: dict[str, Any], *names: str) -> None:
    for name in names:
        node.pop(name, None)


def objects_of_go() -> list[dict[str, Any]]:
    """What the Go operator may have stored: newer names, its finalizers, everything it writes."""
    found = [copy.deepcopy(manifest) for _, variant, manifest in VALID if variant.startswith("full")]
    many = copy.deepcopy(OBJECTS["Story"]["valid"]["min"])
    many["metadata"]["name"] = "hundred"
    many["spec"]["steps"] = [{"name": f"s{i}", "ref": {"name": "e"}} for i in range(100)]
    many["metadata"]["finalizers"] = ["story.bubustack.io/finalizer"]
    always_on = copy.deepcopy(OBJECTS["Impulse"]["valid"]["min"])
    always_on["metadata"]["name"] = "defaulted"
    always_on["spec"]["workload"] = {"resources": {"limits": {"cpu": "1"}}}
    for manifest in found:
        if manifest["kind"] == "Story" and manifest["spec"].get("pattern") == "streaming":
            manifest["spec"]["pattern"] = "realtime"
        manifest["metadata"]["finalizers"] = ["example.org/kept"]
    for manifest in (found := [*found, many, always_on]):
        manifest["metadata"]["name"] = f"go-{manifest['metadata']['name']}"
    return found


def test_objects_of_the_go_operator_survive_the_upgrade(server: Server) -> None:
    spec = {**BASES["Story"]["spec"], "pattern": "streaming"}
    streaming = {**BASES["Story"], "metadata": {**BASES["Story"]["metadata"], "name": "probe"}, "spec": spec}
    path = server.path(streaming) + "?dryRun=All"
    _define(server, definitions_of_go(), lambda: server.call("POST", path, streaming)[0] == 422)
    stored = []
    try:
        for manifest in objects_of_go():
            code, made, _ = server.call("POST", server.path(manifest) + "?fieldValidation=Strict", manifest)
            assert code == 201, (manifest["kind"], made)
            if "status" in manifest:
                body = {**manifest, "metadata": made["metadata"]}
                own = server.path(manifest, manifest["metadata"]["name"])
                code, made, _ = server.call("PUT", own + "/status?fieldValidation=Strict", body)
                assert code == 200, (manifest["kind"], made)
            stored.append(made)
    finally:
        _define(server, crd_manifests(), lambda: server.call("POST", path, streaming)[0] == 201)
    try:
        for before in stored:
            path = server.path(before, before["metadata"]["name"])
            _, after, _ = server.call("GET", path)
            assert {**after, "metadata": 0} == {**before, "metadata": 0}
            # What was valid is valid: as it is, with a change, and its status written again.
            after["metadata"].setdefault("labels", {})["touched"] = "yes"
            code, changed, warnings = server.call("PUT", path + "?fieldValidation=Strict", after)
            assert (code, warnings) == (200, []), changed
            code, answer, _ = server.call("PUT", path + "/status?fieldValidation=Strict", changed)
            assert code == 200, answer
            assert answer.get("status") == before.get("status")
            model = PLURALS[before["kind"]].model_validate(after)
            assert model.to_wire() == after
    finally:
        for manifest in stored:
            path = server.path(manifest, manifest["metadata"]["name"])
            server.call("PATCH", path, {"metadata": {"finalizers": None}}, Content_Type="application/merge-patch+json")
            server.call("DELETE", path)


def _define(server: Server, crds: list[dict[str, Any]], settled: Callable[[], bool]) -> None:
    """Replaces the definitions, and waits until the server goes by that of Stories, of which it hears last."""
    for crd in sorted(crds, key=lambda crd: bool(crd["spec"]["names"]["kind"] == "Story")):
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        code = 409  # when the server wrote to its status meanwhile
        while code == 409:
            _, current, _ = server.call("GET", path)
            metadata = {**crd["metadata"], "resourceVersion": current["metadata"]["resourceVersion"]}
            code, answer, warnings = server.call("PUT", path, {**crd, "metadata": metadata})
        assert (code, warnings) == (200, []), answer
    deadline = time.monotonic() + 120
    while not settled():
        assert time.monotonic() < deadline
        time.sleep(0.05)
