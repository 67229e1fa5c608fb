"""What the manager may do, against the rights of the Go operator (spec admission-and-config D1)."""

from __future__ import annotations

import yaml

from bobrapet import manager
from bobrapet.reconcilers import rbac
from tests.unit.manifests.rendered import MANIFESTS

READ, FULL = "get list watch", "create delete get list patch update watch"
GO_OPERATOR = [
    ("", "configmaps pods", READ),
    ("", "pods/log", "get"),
    ("", "secrets serviceaccounts", "create get list patch watch"),
    ("", "services", FULL),
    ("", "events", "create patch update"),
    ("events.k8s.io", "events", "create patch update"),
    ("apps", "deployments statefulsets", FULL),
    ("batch", "jobs", FULL),
    ("bubustack.io", "engrams", "create get list patch update watch"),
    ("bubustack.io", "impulses stories", "get list patch update watch"),
    ("bubustack.io", "engrams/finalizers impulses/finalizers stories/finalizers", "update"),
    ("bubustack.io", "engrams/status impulses/status stories/status", "get patch update"),
    ("catalog.bubustack.io", "engramtemplates impulsetemplates", READ),
    ("catalog.bubustack.io", "engramtemplates/status impulsetemplates/status", "get patch update"),
    ("policy.bubustack.io", "referencegrants", READ),
    ("rbac.authorization.k8s.io", "rolebindings", "create get list patch watch"),
    ("rbac.authorization.k8s.io", "roles", "bind create escalate get list patch watch"),
    ("runs.bubustack.io", "effectclaims", "delete get list patch update watch"),
    ("runs.bubustack.io", "stepruns storyruns storytriggers", FULL),
    (
        "runs.bubustack.io",
        "effectclaims/status stepruns/status storyruns/status storytriggers/status",
        "get patch update",
    ),
    ("runs.bubustack.io", "stepruns/finalizers storyruns/finalizers storytriggers/finalizers", "update"),
    ("transport.bubustack.io", "transportbindings", FULL),
    ("transport.bubustack.io", "transportbindings/status transports/status", "get patch update"),
    ("transport.bubustack.io", "transports", READ),
]
BEYOND: dict[tuple[str, str, str], str] = {}
"""Group, resource, verb that we need and the Go operator does not have -> why."""


def flat(rules: object) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in rules  # type: ignore[attr-defined]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


THEIRS = {
    (group, resource, verb)
    for group, resources, verbs in GO_OPERATOR
    for resource in resources.split()
    for verb in verbs.split()
}


def test_the_manager_has_no_right_that_the_go_operator_does_not_have() -> None:
    ours = flat(rbac.merge(manager.rights()))
    assert ours - THEIRS == BEYOND.keys()


def test_no_rule_of_ours_has_a_wildcard_nor_reads_secrets_in_bulk() -> None:
    ours = flat(rbac.merge(manager.rights()))
    assert not [each for each in ours if "*" in each]
    assert not {("", "secrets", verb) for verb in ("list", "watch", "delete", "update")} & ours


def test_the_certificate_needs_one_secret_and_two_configurations_by_name() -> None:
    local, wide = (rbac.merge(rules) for rules in manager.certificate_rights("bobrapet-"))
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in local] == [
        (["create"], None),
        (["get", "update", "watch"], ["bobrapet-webhook-server-cert"]),
    ]
    assert all(rule["resourceNames"] and rule["verbs"] == ["get", "patch", "watch"] for rule in wide)


def test_the_files_hold_exactly_what_the_code_declares() -> None:
    stored = yaml.safe_load((MANIFESTS / "rbac/role.yaml").read_text())
    assert stored["rules"] == rbac.merge(manager.rights())


def test_people_get_three_roles_for_each_kind_and_nobody_is_bound() -> None:
    listed = yaml.safe_load((MANIFESTS / "rbac/kustomization.yaml").read_text())["resources"]
    people = [name for name in listed if name.endswith(("_admin_role.yaml", "_editor_role.yaml", "_viewer_role.yaml"))]
    assert len(people) == 3 * 12
    bound = [
        yaml.safe_load((MANIFESTS / "rbac" / name).read_text())["roleRef"]["name"]
        for name in listed
        if name.endswith("binding.yaml")
    ]
    assert sorted(bound) == ["leader-election-role", "manager-role", "metrics-auth-role"]
