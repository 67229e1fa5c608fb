"""Admission, the webhook server, certificates, the metrics filter (spec runtime sections 12 and 14)."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jsonpatch
import pytest
from aiohttp import web
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.runtime.builder import BuilderError
from bobrapet.runtime.builder.webhook import mutating_path, validating_path, webhook_managed_by
from bobrapet.runtime.certwatcher import CertificateError, CertWatcher, self_signed_pair
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.errors import Invalid
from bobrapet.runtime.metrics import REGISTRY
from bobrapet.runtime.metrics.filters import with_authentication_and_authorization
from bobrapet.runtime.metrics.server import MetricsServerError
from bobrapet.runtime.metrics.server import Options as MetricsOptions
from bobrapet.runtime.metrics.server import Server as MetricsServer
from bobrapet.runtime.scheme import GroupVersionKind, Scheme
from bobrapet.runtime.webhook import Options, Server, WebhookServerError
from bobrapet.runtime.webhook.admission import (
    AdmissionDenied,
    MultiMutating,
    MultiValidating,
    Request,
    Response,
    Webhook,
    allowed,
    denied,
    json_patch,
    patched,
    request_from_context,
    with_custom_defaulter,
    with_custom_validator,
)
from bobrapet.runtime.webhook.admission.http import serve
from tests.unit.runtime.controller_side.fakes import WIDGET, widget

Widget = Unstructured.of(WIDGET)


class Fixed:
    """A handler that always does the same."""

    def __init__(self, outcome: Response | Exception) -> None:
        self.outcome = outcome
        self.asked = 0

    async def handle(self, request: Request) -> Response:
        self.asked += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def review(version: str = "v1", **request: Any) -> bytes:
    body = {
        "apiVersion": f"admission.k8s.io/{version}",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "operation": "CREATE",
            "kind": {"group": "example.org", "version": "v1", "kind": "Widget"},
            "resource": {"group": "example.org", "version": "v1", "resource": "widgets"},
            "object": widget("w"),
            **request,
        },
    }
    return json.dumps(body).encode()


async def ask(
    handler: Any, body: bytes | None = None, content_type: str = "application/json", timeout: str = "", **options: Any
) -> dict[str, Any]:
    webhook = handler if isinstance(handler, Webhook) else Webhook(handler, **options)
    answer = json.loads(await serve(webhook, review() if body is None else body, content_type, timeout))
    assert answer["kind"] == "AdmissionReview"
    response: dict[str, Any] = answer["response"]
    response["version"] = answer["apiVersion"]
    return response


@pytest.mark.spec("runtime-107")
@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"", "application/json", 400),
        (b"{}", "text/plain", 400),
        (b"{}", "application/json; charset=utf-8", 400),
        (bytes(8 << 20), "application/json", 413),
        (b"{not json", "application/json", 400),
        (b'{"kind":"Pod","apiVersion":"v1"}', "application/json", 400),
    ],
)
async def test_a_question_that_is_none_is_refused_in_an_answer(body: bytes, content_type: str, code: int) -> None:
    response = await ask(Fixed(allowed()), body, content_type)
    assert response["allowed"] is False
    assert response["status"]["code"] == code


@pytest.mark.spec("runtime-107")
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_the_answer_speaks_the_version_of_the_question_and_names_it(version: str) -> None:
    response = await ask(Fixed(allowed()), review(version))
    assert response["version"] == f"admission.k8s.io/{version}"
    assert response["uid"] == "u-1"
    assert response["status"] == {"code": 200}
    assert "patchType" not in response


@pytest.mark.spec("runtime-107")
async def test_a_crash_is_an_answer_with_the_uid_of_the_question() -> None:
    before = REGISTRY.get_sample_value("controller_runtime_webhook_panics_total") or 0
    response = await ask(Fixed(KeyError("spec")))
    assert response["uid"] == "u-1"
    assert response["status"]["code"] == 500
    assert "panic: 'spec' [recovered]" in response["status"]["message"]
    assert REGISTRY.get_sample_value("controller_runtime_webhook_panics_total") == before + 1
    with pytest.raises(KeyError):
        await ask(Fixed(KeyError("spec")), recover_panic=False)


@pytest.mark.spec("runtime-107")
@pytest.mark.parametrize("response", [allowed(), denied("no")])
async def test_warnings_are_given_with_yes_and_with_no(response: Response) -> None:
    answer = await ask(Fixed(response.with_warnings("careful", "old")))
    assert answer["warnings"] == ["careful", "old"]
    assert answer["allowed"] is response.allowed


async def test_a_slow_webhook_answers_before_the_asker_gives_up() -> None:
    class Slow:
        async def handle(self, request: Request) -> Response:
            await asyncio.Event().wait()
            raise AssertionError

    response = await ask(Slow(), timeout="50ms")
    assert response["status"]["code"] == 500
    assert "did not decide within 0.05 s" in response["status"]["message"]


class Judge:
    """Refuses what is called bad."""

    def validate_create(self, obj: Unstructured) -> list[str]:
        return self._judge(obj)

    async def validate_update(self, old: Unstructured, new: Unstructured) -> list[str]:
        assert old.metadata.name == "old"
        return self._judge(new)

    def validate_delete(self, obj: Unstructured) -> None:
        self._judge(obj)

    def _judge(self, obj: Unstructured) -> list[str]:
        match obj.metadata.name:
            case "invalid":
                causes = [{"field": "spec.size", "reason": "FieldValueInvalid", "message": "must be positive"}]
                raise Invalid("Widget is invalid", details={"causes": causes})
            case "bad":
                raise AdmissionDenied("that is bad", ["and ugly"])
            case "error":
                raise ValueError("cannot be")
            case "broken":
                raise AttributeError("a fault")
        return [f"by {request_from_context().user_info['username']}"]


def judge(operation: str = "CREATE", new: str | None = "w", old: str | None = None) -> Any:
    body = review(
        operation=operation,
        object=widget(new) if new else None,
        oldObject=widget(old) if old else None,
        userInfo={"username": "alice"},
    )
    return ask(with_custom_validator(Widget, Judge()), body)


@pytest.mark.spec("runtime-107")
async def test_a_validator_judges_each_operation() -> None:
    assert (await judge())["warnings"] == ["by alice"]
    assert (await judge("UPDATE", "w", "old"))["allowed"]
    assert (await judge("DELETE", None, "w"))["allowed"]
    assert (await judge("CONNECT"))["allowed"]
    assert (await judge("PAINT"))["status"]["code"] == 400
    assert not (await judge("DELETE", None, "bad"))["allowed"]


@pytest.mark.spec("runtime-107")
async def test_denials_tell_what_they_are() -> None:
    invalid = (await judge(new="invalid"))["status"]
    assert (invalid["code"], invalid["reason"]) == (422, "Invalid")
    assert invalid["details"]["causes"][0]["field"] == "spec.size"
    bad = await judge(new="bad")
    assert bad["warnings"] == ["and ugly"]
    assert (bad["status"]["code"], bad["status"]["reason"]) == (403, "Forbidden")
    assert (await judge(new="error"))["status"]["message"] == "cannot be"
    assert (await judge(new="broken"))["status"]["code"] == 500
    undecodable = await ask(with_custom_validator(Widget, Judge()), review(object=[1, 2]))
    assert undecodable["status"]["code"] in (400, 500)


class Fill:
    """Sets spec.size to 1 and drops spec.junk."""

    def default(self, obj: Unstructured) -> None:
        spec = obj.object.setdefault("spec", {})
        spec.setdefault("size", 1)
        spec.pop("junk", None)


def patch_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    assert response["patchType"] == "JSONPatch"
    operations: list[dict[str, Any]] = json.loads(base64.b64decode(response["patch"]))
    return operations


@pytest.mark.spec("runtime-108")
async def test_a_defaulter_sends_what_it_changed() -> None:
    fill = with_custom_defaulter(Widget, Fill())
    unchanged = await ask(fill, review(object=widget("w", spec={"size": 3})))
    assert unchanged["allowed"]
    assert "patch" not in unchanged
    obj = widget("w", spec={"junk": 1, "colour/tint~": "red"})
    response = await ask(fill, review(object=obj))
    assert jsonpatch.apply_patch(obj, patch_of(response)) == widget("w", spec={"size": 1, "colour/tint~": "red"})
    deleted = await ask(fill, review(operation="DELETE", object=None, oldObject=widget("w")))
    assert deleted["allowed"]
    assert "patch" not in deleted


class Narrow:
    """A model that knows only `size`: reading and writing loses everything else of the spec."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw

    @classmethod
    def model_validate(cls, raw: dict[str, Any]) -> Narrow:
        spec = {key: value for key, value in (raw.get("spec") or {}).items() if key == "size"}
        return cls({**raw, "spec": spec})

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return self.raw


