"""Replicas that keep one webhook certificate, on a real API server that calls the webhooks with it."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bobrapet import manager
from bobrapet.admission import Url, certificates
from bobrapet.admission.certificatekeeper import CertificateKeeper, CertificateUnavailable
from bobrapet.admission.certificates import Policy
from bobrapet.api import Story
from bobrapet.api.crds import crd_manifests
from bobrapet.reconcilers import rbac
from bobrapet.reconcilers.apply import merge_patch
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import REAL_CLOCK, RealClock
from bobrapet.runtime.envtest import Environment, Options, PortLease, install_crds
from bobrapet.runtime.errors import ApiError, Forbidden
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from tests.unit.admission.world import patient_webhooks
from tests.unit.validation.builders import story

PREFIX = "bobrapet-"
SECRET = certificates.secret_name(PREFIX)
Secret = Unstructured.of("v1", "Secret")
Namespace = Unstructured.of("v1", "Namespace")
ConfigMap = Unstructured.of("v1", "ConfigMap")
StoryObject = Unstructured.of(Story.API_VERSION, Story.KIND)

PATIENCE = 300
"""Seconds after which a test gives up. Nothing here is judged by time; this only ends what would never end."""


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    if not os.environ.get("KUBEBUILDER_ASSETS"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "KUBEBUILDER_ASSETS is not set: see hack/envtest"
        )
    with Environment(Options(controllers=False)) as started:
        asyncio.run(install_crds(started.config, crd_manifests()))
        yield started


@pytest.fixture
async def client(environment: Environment) -> AsyncIterator[ApiClient]:
    async with ApiClient(RestClient(environment.config)) as made:
        yield made


@pytest.fixture
async def namespace(client: ApiClient) -> str:
    made = await client.create(Namespace({"metadata": {"generateName": "certs-"}}))
    return str(made.metadata.name)


def keeper(config: RestConfig, namespace: str, **options: Any) -> CertificateKeeper:
    return CertificateKeeper(ApiClient(RestClient(config)), namespace, PREFIX, **options)


@asynccontextmanager
async def configurations(client: ApiClient, base: str, **annotations: str) -> AsyncIterator[list[Unstructured]]:
    made = []
    for manifest in patient_webhooks(Url(base)):
        manifest["metadata"]["annotations"] = annotations
        cls = Unstructured.of(manifest["apiVersion"], manifest["kind"])
        made.append(await client.create(cls(manifest)))
    try:
        yield made
    finally:
        for each in made:
            await client.delete(each)


def served(context: ssl.SSLContext) -> bytes:
    """The certificate that a server with this context shows."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    back = ssl.MemoryBIO()
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    client = asking.wrap_bio(back, incoming, server_side=False)
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    for _ in range(4):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
            back.write(outgoing.read())
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown).encode()


@pytest.mark.real
async def test_replicas_that_start_at_once_serve_one_certificate(
    environment: Environment, client: ApiClient, namespace: str
) -> None:
    keepers = [keeper(environment.config, namespace) for _ in range(4)]
    try:
        async with configurations(client, "https://localhost:1") as made:
            await asyncio.gather(*(each.look() for each in keepers))
            stored = await client.get(Secret, ObjectKey(namespace, SECRET))
            one = base64.b64decode(stored.get("data", "tls.crt"))
            assert [served(each.context) for each in keepers] == [one] * len(keepers)
            for each in made:
                now = await client.get(type(each), ObjectKey("", str(each.metadata.name)))
                bundles = {hook["clientConfig"]["caBundle"] for hook in now.get("webhooks")}
                assert bundles == {stored.get("data", "ca.crt")}
    finally:
        for each in keepers:
            await each.close()


@pytest.mark.real
async def test_a_second_look_writes_nothing(environment: Environment, client: ApiClient, namespace: str) -> None:
    ours = keeper(environment.config, namespace)
    async with configurations(client, "https://localhost:1") as made:
        await ours.look()

        async def versions() -> list[str | None]:
            found = [await client.get(Secret, ObjectKey(namespace, SECRET))]
            found += [await client.get(type(each), ObjectKey("", str(each.metadata.name))) for each in made]
            return [each.metadata.resource_version for each in found]

        before = await versions()
        await ours.look()
        assert await versions() == before
    await ours.close()


