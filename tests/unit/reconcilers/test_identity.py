"""The account of a Story's steps: made once, kept as it should be, never taken from somebody else."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.api import KINDS, Engram, Story
from bobrapet.config.operator import OperatorConfig
from bobrapet.reconcilers.builtin import Role, RoleBinding, ServiceAccount
from bobrapet.reconcilers.identity import ForeignIdentity, ensure_identity
from bobrapet.reconcilers.operator import Operator
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.clock import FakeClock
from bobrapet.workloads.identity import build_identity
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story

KEY = ObjectKey(NAMESPACE, "etl-engram-runner")


class World:
    def __init__(self, *objects: Any) -> None:
        self.client = ClientBuilder().with_types(*KINDS).with_objects(*objects).build()
        self.operator = Operator(client=self.client, live=self.client, clock=FakeClock(), config=OperatorConfig)

    async def ensure(self, of: Story, *engrams: Engram) -> None:
        await ensure_identity(self.operator, of, build_identity(of, NAMESPACE, engrams))

    async def versions(self) -> list[str]:
        return [
            (await self.client.get(kind, KEY)).metadata.resource_version for kind in (ServiceAccount, Role, RoleBinding)
        ]


async def test_the_three_objects_belong_to_the_story_and_a_second_pass_writes_nothing() -> None:
    world, owner = World(), story(step("a"))
    await world.ensure(owner)
    account = await world.client.get(ServiceAccount, KEY)
    assert [reference.uid for reference in account.metadata.owner_references or []] == [owner.metadata.uid]
    before = await world.versions()
    await world.ensure(owner)
    assert await world.versions() == before


@pytest.mark.spec("workloads-44")
async def test_rights_that_an_engram_gains_reach_the_role() -> None:
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["creds"]}
    world, owner = World(), story(step("a"))
    await world.ensure(owner)
    assert len((await world.client.get(Role, KEY)).get("rules")) == 5
    await world.ensure(owner, Engram.model_validate(engram(overrides={"rbac": {"rules": [rule]}})))
    assert rule in (await world.client.get(Role, KEY)).get("rules")


async def test_foreign_subjects_of_the_binding_are_pruned() -> None:
    world, owner = World(), story(step("a"))
    await world.ensure(owner)
    binding = await world.client.get(RoleBinding, KEY)
    binding.set("subjects", value=[{"kind": "ServiceAccount", "name": "intruder", "namespace": NAMESPACE}])
    await world.client.update(binding)
    await world.ensure(owner)
    (subject,) = (await world.client.get(RoleBinding, KEY)).get("subjects")
    assert subject["name"] == KEY.name


@pytest.mark.spec("workloads-45")
@pytest.mark.parametrize("labels", [{}, {"app.kubernetes.io/name": "bobrapet"}])
async def test_an_account_of_somebody_else_is_refused_not_adopted(labels: dict[str, str]) -> None:
    foreign = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**KEY._asdict(), "labels": labels}}
    world = World(foreign)
    with pytest.raises(ForeignIdentity, match="does not belong to Story etl"):
        await world.ensure(story(step("a")))
    assert (await world.client.get(ServiceAccount, KEY)).metadata.owner_references is None


async def test_storage_annotations_come_and_go_with_the_policy_and_others_stay() -> None:
    def with_role(annotations: dict[str, str] | None) -> Story:
        auth = {"serviceAccountAnnotations": annotations} if annotations else {}
        policy = {"storage": {"s3": {"bucket": "b", "authentication": auth}}}
        made = story(step("a"), policy=policy)
        made.metadata.uid = "same-story"
        return made

    world = World()
    await world.ensure(with_role({"cloud/role": "reader"}))
    account = await world.client.get(ServiceAccount, KEY)
    account.metadata.annotations = {**account.metadata.annotations, "theirs": "kept"}
    await world.client.update(account)
    await world.ensure(with_role(None))
    assert (await world.client.get(ServiceAccount, KEY)).metadata.annotations == {"theirs": "kept"}
