"""Replicas that keep one webhook certificate, on a real API server that calls the webhooks with it."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from bobrapet import manager
from bobrapet.admission import Url, certificates, webhook_configurations
from bobrapet.admission.certificatekeeper import CertificateKeeper, CertificateUnavailable
from bobrapet.admission.certificates import Policy
from bobrapet.api import Story
from bobrapet.api.crds import crd_manifests
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import REAL_CLOCK
from bobrapet.runtime.envtest import Environment, Options, PortLease, install_crds
from bobrapet.runtime.errors import ApiError
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from tests.unit.validation.builders import story

PREFIX = "bobrapet-"
SECRET = certificates.secret_name(PREFIX)
Secret = Unstructured.of("v1", "Secret")
Namespace = Unstructured.of("v1", "Namespace")
StoryObject = Unstructured.of(Story.API_VERSION, Story.KIND)


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
    for manifest in webhook_configurations(Url(base)):
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
async def test_certificates_are_renewed_under_load_and_no_request_is_lost(
    environment: Environment, client: ApiClient, namespace: str
) -> None:
    """Two replicas renew every few seconds while the API server calls the webhooks of one of them without a pause."""
    policy = Policy(lifetime=timedelta(seconds=6), settle=timedelta(seconds=1))
    renewals = 2
    with PortLease() as ports:
        port = ports.take()
        options = manager.Options(
            webhook_self_signed=True, webhook_port=port, config_namespace=namespace, leader_election_namespace=namespace
        )
        async with configurations(client, f"https://localhost:{port}"):
            keepers = [
                keeper(environment.config, namespace, policy=policy, period=timedelta(seconds=0.2)) for _ in range(2)
            ]
            await asyncio.gather(*(each.look() for each in keepers))
            operator = await manager.build(environment.config, options)
            server = operator.get_webhook_server()
            server.options = type(server.options)(port=port, context=keepers[0].context)
            running = [asyncio.create_task(operator.start()), *(asyncio.create_task(each.start()) for each in keepers)]
            try:
                async with asyncio.timeout(40):
                    await server.ready()
                    await _called(client)
                    shown = {served(keepers[0].context)}
                    answered = 0
                    while len(shown) <= renewals:
                        await asyncio.gather(*(_default(client) for _ in range(4)))
                        answered += 4
                        shown.add(served(keepers[0].context))
                assert answered > 100
                assert served(keepers[1].context) in shown
            finally:
                operator.request_stop()
                await running[0]
                for task in running[1:]:
                    task.cancel()
                await asyncio.wait(running)
                for each in keepers:
                    await each.close()


async def _default(client: ApiClient) -> bool:
    """Creates a Story without keeping it; says whether a webhook filled in what was left open."""
    given = StoryObject(story("name: a, execution: {}", name="good", namespace="default"))
    answered = await client.create(given, dry_run=True)
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