@pytest.mark.spec("runtime-108")
async def test_fields_that_the_model_does_not_know_survive() -> None:
    class Fill:
        async def default(self, obj: Narrow) -> None:
            obj.raw = {**obj.raw, "spec": {"size": 7}}

    obj = widget("w", spec={"future": {"deep": True}})
    response = await ask(with_custom_defaulter(Narrow, Fill()), review(object=obj))
    assert jsonpatch.apply_patch(obj, patch_of(response))["spec"] == {"future": {"deep": True}, "size": 7}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab/~", max_size=3), inner, max_size=4),
    max_leaves=15,
)


@pytest.mark.spec("runtime-108")
@given(before=st.dictionaries(st.text(max_size=3), JSON), after=st.dictionaries(st.text(max_size=3), JSON))
def test_a_patch_turns_one_document_into_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    operations = [dict(operation) for operation in json_patch(before, after)]
    result = jsonpatch.apply_patch(before, operations)
    assert json.dumps(result, sort_keys=True) == json.dumps(after, sort_keys=True)
    assert json_patch(before, before) == []


async def test_several_handlers_are_asked_until_one_denies() -> None:
    add = {"op": "add", "path": "/a", "value": 1}
    last = Fixed(allowed())
    both = await MultiMutating(Fixed(patched("", add).with_warnings("x")), Fixed(patched("", add))).handle(Request())
    assert (both.patches, both.warnings) == ([add, add], ["x"])
    stopped = await MultiValidating(Fixed(allowed().with_warnings("x")), Fixed(denied("no")), last).handle(Request())
    assert (stopped.allowed, stopped.warnings, last.asked) == (False, ["x"], 0)
    assert (await MultiValidating(Fixed(patched("", add))).handle(Request())).code == 500


