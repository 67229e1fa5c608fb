"""Whether a webhook is asked about a request, and in which version of the resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bobrapet.local.apiserver.cel import CelError
from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.types import Object, Resource
from bobrapet.local.apiserver.webhooks.configurations import Hook
from bobrapet.local.apiserver.webhooks.review import Question
from bobrapet.local.store import Key, Store

_CONDITION_LIMIT = 2_500_000


class ConditionFailed(Exception):
    """A match condition that has no value on this request."""


class Matcher:
    """Decides for one server."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    def match(self, hook: Hook, question: Question) -> Resource | None:
        """The resource, in the version to ask in; None when the webhook is not asked. Raises ConditionFailed."""
        resource = self._resource(hook, question)
        if resource is None or not self._in_namespace(hook, question) or not _has_labels(hook, question):
            return None
        return resource if _holds(hook, question, resource) else None

    def _resource(self, hook: Hook, question: Question) -> Resource | None:
        call = question.call
        exact = call.resource
        if any(_covers(rule, exact, call.subresource, question.operation) for rule in hook.rules):
            return exact
        if not hook.equivalent:
            return None
        for version in self._registry.versions(exact.group):
            for other in self._registry.resources(exact.group, version):
                if other.storage == exact.storage and any(
                    _covers(rule, other, call.subresource, question.operation) for rule in hook.rules
                ):
                    return other
        return None

    def _in_namespace(self, hook: Hook, question: Question) -> bool:
        if hook.namespaces is None:
            return True
        if question.call.resource.storage == "namespaces":
            # A Namespace is judged by its own labels, new ones when it is written.
            return hook.namespaces(_labels(question.object or question.old))
        if not question.call.resource.namespaced:
            return True
        record = self._store.get(Key("namespaces", "", question.namespace))
        return hook.namespaces(_labels(record.object() if record is not None else None))


def _covers(rule: Mapping[str, Any], resource: Resource, subresource: str, operation: str) -> bool:
    return (
        bool({"*", operation} & set(rule["operations"]))
        and bool({"*", resource.group} & set(rule["apiGroups"]))
        and bool({"*", resource.version} & set(rule["apiVersions"]))
        and rule.get("scope", "*") in ("*", "Namespaced" if resource.namespaced else "Cluster")
        and any(_names(name, resource.plural, subresource) for name in rule["resources"])
    )


def _names(name: str, plural: str, subresource: str) -> bool:
    first, slash, second = name.partition("/")
    if not slash:
        return not subresource and first in ("*", plural)
    if first not in ("*", plural):
        return False
    # `*/*` is everything; `pods/*` is every subresource and not the pod.
    return second == "*" if (first, second) == ("*", "*") else bool(subresource) and second in ("*", subresource)


def _has_labels(hook: Hook, question: Question) -> bool:
    if hook.objects is None:
        return True
    return any(hook.objects(_labels(obj)) for obj in (question.object, question.old) if obj is not None)


def _labels(obj: Object | None) -> Mapping[str, str]:
    found: Mapping[str, str] = ((obj or {}).get("metadata") or {}).get("labels") or {}
    return found


def _holds(hook: Hook, question: Question, resource: Resource) -> bool:
    """All conditions, unless one says no: that is enough, whatever the others do."""
    if not hook.conditions:
        return True
    request = question.request(resource)
    variables = {"object": request.pop("object"), "oldObject": request.pop("oldObject"), "request": request}
    failures = []
    for name, program in hook.conditions:
        try:
            value, _ = program.evaluate(variables, _CONDITION_LIMIT)
        except CelError as error:
            failures.append(f"expression '{program.source}' resulted in error: {error}")
            continue
        if value is False:
            return False
        if value is not True:
            failures.append(f"match condition '{name}' is no bool")
    if failures:
        raise ConditionFailed(failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]")
    return True
