"""A client that writes under a name (spec runtime CLI-13)."""

from __future__ import annotations

from typing import Any

from bobrapet.runtime.client.decorator import ClientDecorator, WriteVerb
from bobrapet.runtime.client.interfaces import WithWatch

DEFAULT_FIELD_OWNER = "bobrapet-manager"


class FieldOwnerClient(ClientDecorator):
    """An owner given with a call wins."""

    def __init__(self, inner: WithWatch, owner: str) -> None:
        super().__init__(inner)
        self._owner = owner

    def write_options(self, verb: WriteVerb, options: dict[str, Any]) -> dict[str, Any]:
        if verb in ("delete", "delete_all_of") or options.get("field_owner"):
            return options
        return {**options, "field_owner": self._owner}


def with_field_owner(client: WithWatch, owner: str = DEFAULT_FIELD_OWNER) -> FieldOwnerClient:
    """`client`, with `owner` as the manager of the fields it writes, in `metadata.managedFields`."""
    return FieldOwnerClient(client, owner)
