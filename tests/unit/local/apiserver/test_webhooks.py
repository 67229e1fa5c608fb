"""Webhooks change and refuse objects; what they are asked, and what the client reads, is the same on both servers."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from bobrapet.local.apiserver import ApiServer, pki
from bobrapet.runtime.envtest import Environment
from bobrapet.runtime.envtest import Options as EnvironmentOptions
from tests.unit.local.apiserver.builders import CRDS, MERGE, configmap, crd, widget
from tests.unit.local.apiserver.conftest import Answer, Client, client_session

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOOKS = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/hooked/configmaps"
DENIED = 'admission webhook "deny.hooks.example.com" denied the request'
Respond = Callable[[dict[str, Any]], dict[str, Any]]


class HookServer:
    """A webhook server whose answers a test decides by path, and that remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Respond] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.port = 0
        self.ca = ""

    def requests(self, path: str) -> list[dict[str, Any]]:
        return [request for asked, request in self.asked if asked == path]

    async def answer(self, request: web.Request) -> web.Response:
        review = await request.json()
        self.asked.append((request.path, review["request"]))
        response = self.answers[request.path](review["request"])
        if "raw" in response:
            return web.Response(status=response["raw"], text="broken")
        return web.json_response({**review, "response": {"uid": review["request"]["uid"], **response}})

    def client(self, path: str) -> dict[str, Any]:
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": base64.b64encode(self.ca.encode()).decode()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hook_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HookServer]:
    keys = pki.create("127.0.0.1", datetime.now(UTC))
    folder: Path = tmp_path_factory.mktemp("hooks")
    (folder / "serving.pem").write_text(keys.certificate + keys.key)
    server = HookServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=keys.server_context(folder))
    await site.start()
    server.port, server.ca = runner.addresses[0][1], keys.ca_certificate
    yield server
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", pytest.param("real", marks=[
    pytest.mark.real,
    pytest.mark.skipif("KUBEBUILDER_ASSETS" not in os.environ, reason="needs a real control plane"),
])])  # fmt: skip
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with _started(request.param) as client:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hooked", "labels": {"hooks": "on"}}}
        assert (await client("POST", "/api/v1/namespaces", namespace)).code == 201
        yield client


class _started:
    """One API server of either kind."""

    def __init__(self, world: str) -> None:
        self._world = world

    async def __aenter__(self) -> Client:
        if self._world == "embedded":
            self._server = ApiServer()
            await self._server.start()
            self._session = client_session(self._server)
            return Client(self._server, self._session)
        # Without controllers: one of them puts a ConfigMap into each namespace, which webhooks would be asked about.
        self._environment = Environment(EnvironmentOptions(controllers=False))
        config = await asyncio.to_thread(self._environment.start)
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting))
        reachable = type("Real", (), {"url": config.host, "admin_token": config.token or "", "ca_pem": ""})()
        return Client(reachable, self._session)

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        if self._world == "embedded":
            await self._server.stop()
        else:
            await asyncio.to_thread(self._environment.stop)


def hook(server: HookServer, path: str, **more: Any) -> dict[str, Any]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}
    return {
        "name": f"{path.strip('/')}.hooks.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": server.client(path),
        "namespaceSelector": {"matchLabels": {"hooks": "on"}},
        "timeoutSeconds": 30,  # as long as may be: the webhooks are in this process, which may not get its turn
        "rules": [rule],
        **more,
    }


@pytest_asyncio.fixture(loop_scope="module")
async def configure(api: Client, hook_server: HookServer) -> AsyncIterator[Any]:
    """Registers webhooks and waits until the server heeds them, in the end until it does not; markers show that."""
    hook_server.asked.clear()
    hook_server.answers.clear()
    made: dict[str, str] = {}

    async def register(kind: str, *hooks: dict[str, Any], name: str = "test") -> None:
        marker = f"/marker-{kind.lower()}-{name}"
        hook_server.answers[marker] = lambda _request: {"allowed": True}
        everything = [hook(hook_server, marker), *hooks]
        path = f"{HOOKS}/{kind.lower()}webhookconfigurations"
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": everything,
        }
        created = await api("POST", path, body)
        assert created.code == 201, created.body
        made[f"{path}/{name}"] = marker
        async with asyncio.timeout(120):
            while not await heeded(marker):
                pass
        hook_server.asked.clear()

    async def heeded(*markers: str) -> bool:
        hook_server.asked.clear()
        await api("POST", MAPS, configmap("probe"), dryRun="All")
        return any(hook_server.requests(marker) for marker in markers)

    yield register
    for path in made:
        await api("DELETE", path)
    async with asyncio.timeout(120):
        while await heeded(*made.values()):
            pass
    for name in ("a", "b", "c"):
        await api("DELETE", f"{MAPS}/{name}")