PATHS = {
    "bubustack.io/Story": "bubustack-io-v1alpha1-story",
    "bubustack.io/Engram": "bubustack-io-v1alpha1-engram",
    "bubustack.io/Impulse": "bubustack-io-v1alpha1-impulse",
    "runs.bubustack.io/StoryRun": "runs-bubustack-io-v1alpha1-storyrun",
    "runs.bubustack.io/StepRun": "runs-bubustack-io-v1alpha1-steprun",
    "runs.bubustack.io/StoryTrigger": "runs-bubustack-io-v1alpha1-storytrigger",
    "runs.bubustack.io/EffectClaim": "runs-bubustack-io-v1alpha1-effectclaim",
    "catalog.bubustack.io/EngramTemplate": "catalog-bubustack-io-v1alpha1-engramtemplate",
    "catalog.bubustack.io/ImpulseTemplate": "catalog-bubustack-io-v1alpha1-impulsetemplate",
    "transport.bubustack.io/Transport": "transport-bubustack-io-v1alpha1-transport",
    "transport.bubustack.io/TransportBinding": "transport-bubustack-io-v1alpha1-transportbinding",
    "policy.bubustack.io/ReferenceGrant": "policy-bubustack-io-v1alpha1-referencegrant",
}


@pytest.mark.spec("runtime-85")
@pytest.mark.parametrize("kind", PATHS)
def test_paths_are_those_of_the_manifests(kind: str) -> None:
    group, _, name = kind.partition("/")
    gvk = GroupVersionKind(group, "v1alpha1", name)
    assert validating_path(gvk) == f"/validate-{PATHS[kind]}"
    assert mutating_path(gvk) == f"/mutate-{PATHS[kind]}"


def test_the_builder_registers_both_webhooks_and_skips_taken_paths() -> None:
    server = Server(Options(port=-1))

    class Manager:
        scheme = Scheme()

        def get_webhook_server(self) -> Server:
            return server

    manager: Any = Manager()
    webhook_managed_by(manager, Widget).with_defaulter(Fill()).with_validator(Judge()).complete()
    webhook_managed_by(manager, Widget).with_validator(Judge()).complete()
    assert server.is_registered("/mutate-example-org-v1-widget")
    assert server.is_registered("/validate-example-org-v1-widget")
    with pytest.raises(WebhookServerError):
        server.register("/validate-example-org-v1-widget", Webhook(Fixed(allowed())))
    misplaced = webhook_managed_by(manager, Widget).with_validator(Judge()).with_validator_custom_path("no slash")
    with pytest.raises(BuilderError, match="does not match"):
        misplaced.complete()


def write_pair(folder: Path, name: str = "localhost") -> int:
    """Writes a new certificate and key; returns its serial number."""
    cert, key = self_signed_pair([name, "127.0.0.1"])
    (folder / "tls.crt").write_bytes(cert)
    (folder / "tls.key").write_bytes(key)
    return x509.load_pem_x509_certificate(cert).serial_number


@asynccontextmanager
async def serving(server: Any) -> AsyncIterator[int]:
    task = asyncio.create_task(server.start())
    ready = asyncio.create_task(server.ready())
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        ready.cancel()
        await task
    try:
        yield server.port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def serial_of(port: int) -> int:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return x509.load_der_x509_certificate(der).serial_number


