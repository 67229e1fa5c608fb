"""`fieldValidation`: what happens with fields that the server does not know."""

from __future__ import annotations

from collections.abc import Sequence

from bobrapet.local.apiserver import decoding, errors
from bobrapet.local.apiserver.representation import encode
from bobrapet.local.apiserver.rest import Call
from bobrapet.local.apiserver.typed import TypeMismatch
from bobrapet.local.apiserver.types import Object

_LEVELS = ("Ignore", "Strict", "Warn")


def level(given: str, options: str) -> str:
    """The level of a request; Warn when it does not say."""
    if given and given not in _LEVELS:
        raise errors.invalid_options(
            "fieldValidation",
            f'Unsupported value: "{given}": supported values: ' + ", ".join(f'"{name}"' for name in ("", *_LEVELS)),
            kind=options,
        )
    return given or "Warn"


def conform(call: Call, obj: Object, validation: str) -> None:
    """Makes a request body an object of the resource; 400 when it cannot be or has unknown fields under Strict."""
    unknown = _conform(call, obj, validation)
    if unknown and validation == "Strict":
        raise decoding.unfit(call.resource, f"strict decoding error: {_list(unknown)}")


def conform_patched(call: Call, obj: Object, validation: str) -> None:
    """The same for the result of a patch, which the client never sent as a whole: 422."""
    before = encode(obj) if validation == "Strict" else b""
    unknown = _conform(call, obj, validation)
    if unknown and validation == "Strict":
        text = f"Invalid value: {encode(before.decode()).decode()}: strict decoding error: {_list(unknown)}"
        raise errors.unpatchable(errors.FieldError("patch", text))


def _conform(call: Call, obj: Object, validation: str) -> list[str]:
    unknown: list[str] = []
    try:
        call.resource.strategy.conform(obj, unknown)
    except TypeMismatch as error:
        raise decoding.unfit(call.resource, str(error)) from None
    if validation == "Warn":
        for path in unknown:
            call.warn(f'unknown field "{path}"')
    return unknown


def _list(unknown: Sequence[str]) -> str:
    return ", ".join(f'unknown field "{path}"' for path in unknown)
