"""Which part of a collection one informer follows."""

from __future__ import annotations

from dataclasses import dataclass, field

from bobrapet.runtime.client.selectors import FieldSelector, LabelSelector

NAMESPACE_FIELD = "metadata.namespace"


@dataclass(frozen=True, slots=True)
class Selector:
    """Label and field conditions, evaluated by the server."""

    label: LabelSelector = field(default_factory=LabelSelector)
    field: FieldSelector = field(default_factory=FieldSelector)

    def within(self, namespace: str) -> tuple[str, Selector]:
        """The namespace to ask in, and what is left to select.

        A field selector that pins the namespace becomes a request in that namespace, which needs rights only there.
        """
        pinned = self.field.required(NAMESPACE_FIELD)
        if namespace or not pinned:
            return namespace, self
        return pinned, Selector(self.label, self.field.without(NAMESPACE_FIELD))
