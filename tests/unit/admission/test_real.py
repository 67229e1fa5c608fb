"""The manager's webhooks, served over TLS to a real kube-apiserver."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bobrapet import manager
from bobrapet.admission import Service
from bobrapet.api import KINDS, Story
from bobrapet.api.crds import crd_manifests
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.envtest import Environment, LocalServing, Options, PortLease, install_crds, install_webhooks
from bobrapet.runtime.errors import Invalid
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.scheme import Scheme
from tests.unit.admission.world import patient_webhooks
from tests.unit.validation.builders import story

RETRY = {"maxRetries": 3, "delay": "1s", "backoff": "exponential"}
StoryObject = Unstructured.of(Story.API_VERSION, Story.KIND)


@pytest.fixture
def environment() -> Iterator[Environment]:
    if not os.environ.get("KUBEBUILDER_ASSETS"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "KUBEBUILDER_ASSETS is not set: see hack/envtest"
        )
    with Environment(Options(controllers=False)) as started:
        yield started


@pytest.mark.real
async def test_a_real_api_server_is_answered(environment: Environment, tmp_path: Path) -> None:
    config = environment.config
    await install_crds(config, crd_manifests())
    scheme = Scheme()
    scheme.add_known_types(*KINDS)
    heard: list[str] = []
    with PortLease() as ports:
        serving = LocalServing.prepare(tmp_path / "certs", ports)
        options = manager.Options(webhook_cert_path=str(serving.cert_dir), webhook_port=serving.port)
        operator = await manager.build(config, options)
        running = asyncio.create_task(operator.start())
        try:
            async with asyncio.timeout(120):
                await operator.get_webhook_server().ready()
            await install_webhooks(config, serving, patient_webhooks(Service()))
            listening = RestClient(config, warning_handler=lambda warning: heard.append(str(warning)))
            async with ApiClient(listening, scheme) as client:
                stored = await _stored_with_defaults(client)
                assert stored.object["spec"]["steps"][0]["execution"]["retry"] == RETRY

                wrong = story("name: a, needs: [nope]", "name: b, needs: [b]", name="wrong", namespace="default")
                with pytest.raises(Invalid) as refused:
                    await client.create(StoryObject(wrong))
                fields = {cause["field"] for cause in refused.value.causes}
                assert {"spec.steps[0].needs[0]", "spec.steps[1].needs[0]"} <= fields
                assert refused.value.details["kind"] == "Story"

                await client.create(StoryObject(story("name: a, ref: {name: e}", name="early", namespace="default")))
                assert any("engram 'e' not found" in text for text in heard), heard

                await client.delete(stored)
        finally:
            operator.request_stop()
            await running


async def _stored_with_defaults(client: ApiClient) -> Unstructured:
    """Webhooks count from a moment after their creation on."""
    given = StoryObject(story("name: a, execution: {}", name="good", namespace="default"))
    async with asyncio.timeout(120):
        while True:
            answered = await client.create(given, dry_run=True)
            if "retry" in answered.object["spec"]["steps"][0]["execution"]:
                return await client.create(given)
            await asyncio.sleep(0.05)
