"""The rights that the reconcilers declare are enough, on a real API server that grants nothing else."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import pytest

from bobrapet import manager
from bobrapet.api import KINDS, Engram, StepRun, StoryRun
from bobrapet.api.crds import crd_manifests
from bobrapet.reconcilers import rbac, wiring
from bobrapet.reconcilers.apply import merge_patch
from bobrapet.reconcilers.builtin import Job
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.envtest import Environment
from bobrapet.runtime.envtest.crd import install_crds
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.scheme import Scheme
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template
from tests.unit.reconcilers.test_manager_on_embedded import SUCCESS, Cluster, phase

USER = "system:serviceaccount:bobrapet-system:controller-manager"
RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
def environment() -> Iterator[Environment]:
    if not os.environ.get("KUBEBUILDER_ASSETS"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "KUBEBUILDER_ASSETS is not set: see hack/envtest"
        )
    with Environment() as started:
        yield started


@pytest.mark.real
async def test_the_declared_rights_carry_a_run_from_start_to_end(environment: Environment) -> None:
    config = environment.config
    await install_crds(config, crd_manifests())
    scheme = Scheme()
    scheme.add_known_types(*KINDS)
    async with ApiClient(RestClient(config), scheme) as admin:
        await _grant(admin)
        operator = await manager.build(dataclasses.replace(config, impersonate=(("Impersonate-User", USER),)))
        cluster = Cluster(admin, operator)
        try:
            await cluster.create(
                Unstructured({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            )
            for obj in (
                template(),
                Engram.model_validate(engram()),
                story(step("fetch"), step("next", with_={"payload": "{{ steps.fetch.outputs.body }}"})),
                StoryRun.model_validate(storyrun()),
            ):
                await cluster.create(obj)
            for name in ("run1-fetch", "run1-next"):
                await cluster.until(Job, name, lambda job: True)
                await cluster.until(StepRun, name, phase("Running"))
                await cluster.patch_status(StepRun, name, SUCCESS | {"output": {"body": "x" * 40_000}})
            await cluster.until(StoryRun, "run1", phase("Succeeded"))
            run = await admin.get(StoryRun, ObjectKey(NAMESPACE, "run1"))
            await admin.delete(run, propagation_policy="Background")
            second = await cluster.create(StoryRun.model_validate(storyrun("run2")))
            await cluster.until(StepRun, "run2-fetch", phase("Running"))
            await admin.patch(second, merge_patch({"spec": {"cancelRequested": True}}))
            await cluster.until(StoryRun, "run2", phase("Finished"))
        finally:
            await cluster.stop_operator()


async def _grant(admin: ApiClient) -> None:
    """Our rules to the manager's account, and nothing else."""
    api = f"{RBAC}/v1"
    role = {"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": "manager-role"}}
    await admin.create(Unstructured(role | {"rules": rbac.merge(wiring.RBAC)}))
    binding = {
        "apiVersion": api,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "manager-rolebinding"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "manager-role"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": USER}],
    }
    await admin.create(Unstructured(binding))
