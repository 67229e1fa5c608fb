"""Requirements on the runner identity of a Story (spec workloads 12, decision 19)."""

from __future__ import annotations

import pytest

from bobrapet.workloads.identity import BASE_RULES, build_identity, runner_name
from tests.unit.workloads.builders import engram, story, template


@pytest.mark.spec("workloads-44")
def test_the_role_grants_the_base_table_and_harmless_extras_only() -> None:
    wild = template(
        execution={
            "rbac": {
                "rules": [
                    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "get"]},
                    {"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]},
                ]
            }
        }
    )
    asking = engram(
        overrides={
            "rbac": {
                "rules": [
                    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
                    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["db"]},
                    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
                ]
            }
        }
    )
    assert build_identity(story(), "wf").role["rules"] == [dict(rule) for rule in BASE_RULES]
    identity = build_identity(story(), "wf", [asking, asking], {"http-client": wild})
    assert identity.role["rules"][5:] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["db"]},
    ]
    assert len(identity.dropped) == 3


NAMED = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["db"]}


def asking_step(*rules: dict[str, object]) -> dict[str, object]:
    return {"name": "fetch", "ref": {"name": "fetcher"}, "execution": {"rbac": {"rules": rules}}}


def test_a_step_may_ask_for_named_configmaps_and_secrets_and_nothing_else() -> None:
    wrong = [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["*"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"], "resourceNames": ["db"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a"]},
        {"apiGroups": ["apps"], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["db"]},
        {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
    ]
    asking = story(steps=[asking_step(NAMED, *wrong)])
    identity = build_identity(asking, "wf", steps=asking.spec.steps)
    assert identity.role["rules"][len(BASE_RULES) :] == [NAMED]
    assert len(identity.dropped) == len(wrong)
    assert all(told.startswith("step fetch: ") for told in identity.dropped)


def test_a_step_of_a_story_of_another_namespace_gets_no_rights_here() -> None:
    asking = story(steps=[asking_step(NAMED)])
    identity = build_identity(asking, "elsewhere", steps=asking.spec.steps)
    assert identity.role["rules"] == [dict(rule) for rule in BASE_RULES]
    assert "another namespace" in identity.dropped[0]


@pytest.mark.spec("workloads-4")
def test_a_long_story_name_keeps_the_suffix_and_one_name_for_all_three() -> None:
    name = runner_name("s" * 70)
    assert len(name) <= 63
    assert name.endswith("-engram-runner")
    identity = build_identity(story(), "wf")
    assert {item["metadata"]["name"] for item in identity.objects} == {"etl-engram-runner"}


def test_the_identity_belongs_to_the_story_where_that_is_possible() -> None:
    (owner,) = build_identity(story(), "wf").role["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Story", "story-uid")
    assert "ownerReferences" not in build_identity(story(), "elsewhere").role["metadata"]


def test_storage_annotations_are_copied_and_remembered() -> None:
    s3 = {"bucket": "b", "authentication": {"serviceAccountAnnotations": {"role": "arn", "a": "b"}}}
    account = build_identity(story(policy={"storage": {"s3": s3}}), "wf").service_account
    assert account["metadata"]["annotations"] == {
        "role": "arn",
        "a": "b",
        "runs.bubustack.io/managed-storage-annotations": "a,role",
    }