def allow(_request: dict[str, Any]) -> dict[str, Any]:
    return {"allowed": True}


def patching(*operations: dict[str, Any]) -> Respond:
    patch = base64.b64encode(json.dumps(operations).encode()).decode()
    return lambda _request: {"allowed": True, "patchType": "JSONPatch", "patch": patch}


def refusing(**status: Any) -> Respond:
    return lambda _request: {"allowed": False, "status": status}


def causes(answer: Answer) -> Any:
    return (answer.body.get("details") or {}).get("causes")


async def test_a_webhook_is_asked_with_the_whole_request(api: Client, hook_server: HookServer, configure: Any) -> None:
    hook_server.answers["/ask"] = allow
    await configure("Validating", hook(hook_server, "/ask"))

    await api("POST", MAPS, configmap("a", k="v"))
    await api("PATCH", f"{MAPS}/a", {"data": {"k": "w"}}, type=MERGE)

    created, updated = hook_server.requests("/ask")
    assert created["kind"] == created["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert created["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (created["operation"], created["name"], created["namespace"]) == ("CREATE", "a", "hooked")
    assert created["dryRun"] is False
    assert created["options"]["kind"] == "CreateOptions"
    assert "system:masters" in created["userInfo"]["groups"]
    assert created["object"]["data"] == {"k": "v"}
    assert created["oldObject"] is None
    assert created["object"]["metadata"]["uid"]
    assert (updated["operation"], updated["oldObject"]["data"]) == ("UPDATE", {"k": "v"})
    assert updated["object"]["data"] == {"k": "w"}


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        ({"message": "no way"}, 400, f"{DENIED}: no way"),
        ({"reason": "Forbidden", "code": 403}, 403, f"{DENIED}: Forbidden"),
        ({"code": 200}, 400, f"{DENIED} without explanation"),
        (
            {"message": "bad", "reason": "Invalid", "code": 422, "details": {"causes": [{"field": "data.k"}]}},
            422,
            f"{DENIED}: bad",
        ),
    ],
)  # fmt: skip
async def test_a_refusal_reaches_the_client_with_the_name_of_the_webhook(
    api: Client, hook_server: HookServer, configure: Any, status: dict[str, Any], code: int, message: str
) -> None:
    hook_server.answers["/deny"] = refusing(**status)
    await configure("Validating", hook(hook_server, "/deny", objectSelector={"matchLabels": {"deny": "me"}}))

    refused = await api("POST", MAPS, configmap("a", {"labels": {"deny": "me"}}))

    assert (refused.code, refused["message"], refused["status"]) == (code, message, "Failure")
    assert refused.body.get("reason") == status.get("reason")
    assert causes(refused) == (status.get("details") or {}).get("causes")
    assert (await api("GET", f"{MAPS}/a")).code == 404


async def test_a_mutating_webhook_changes_what_is_stored(api: Client, hook_server: HookServer, configure: Any) -> None:
    hook_server.answers["/mutate"] = patching({"op": "add", "path": "/metadata/labels", "value": {"by": "hook"}})
    hook_server.answers["/see"] = allow
    await configure("Mutating", hook(hook_server, "/mutate"))
    await configure("Validating", hook(hook_server, "/see"))

    created = await api("POST", MAPS, configmap("a"))

    assert created["metadata"]["labels"] == {"by": "hook"}
    assert hook_server.requests("/see")[0]["object"]["metadata"]["labels"] == {"by": "hook"}
    assert (await api("GET", f"{MAPS}/a"))["metadata"]["labels"] == {"by": "hook"}


async def test_mutating_webhooks_see_what_those_before_them_did_and_may_be_asked_again(
    api: Client, hook_server: HookServer, configure: Any
) -> None:
    def first(request: dict[str, Any]) -> dict[str, Any]:
        seen = "b" in (request["object"].get("data") or {})
        return patching({"op": "add", "path": "/data/a", "value": "again" if seen else "once"})(request)

    hook_server.answers["/first"] = first
    hook_server.answers["/second"] = patching({"op": "add", "path": "/data/b", "value": "x"})
    again = hook(hook_server, "/first", reinvocationPolicy="IfNeeded")
    await configure("Mutating", again, hook(hook_server, "/second"))

    created = await api("POST", MAPS, configmap("a", k="v"))

    assert created["data"] == {"k": "v", "a": "again", "b": "x"}
    assert len(hook_server.requests("/first")) == 2
    assert len(hook_server.requests("/second")) == 1