@pytest.mark.real
async def test_where_cert_manager_makes_the_certificate_nothing_is_written(
    environment: Environment, client: ApiClient, namespace: str
) -> None:
    theirs = certificates.plan(
        None, certificates.service_names(PREFIX, namespace), trusted=True, now=REAL_CLOCK.now()
    ).material
    data = {key: base64.b64encode(value).decode() for key, value in theirs.data().items()}
    meta = {
        "name": SECRET,
        "namespace": namespace,
        "annotations": {"cert-manager.io/certificate-name": "bobrapet-serving-cert"},
    }
    given = await client.create(Secret({"metadata": meta, "type": "kubernetes.io/tls", "data": data}))
    inject = {"cert-manager.io/inject-ca-from": "bobrapet-system/bobrapet-serving-cert"}
    ours = keeper(environment.config, namespace)
    async with configurations(client, "https://localhost:1", **inject) as made:
        await ours.look()
        assert served(ours.context) == theirs.current.certificate
        after = await client.get(Secret, ObjectKey(namespace, SECRET))
        assert after.metadata.resource_version == given.metadata.resource_version
        for each in made:
            now = await client.get(type(each), ObjectKey("", str(each.metadata.name)))
            assert now.metadata.resource_version == each.metadata.resource_version
    await ours.close()


@pytest.mark.real
async def test_an_empty_secret_of_cert_manager_is_waited_for(
    environment: Environment, client: ApiClient, namespace: str
) -> None:
    meta = {
        "name": SECRET,
        "namespace": namespace,
        "annotations": {"cert-manager.io/certificate-name": "bobrapet-serving-cert"},
    }
    await client.create(Secret({"metadata": meta}))
    ours = keeper(environment.config, namespace)
    with pytest.raises(CertificateUnavailable, match="there is no certificate"):
        await ours.look()
    await ours.close()


@pytest.mark.real
@pytest.mark.timeout(PATIENCE)
async def test_what_somebody_else_changes_is_put_right_at_once_with_no_more_rights_than_the_manifests_give(
    environment: Environment, client: ApiClient, namespace: str
) -> None:
    """The keeper's next look is due in sixty days, so only its watches can tell it."""
    account = await _account(environment.config, client, namespace)
    with pytest.raises(Forbidden):
        async with ApiClient(RestClient(account)) as stranger:
            await stranger.list(Secret, namespace=namespace)
    ours = keeper(account, namespace)
    async with configurations(client, "https://localhost:1") as made:
        running = asyncio.create_task(ours.start())
        try:
            first = await _trusted(client, namespace, made)
            spoilt = merge_patch(
                {
                    "webhooks": [
                        {**hook, "clientConfig": {"url": "https://localhost:1"}} for hook in made[0].get("webhooks")
                    ]
                }
            )
            await client.patch(made[0], spoilt)
            assert await _trusted(client, namespace, made) == first
            await client.delete(await client.get(Secret, ObjectKey(namespace, SECRET)))
            while (second := await _trusted(client, namespace, made)) == first:
                pass
            assert served(ours.context) == second
        finally:
            running.cancel()
            await asyncio.wait([running])
            await ours.close()


async def _trusted(client: ApiClient, namespace: str, configurations: list[Unstructured]) -> bytes:
    """The certificate, once there is one and all webhooks trust its authority."""
    while True:
        stored = await get_or_none(client, Secret, ObjectKey(namespace, SECRET))
        bundles = set()
        for each in configurations:
            now = await client.get(type(each), ObjectKey("", str(each.metadata.name)))
            bundles |= {hook["clientConfig"].get("caBundle") for hook in now.get("webhooks")}
        if stored is not None and bundles == {stored.get("data", "ca.crt")}:
            return base64.b64decode(stored.get("data", "tls.crt"))
        await asyncio.sleep(0.05)


async def _account(config: RestConfig, client: ApiClient, namespace: str) -> RestConfig:
    """An account with exactly the rights that `--webhook-self-signed` needs."""
    api = "rbac.authorization.k8s.io"
    meta = {"name": f"keeper-{namespace}", "namespace": namespace}
    subject = {"kind": "ServiceAccount", "name": meta["name"], "namespace": namespace}
    made = await client.create(Unstructured.of("v1", "ServiceAccount")({"metadata": meta}))
    for kind, rules in zip(("Role", "ClusterRole"), manager.certificate_rights(PREFIX), strict=True):
        scoped = meta if kind == "Role" else {"name": meta["name"]}
        ref = {"apiGroup": api, "kind": kind, "name": meta["name"]}
        await client.create(Unstructured.of(f"{api}/v1", kind)({"metadata": scoped, "rules": rbac.merge(rules)}))
        bound = {"metadata": scoped, "roleRef": ref, "subjects": [subject]}
        await client.create(Unstructured.of(f"{api}/v1", f"{kind}Binding")(bound))
    asked = Unstructured.of("authentication.k8s.io/v1", "TokenRequest")({"spec": {"expirationSeconds": 3600}})
    answered = await client.sub_resource("token").create(made, asked)
    return config.copy(token=answered.get("status", "token"))


class _Calendar(RealClock):
    """Real, but for the date, which the test moves: renewals happen when it says, however slow the machine is."""

    def __init__(self, today: datetime) -> None:
        self.today = today

    def now(self) -> datetime:
        return self.today


