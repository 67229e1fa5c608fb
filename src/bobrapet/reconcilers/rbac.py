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


def merge(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """The rules of a ClusterRole: one entry per group and set of verbs, sorted, nothing twice."""
    verbs: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in rules:
        for resource in rule.resources:
            verbs[rule.group, resource].update(rule.verbs)
    resources: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, resource), found in sorted(verbs.items()):
        resources[group, tuple(sorted(found))].append(resource)
    return [
        {"apiGroups": [group], "resources": names, "verbs": list(found)}
        for (group, found), names in sorted(resources.items())
    ]
