"""EffectClaims on a cluster in memory (spec runs 23, workloads 19.2)."""

from __future__ import annotations

from typing import Any

from bobrapet.api import KINDS, EffectClaim, StepRun
from bobrapet.api.crds import crd_manifests
from bobrapet.config.operator import OperatorConfig
from bobrapet.reconcilers.effectclaim import EffectClaimReconciler
from bobrapet.reconcilers.operator import Operator
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.reconcile import Request
from tests.unit.reconcilers.objects import NAMESPACE, Recorder

KEY = ObjectKey(NAMESPACE, "claim")


def claim(uid: str = "u1", **spec: Any) -> EffectClaim:
    spec = {"stepRunRef": {"name": "run1-pay", "uid": uid}, "effectKey": "charge", **spec}
    return EffectClaim.model_validate({"metadata": {"name": "claim", "namespace": NAMESPACE}, "spec": spec})


def steprun() -> StepRun:
    metadata = {"name": "run1-pay", "namespace": NAMESPACE, "uid": "u1"}
    return StepRun.model_validate({"metadata": metadata, "spec": {"storyRunRef": {"name": "run1"}, "stepId": "pay"}})


class Cluster:
    def __init__(self, *objects: Any) -> None:
        self.clock = FakeClock()
        builder = ClientBuilder(self.clock).with_types(*KINDS).with_crds(*crd_manifests()).with_objects(*objects)
        self.client = builder.build()
        self.recorder = Recorder()
        operator = Operator(client=self.client, live=self.client, clock=self.clock, config=lambda: OperatorConfig())
        self.reconciler = EffectClaimReconciler(operator, self.recorder)

    async def reconcile(self) -> EffectClaim | None:
        await self.reconciler.reconcile(Request(*KEY))
        return await get_or_none(self.client, EffectClaim, KEY)


async def test_a_claim_goes_with_its_steprun_and_shows_its_phase() -> None:
    found = await Cluster(steprun(), claim()).reconcile()
    assert found is not None
    assert [owner.uid for owner in found.metadata.owner_references] == ["u1"]
    assert found.status.phase == "Reserved"


async def test_a_second_pass_writes_nothing() -> None:
    cluster = Cluster(steprun(), claim())
    first = await cluster.reconcile()
    second = await cluster.reconcile()
    assert first is not None
    assert second is not None
    assert first.metadata.resource_version == second.metadata.resource_version


async def test_a_claim_without_its_steprun_is_deleted_and_that_is_told() -> None:
    cluster = Cluster(claim())
    assert await cluster.reconcile() is None
    ((_, reason, note),) = cluster.recorder.events
    assert reason == "ClaimDeleted"
    assert "run1-pay" in note


async def test_a_claim_of_a_steprun_that_was_created_anew_is_deleted() -> None:
    assert await Cluster(steprun(), claim("of-an-earlier-one")).reconcile() is None


async def test_a_claim_that_is_gone_is_no_error() -> None:
    assert await Cluster(steprun()).reconcile() is None