@pytest.mark.spec("runtime-109")
async def test_new_handshakes_see_the_new_certificate_and_open_connections_go_on(
    tmp_path: Path, clock: FakeClock
) -> None:
    first = write_pair(tmp_path)
    server = Server(Options(host="127.0.0.1", port=0, cert_dir=str(tmp_path)), clock=clock)
    server.register("/validate", Webhook(Fixed(allowed())))
    with pytest.raises(WebhookServerError, match="not been started"):
        await server.started_check()
    labels = {"webhook": "/validate", "code": "200"}
    answered = REGISTRY.get_sample_value("controller_runtime_webhook_requests_total", labels) or 0
    connections: list[object] = []

    async def note(*made: object) -> None:
        connections.append(made)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(note)
    connector = aiohttp.TCPConnector(ssl=False, keepalive_timeout=3600)
    async with serving(server) as port, aiohttp.ClientSession(connector=connector, trace_configs=[trace]) as session:
        await server.started_check()

        async def call() -> int:
            headers = {"Content-Type": "application/json"}
            url = f"https://127.0.0.1:{port}/validate?timeout=10s"
            async with session.post(url, data=review(), headers=headers) as answer:
                assert (await answer.json())["response"]["allowed"]
                return answer.status

        assert await call() == 200
        assert await serial_of(port) == first
        second = write_pair(tmp_path)
        await clock.advance(10)
        assert await serial_of(port) == second
        assert await call() == 200
        (tmp_path / "tls.key").write_text("half a sec")
        errors = REGISTRY.get_sample_value("certwatcher_read_certificate_errors_total") or 0
        await clock.advance(10)
        assert REGISTRY.get_sample_value("certwatcher_read_certificate_errors_total") == errors + 1
        assert await serial_of(port) == second
        async with session.get(f"https://127.0.0.1:{port}/other") as missing:
            assert missing.status == 404
        assert len(connections) == 1
    assert REGISTRY.get_sample_value("controller_runtime_webhook_requests_total", labels) == answered + 2


def test_a_certificate_that_is_broken_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CertificateError):
        CertWatcher(tmp_path / "tls.crt", tmp_path / "tls.key")


async def test_a_disabled_webhook_server_is_healthy_and_takes_registrations() -> None:
    server = Server(Options(port=-1))
    server.register("/x", Webhook(Fixed(allowed())))
    await server.started_check()
    task = asyncio.create_task(server.start())
    await server.ready()
    await server.started_check()
    task.cancel()


class Reviews:
    """An API server that answers reviews."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.scheme = Scheme()
        self.down = False

    async def create(self, obj: Unstructured) -> Unstructured:
        self.asked.append(obj.kind)
        if self.down:
            raise Invalid("no")
        spec = obj.object["spec"]
        if obj.kind == "TokenReview":
            valid = spec["token"] in ("alice", "bob")
            return type(obj)({"status": {"authenticated": valid, "user": {"username": spec["token"]}}})
        assert spec["nonResourceAttributes"] == {"verb": "get", "path": "/metrics"}
        return type(obj)({"status": {"allowed": spec["user"] == "alice"}})


@pytest.mark.spec("runtime-110")
async def test_metrics_are_shown_to_whom_the_api_server_lets(clock: FakeClock) -> None:
    reviews = Reviews()
    client: Any = reviews
    options = MetricsOptions(
        bind_address="127.0.0.1:0", filter_provider=with_authentication_and_authorization(client, clock=clock)
    )
    async with serving(MetricsServer(options, clock=clock)) as port, aiohttp.ClientSession() as session:

        async def get(token: str | None) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with session.get(f"http://127.0.0.1:{port}/metrics", headers=headers) as answer:
                text = await answer.text()
                assert ("workqueue_depth" in text) is (answer.status == 200)
                return answer.status

        assert await get(None) == 401
        assert reviews.asked == []
        assert await get("mallory") == 401
        assert await get("bob") == 403
        assert await get("alice") == 200
        asked = len(reviews.asked)
        await clock.advance(59)
        assert await get("alice") == 200
        assert len(reviews.asked) == asked
        await clock.advance(2)
        assert await get("alice") == 200
        assert reviews.asked[asked:] == ["TokenReview"]
        reviews.down = True
        failing = asyncio.create_task(get("carol"))
        while not failing.done():
            await asyncio.sleep(0)
            await clock.advance(1)
        assert await failing == 500


async def test_other_pages_stand_beside_the_metrics() -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    server = MetricsServer(MetricsOptions(bind_address="127.0.0.1:0", extra_handlers={"/debug": page}))
    with pytest.raises(MetricsServerError, match="taken"):
        server.add_extra_handler("/metrics", page)
    with pytest.raises(MetricsServerError, match="already"):
        server.add_extra_handler("/debug", page)
    async with (
        serving(server) as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/debug") as answer,
    ):
        assert await answer.text() == "hello"


async def test_metrics_are_served_by_tls_with_a_certificate_of_their_own(tmp_path: Path) -> None:
    options = MetricsOptions(bind_address="127.0.0.1:0", secure_serving=True, cert_dir=str(tmp_path))
    async with serving(MetricsServer(options)) as port:
        assert await serial_of(port)
    serial = write_pair(tmp_path)
    async with serving(MetricsServer(options)) as port:
        assert await serial_of(port) == serial
    await settle()