async def test_what_a_patch_makes_of_an_object_is_judged_like_any_other(
    api: Client, hook_server: HookServer, configure: Any
) -> None:
    hook_server.answers["/break"] = patching({"op": "add", "path": "/data", "value": {"not a key": "x"}})
    await configure("Mutating", hook(hook_server, "/break"))

    refused = await api("POST", MAPS, configmap("a"))

    assert refused.code == 422
    assert [cause["field"] for cause in causes(refused)] == ["data[not a key]"]


async def test_warnings_reach_the_client(api: Client, hook_server: HookServer, configure: Any) -> None:
    hook_server.answers["/warn"] = lambda _request: {"allowed": True, "warnings": ["mind the gap"]}
    await configure("Validating", hook(hook_server, "/warn"))
    created = await api("POST", MAPS, configmap("a"))
    assert created.headers.getall("Warning") == ['299 - "mind the gap"']


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
@pytest.mark.parametrize("fault", ["status", "absent", "uid", "patch"])
async def test_a_webhook_that_cannot_be_understood_refuses_or_is_ignored_as_its_policy_says(
    api: Client, hook_server: HookServer, configure: Any, policy: str, fault: str
) -> None:
    hook_server.answers["/broken"] = {
        "status": lambda _request: {"raw": 500},
        "absent": lambda _request: {"raw": 404},
        "uid": lambda _request: {"allowed": True, "uid": "other"},
        "patch": patching({"op": "add", "path": "/data", "value": {}}),
    }[fault]
    await configure("Validating", hook(hook_server, "/broken", failurePolicy=policy))

    answer = await api("POST", MAPS, configmap("a"))

    if policy == "Ignore":
        assert answer.code == 201
    else:
        assert answer.code == 500
        assert answer["message"].startswith(
            'Internal error occurred: failed calling webhook "broken.hooks.example.com": '
        )
        assert answer["reason"] == "InternalError"


async def test_a_webhook_that_is_silent_too_long_fails(api: Client, hook_server: HookServer, configure: Any) -> None:
    await configure(
        "Validating", hook(hook_server, "/gone", timeoutSeconds=1, clientConfig={"url": "https://127.0.0.1:9/x"})
    )
    refused = await api("POST", MAPS, configmap("a"))
    assert refused.code == 500
    told = 'failed calling webhook "gone.hooks.example.com": failed to call webhook: Post "https://127.0.0.1:9/x?timeout=1s"'
    assert told in refused["message"]


async def test_a_certificate_nobody_trusts_is_not_talked_to(
    api: Client, hook_server: HookServer, configure: Any
) -> None:
    client = {"url": f"https://127.0.0.1:{hook_server.port}/x"}
    await configure("Validating", hook(hook_server, "/untrusted", clientConfig=client))
    refused = await api("POST", MAPS, configmap("a"))
    assert refused.code == 500
    assert "certificate" in refused["message"]
    assert not hook_server.requests("/x")


async def test_selectors_and_conditions_decide_what_a_webhook_is_asked_about(
    api: Client, hook_server: HookServer, configure: Any
) -> None:
    def condition(expression: str) -> list[dict[str, str]]:
        return [{"name": "only", "expression": expression}]

    paths = ("/labelled", "/named", "/updates", "/elsewhere", "/pods", "/deletes", "/broken")
    for path in paths:
        hook_server.answers[path] = allow
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    await configure(
        "Validating",
        hook(hook_server, "/labelled", objectSelector={"matchExpressions": [{"key": "l", "operator": "Exists"}]}),
        hook(
            hook_server, "/named", matchConditions=condition("object.metadata.name == 'b' && request.operation != 'X'")
        ),
        hook(hook_server, "/updates", matchConditions=condition("oldObject != null && oldObject.data.k == 'v'")),
        hook(hook_server, "/elsewhere", namespaceSelector={"matchLabels": {"hooks": "off"}}),
        hook(hook_server, "/pods", rules=[{**rule, "resources": ["pods"], "operations": ["*"]}]),
        hook(hook_server, "/deletes", rules=[{**rule, "operations": ["DELETE"]}]),
        hook(hook_server, "/broken", matchConditions=condition("object.data.zz == '1'"), failurePolicy="Ignore"),
    )

    await api("POST", MAPS, configmap("a", {"labels": {"l": "1"}}, k="v"))
    await api("POST", MAPS, configmap("b", k="v"))
    await api("PATCH", f"{MAPS}/a", {"data": {"k": "w"}}, type=MERGE)
    await api("DELETE", f"{MAPS}/b")

    asked = {path: [(r["operation"], r["name"]) for r in hook_server.requests(path)] for path in paths}
    assert asked == {
        "/labelled": [("CREATE", "a"), ("UPDATE", "a")],
        "/named": [("CREATE", "b")],
        "/updates": [("UPDATE", "a")],
        "/elsewhere": [],
        "/pods": [],
        "/deletes": [("DELETE", "b")],
        "/broken": [],
    }


