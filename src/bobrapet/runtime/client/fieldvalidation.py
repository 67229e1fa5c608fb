"""A client that says what the server does about unknown and duplicate fields (spec runtime CLI-14)."""

from __future__ import annotations

from typing import Any

from bobrapet.runtime.client.decorator import ClientDecorator, WriteVerb
from bobrapet.runtime.client.interfaces import WithWatch
from bobrapet.runtime.client.options import FieldValidation


class FieldValidationClient(ClientDecorator):
    """Validation given with a call wins. Apply is strict by itself."""

    def __init__(self, inner: WithWatch, validation: FieldValidation) -> None:
        super().__init__(inner)
        self._validation = validation

    def write_options(self, verb: WriteVerb, options: dict[str, Any]) -> dict[str, Any]:
        if verb not in ("create", "update", "patch") or options.get("field_validation"):
            return options
        return {**options, "field_validation": self._validation}


def with_field_validation(client: WithWatch, validation: FieldValidation) -> FieldValidationClient:
    """`client`, with `fieldValidation` of each write: `Ignore`, `Warn`, or `Strict`, which finds typos in tests."""
    return FieldValidationClient(client, validation)