@pytest.mark.real
@pytest.mark.timeout(PATIENCE)
async def test_certificates_are_renewed_under_load_and_no_request_is_lost(
    environment: Environment, client: ApiClient, namespace: str
) -> None:
    """Two replicas renew twice, while the API server calls the webhooks of one of them without a pause.

    The replicas live in the past, so that the API server, which does not, finds each of the three certificates valid.
    """
    long, short = Policy(lifetime=timedelta(days=90)), Policy(lifetime=timedelta(days=36))
    begin = datetime.now(UTC) - timedelta(days=87)  # the second is issued on day 60, the third on day 84
    calendar = _Calendar(begin)
    with PortLease() as ports:
        port = ports.take()
        async with configurations(client, f"https://localhost:{port}"):
            serving = keeper(environment.config, namespace, policy=long, clock=calendar)
            other = keeper(environment.config, namespace, policy=short, clock=calendar)
            await serving.look()
            options = manager.Options(
                webhook_context=serving.context, webhook_port=port, webhook_host="localhost", config_namespace=namespace
            )
            operator = await manager.build(environment.config, options)
            running = asyncio.create_task(operator.start())
            try:
                await operator.get_webhook_server().ready()
                await _called(client)
                async with _Load(client) as load:
                    shown = [served(serving.context)]
                    for day in (60, 84):
                        calendar.today = begin + timedelta(days=day, minutes=1)
                        await other.look()
                        await serving.look()
                        assert served(serving.context) == shown[-1], "used before it was trusted"
                        await _api_server_follows(client, f"{namespace}-{day}")
                        await load.goes_on()
                        calendar.today += timedelta(minutes=2)
                        await other.look()
                        await serving.look()
                        shown.append(served(serving.context))
                        assert served(other.context) == shown[-1]
                        await load.goes_on()
                assert len(set(shown)) == 3
            finally:
                operator.request_stop()
                await running
                for each in (serving, other):
                    await each.close()


class _Load:
    """Requests that need the webhooks, without a pause. The first that fails is raised at the end of the block."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._answered = 0
        self._progress = asyncio.Condition()

    async def __aenter__(self) -> _Load:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._callers = [self._group.create_task(self._call()) for _ in range(4)]
        return self

    async def __aexit__(self, *raised: Any) -> None:
        for each in self._callers:
            each.cancel()
        await self._group.__aexit__(*raised)

    async def goes_on(self) -> None:
        """Returns when more requests were answered that began after this call."""
        target = self._answered + 4 * len(self._callers)
        async with self._progress:
            await self._progress.wait_for(lambda: self._answered >= target)

    async def _call(self) -> None:
        while True:
            assert await _default(self._client)
            async with self._progress:
                self._answered += 1
                self._progress.notify_all()


async def _api_server_follows(client: ApiClient, mark: str) -> None:
    """Returns when the API server acts on the webhook configurations as they are now.

    It learns of them in order, one kind beside the other. So a newer one is made of each kind, whose webhook nobody
    answers; once requests fail because of it, the API server knows all that was written before.
    """
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}]
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        label = {"follows": f"{kind[:8].lower()}-{mark}"}
        hook = {
            "name": "nobody.answers.example",
            "clientConfig": {"url": "https://localhost:1"},
            "rules": rules,
            "objectSelector": {"matchLabels": label},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        cls = Unstructured.of("admissionregistration.k8s.io/v1", kind)
        made = await client.create(cls({"metadata": {"name": label["follows"]}, "webhooks": [hook]}))
        probe = ConfigMap({"metadata": {"generateName": "probe-", "namespace": "default", "labels": label}})
        try:
            while "nobody.answers.example" not in await _refusal(client, probe):
                pass
        finally:
            await client.delete(made)


async def _default(client: ApiClient) -> bool:
    """Creates a Story without keeping it; says whether a webhook filled in what was left open."""
    given = StoryObject(story("name: a, execution: {}", name="good", namespace="default"))
    while True:
        try:
            answered = await client.create(given, dry_run=True)
            break
        except ApiError as error:
            # This process, where the webhooks are, did not get its turn. What never answers ends by PATIENCE.
            if not any(words in str(error) for words in ("TLS handshake timeout", "deadline exceeded")):
                raise
    return "retry" in answered.object["spec"]["steps"][0]["execution"]


async def _called(client: ApiClient) -> None:
    """Webhooks count from a moment after their creation on, and trust likewise."""
    while True:
        try:
            if await _default(client):
                return
        except ApiError:
            pass
        await asyncio.sleep(0.05)


async def _refusal(client: ApiClient, given: Unstructured) -> str:
    try:
        await client.create(given, dry_run=True)
    except ApiError as error:
        return str(error)
    return ""
