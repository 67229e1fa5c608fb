"""Requirements on EffectClaims (spec runs 23)."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.api import EffectClaim, StepRun
from bobrapet.engine.effectclaim import ClaimSnapshot, plan
from tests.unit.engine.world import T0, merged


def claim(uid: str = "u", **spec: Any) -> EffectClaim:
    spec = {"stepRunRef": {"name": "r1-a", "uid": uid}, "effectKey": "charge", **spec}
    return EffectClaim.model_validate({"metadata": {"name": "c", "namespace": "wf", "generation": 1}, "spec": spec})


def steprun(uid: str = "u") -> StepRun:
    metadata = {"name": "r1-a", "namespace": "wf", "uid": uid}
    return StepRun.model_validate({"metadata": metadata, "spec": {"storyRunRef": {"name": "r1"}, "stepId": "a"}})


@pytest.mark.spec("runs-91")
@pytest.mark.parametrize(
    ("completion", "phase", "condition"),
    [
        ("completed", "Completed", "Ready"),
        (None, "Reserved", "Progressing"),
        ("abandoned", "Abandoned", "Degraded"),
        ("released", "Released", ""),
    ],
)
def test_a_claim_is_summarised_and_tied_to_its_steprun(completion: str | None, phase: str, condition: str) -> None:
    item = claim(**({"completionStatus": completion} if completion else {}))
    found = plan(ClaimSnapshot(claim=item, step=steprun()), T0)
    assert found.metadata is not None
    assert found.status is not None
    done = EffectClaim.model_validate(merged(merged(item.to_wire(), found.metadata), found.status))
    assert done.metadata.owner_references[0].uid == "u"
    assert not done.metadata.owner_references[0].controller
    assert done.status.phase == phase
    assert [found.type for found in done.status.conditions if found.status == "True"] == [condition] * bool(condition)
    again = plan(ClaimSnapshot(claim=done, step=steprun()), T0)
    assert (again.metadata, again.status, again.delete) == (None, None, "")


@pytest.mark.spec("runs-92")
def test_a_claim_is_kept_while_its_steprun_is_only_missing_in_the_cache() -> None:
    found = plan(ClaimSnapshot(claim=claim(), step=None), T0)
    assert (found.confirm, found.delete) == (True, "")
    assert plan(ClaimSnapshot(claim=claim(), step=None, absence_confirmed=True), T0).delete


@pytest.mark.spec("runs-93")
def test_a_claim_of_an_earlier_steprun_of_that_name_is_deleted() -> None:
    assert plan(ClaimSnapshot(claim=claim("old"), step=steprun("new")), T0).delete


def test_a_claim_never_reaches_into_another_namespace() -> None:
    assert plan(ClaimSnapshot(claim=claim(stepRunRef={"name": "x", "namespace": "y"}), step=steprun()), T0).delete
