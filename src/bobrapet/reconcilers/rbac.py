"""What the manager itself may do: each reconciler declares its rules beside its code, this page adds them up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

READ = ("get", "list", "watch")
PATCH_STATUS = ("get", "patch", "update")


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on resources of one API group, cluster-wide."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    """Only these objects. Has no meaning for create, list and watch of what has no name yet."""


def merge(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """The rules of a ClusterRole: one entry per group, names and set of verbs, sorted, nothing twice."""
    verbs: dict[tuple[str, tuple[str, ...], str], set[str]] = defaultdict(set)
    for rule in rules:
        for resource in rule.resources:
            verbs[rule.group, rule.names, resource].update(rule.verbs)
    resources: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, names, resource), found in sorted(verbs.items()):
        resources[group, names, tuple(sorted(found))].append(resource)
    return [
        {"apiGroups": [group], "resources": kinds, "verbs": list(found)}
        | ({"resourceNames": list(names)} if names else {})
        for (group, names, found), kinds in sorted(resources.items())
    ]
