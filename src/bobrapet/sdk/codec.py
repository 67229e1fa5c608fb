"""Between the JSON of the engine and the types that a component declares.

Dataclasses, TypedDicts and msgspec Structs cost nothing extra; pydantic models are used through their own methods, so
that a component without them never imports pydantic (about half of the start-up time that it would otherwise have).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bobrapet.sdk.errors import ComponentFault, OutputInvalid

OUTPUT_LIMIT = (1 << 20) - (32 << 10)
"""Bytes of JSON that fit in a StepRun beside the rest of it: an object may hold 1 MiB (workloads 8)."""


def decode(value: Mapping[str, Any], kind: Any, *, what: str, fault: type[ComponentFault], strict: bool = True) -> Any:
    """`value` as `kind`. Unknown keys are ignored: the inputs of a step may hold keys of its Engram's configuration.

    Raises `fault`; the message carries the path of each offending field.
    """
    if kind in (Any, dict, Mapping, object):
        return dict(value)
    if hasattr(kind, "model_validate"):
        return _decode_pydantic(value, kind, what, fault)
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise fault(f"{what}: {_with_path(str(error), what)}") from error


def encode(value: Any) -> dict[str, Any]:
    """A result as the JSON object that becomes `status.output`; nothing returned is `{}`. Raises OutputInvalid."""
    if value is None:
        return {}
    try:
        output = msgspec.to_builtins(value, enc_hook=_encode_hook, str_keys=True)
        size = len(msgspec.json.encode(output))
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        raise OutputInvalid(f"the result cannot be written as JSON: {error}") from error
    if not isinstance(output, dict):
        raise OutputInvalid(
            f"the result must be an object with named outputs (a dict, dataclass or model), not {type(value).__name__}"
        )
    if size > OUTPUT_LIMIT:
        raise OutputInvalid(
            f"the output has {size} bytes of JSON; without storage at most {OUTPUT_LIMIT} fit in the StepRun."
            " Return less, or give the Story a storage policy",
            code="OUTPUT_TOO_LARGE",
            details={"bytes": size, "limit": OUTPUT_LIMIT},
        )
    return output


def _decode_pydantic(value: Mapping[str, Any], kind: Any, what: str, fault: type[ComponentFault]) -> Any:
    from pydantic import ValidationError  # the component has imported it already

    try:
        return kind.model_validate(value)
    except ValidationError as error:
        found = "; ".join(f"{_path(item['loc'], what)}: {item['msg']}" for item in error.errors(include_url=False))
        raise fault(found) from error


def _path(location: tuple[int | str, ...], what: str) -> str:
    return what + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _with_path(message: str, what: str) -> str:
    """msgspec writes the path as `$.url`; the reader knows the thing by its name."""
    return message.replace("`$", f"`{what}")


def _encode_hook(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"{type(value).__name__} is no JSON value")
