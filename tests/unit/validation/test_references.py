"""Cross-namespace references: deny, grant, allow."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.api import EngramReference, ReferenceGrant
from bobrapet.validation.references import Referrer, Target, refusal, target_namespace

STORY = Referrer("bubustack.io", "Story", "workflows")
OCR = Target("bubustack.io", "Engram", "shared", "shared-ocr")


def grant(namespace: str = "shared", **to: Any) -> ReferenceGrant:
    return ReferenceGrant.model_validate(
        {
            "metadata": {"name": "g", "namespace": namespace},
            "spec": {
                "from": [
                    {"group": "runs.bubustack.io", "kind": "StepRun", "namespace": "elsewhere"},
                    {"group": "bubustack.io", "kind": "Story", "namespace": "workflows"},
                ],
                "to": [{"group": "bubustack.io", "kind": "Engram", **to}],
            },
        }
    )


@pytest.mark.parametrize("policy", ["deny", "grant", "allow", "nonsense", ""])
def test_the_own_namespace_is_always_fine(policy: str) -> None:
    assert refusal(STORY, Target("bubustack.io", "Engram", "workflows", "x"), policy) is None
    assert refusal(STORY, Target("bubustack.io", "Engram", "", "x"), policy) is None


def test_deny_is_also_what_an_unknown_policy_means() -> None:
    for policy in ("deny", "nonsense", ""):
        assert "cross-namespace EngramRef references are not allowed" in str(refusal(STORY, OCR, policy, [grant()]))


def test_allow_allows() -> None:
    assert refusal(STORY, OCR, "allow") is None


@pytest.mark.parametrize(
    ("grants", "allowed"),
    [
        ([], False),
        ([grant()], True),
        ([grant(name="shared-ocr")], True),
        ([grant(name="other")], False),
        ([grant(name="other"), grant()], True),
        ([grant(namespace="workflows")], False),
    ],
)
def test_grant_asks_for_a_grant_in_the_target_namespace(grants: list[ReferenceGrant], allowed: bool) -> None:
    refused = refusal(STORY, OCR, "grant", grants)
    assert (refused is None) is allowed
    if refused:
        assert "cross-namespace EngramRef reference to shared/shared-ocr is not permitted" in str(refused)


def test_a_grant_is_for_the_kind_and_namespace_that_it_names() -> None:
    for referrer in (
        Referrer("bubustack.io", "Impulse", "workflows"),
        Referrer("bubustack.io", "Story", "other"),
        Referrer("runs.bubustack.io", "Story", "workflows"),
    ):
        assert refusal(referrer, OCR, "grant", [grant()]) is not None
    assert refusal(STORY, Target("bubustack.io", "Story", "shared", "x"), "grant", [grant()]) is not None
    # Entries of from and to combine freely.
    assert refusal(Referrer("runs.bubustack.io", "StepRun", "elsewhere"), OCR, "grant", [grant()]) is None


def test_a_reference_without_namespace_stays_at_home() -> None:
    assert target_namespace(EngramReference(name="x"), "here") == "here"
    assert target_namespace(EngramReference(name="x", namespace="there"), "here") == "there"
