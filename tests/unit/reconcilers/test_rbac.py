"""The manager's own rights are the sum of what the reconcilers declare."""

from __future__ import annotations

from bobrapet.reconcilers.rbac import Rule, merge


def test_rules_of_one_resource_are_added_up_and_nothing_stands_twice() -> None:
    rules = merge(
        [
            Rule("batch", ("jobs",), ("get", "list")),
            Rule("batch", ("jobs",), ("list", "create")),
            Rule("", ("pods", "secrets"), ("get",)),
        ]
    )
    assert rules == [
        {"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list"]},
    ]