async def test_a_condition_that_fails_refuses_when_the_policy_says_so(
    api: Client, hook_server: HookServer, configure: Any
) -> None:
    hook_server.answers["/never"] = allow
    # The marker proves that the configuration is heeded, so this one may not refuse what the marker is asked with.
    conditions = [
        {"name": "not-probe", "expression": "object.metadata.name != 'probe'"},
        {"name": "broken", "expression": "object.data.zz == '1'"},
    ]
    await configure("Validating", hook(hook_server, "/never", matchConditions=conditions))
    refused = await api("POST", MAPS, configmap("a", k="v"))
    assert (refused.code, refused["reason"]) == (403, "Forbidden")
    assert refused["message"] == (
        """configmaps "a" is forbidden: expression 'object.data.zz == '1'' resulted in error: no such key: zz"""
    )
    assert not hook_server.requests("/never")


async def test_a_dry_run_asks_only_webhooks_without_side_effects(
    api: Client, hook_server: HookServer, configure: Any
) -> None:
    hook_server.answers["/dry"] = allow
    await configure("Validating", hook(hook_server, "/dry", sideEffects="NoneOnDryRun"))
    answer = await api("POST", MAPS, configmap("a"), dryRun="All")
    assert answer.code == 201
    assert hook_server.requests("/dry")[0]["dryRun"] is True


async def test_an_equivalent_version_is_converted_for_the_webhook(
    api: Client, hook_server: HookServer, configure: Any
) -> None:
    definition = crd()
    definition["spec"]["versions"].append({**definition["spec"]["versions"][0], "name": "v2", "storage": False})
    assert (await api("POST", CRDS, definition)).code == 201
    path = "/apis/example.com/v2/namespaces/hooked/widgets"
    async with asyncio.timeout(60):
        while (await api("GET", path)).code != 200:  # noqa: ASYNC110 - another process: nothing to wait on
            await asyncio.sleep(0.05)
    hook_server.answers["/v1"] = hook_server.answers["/exact"] = allow
    rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["widgets"]}
    await configure(
        "Validating",
        hook(hook_server, "/v1", rules=[rule]),
        hook(hook_server, "/exact", rules=[rule], matchPolicy="Exact"),
    )

    created = await api("POST", path, {**widget("a", x=1), "apiVersion": "example.com/v2"})

    assert created.code == 201, created.body
    (request,) = hook_server.requests("/v1")
    assert request["kind"]["version"] == request["resource"]["version"] == "v1"
    assert request["requestKind"]["version"] == "v2"
    assert request["object"]["apiVersion"] == "example.com/v1"
    assert not hook_server.requests("/exact")
    await api("DELETE", f"{path}/a")
    await api("DELETE", f"{CRDS}/widgets.example.com")


async def test_the_webhook_configurations_themselves_are_never_asked_about(
    api: Client, hook_server: HookServer, configure: Any
) -> None:
    rule = {
        "apiGroups": ["admissionregistration.k8s.io"],
        "apiVersions": ["*"],
        "operations": ["*"],
        "resources": ["*"],
    }
    hook_server.answers["/self"] = refusing(message="never")
    await configure("Validating", hook(hook_server, "/self", rules=[rule], namespaceSelector={}))
    removed = await api("DELETE", f"{HOOKS}/validatingwebhookconfigurations/test")
    assert removed.code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "short"}, "webhooks[0].name"),
        ({"sideEffects": None}, "webhooks[0].sideEffects"),
        ({"sideEffects": "Some"}, "webhooks[0].sideEffects"),
        ({"timeoutSeconds": 31}, "webhooks[0].timeoutSeconds"),
        ({"admissionReviewVersions": ["v9"]}, "webhooks[0].admissionReviewVersions"),
        ({"failurePolicy": "Maybe"}, "webhooks[0].failurePolicy"),
        ({"clientConfig": {"url": "http://x.example.com"}}, "webhooks[0].clientConfig.url"),
        ({"clientConfig": {}}, "webhooks[0].clientConfig"),
        ({"rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["SING"], "resources": ["*"]}]},
         "webhooks[0].rules[0].operations[0]"),
        ({"matchConditions": [{"name": "c", "expression": "a =="}]}, "webhooks[0].matchConditions[0].expression"),
    ],
)  # fmt: skip
async def test_a_webhook_that_could_never_be_called_is_refused(
    api: Client, hook_server: HookServer, change: dict[str, Any], field: str
) -> None:
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "bad"},
        "webhooks": [{key: value for key, value in {**hook(hook_server, "/x"), **change}.items() if value is not None}],
    }
    refused = await api("POST", f"{HOOKS}/validatingwebhookconfigurations", body)
    assert refused.code == 422
    assert field in [cause["field"] for cause in causes(refused)], refused.body
