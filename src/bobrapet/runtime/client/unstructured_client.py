"""Requests for whole objects as dicts: nothing is validated, nothing is lost."""

from __future__ import annotations

from typing import Any

import msgspec

from bobrapet.runtime.client.client_rest_resources import Resource
from bobrapet.runtime.client.typed_client import TypedClient


class UnstructuredClient(TypedClient):
    """As `TypedClient`; the object says its kind by itself."""

    def _encode(self, resource: Resource, obj: Any) -> bytes:
        return msgspec.json.encode(obj.object)
