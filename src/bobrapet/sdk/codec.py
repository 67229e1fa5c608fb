"""Between the JSON of the engine and the types that a component declares.

Dataclasses, TypedDicts and msgspec Structs cost nothing extra; pydantic models are used through their own methods, so
that a component without them never imports pydantic (about half of the start-up time that it would otherwise have).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

import msgspec

from bobrapet.sdk.errors import ComponentFault, EngramError, OutputInvalid

OUTPUT_LIMIT = (1 << 20) - (32 << 10)
"""Bytes of JSON that fit in a StepRun beside the rest of it: an object may hold 1 MiB (workloads 8)."""

Offload = Callable[[dict[str, Any]], dict[str, Any]]

UNTYPED = (Any, dict, Mapping, object, None, NoneType)


def decode(value: Mapping[str, Any], kind: Any, *, what: str, fault: type[ComponentFault], strict: bool = True) -> Any:
    """`value` as `kind`. Unknown keys are ignored: the inputs of a step may hold keys of its Engram's configuration.

    Raises `fault`; the message carries the path of each offending field.
    """
    if kind in UNTYPED:
        return dict(value)
    if hasattr(kind, "model_validate"):
        return _decode_pydantic(value, kind, what, fault)
    try:
        return msgspec.convert(value, kind, strict=strict, dec_hook=_decode_hook)
    except msgspec.ValidationError as error:
        raise fault(f"{what}: {_with_path(str(error), what)}") from error


def encode(value: Any, kind: Any = Any, offload: Offload | None = None) -> dict[str, Any]:
    """A result as the JSON object that becomes `status.output`; nothing returned is `{}`.

    It is checked against `kind`, the declared type: dataclasses and Structs hold whatever was put into them. Raises
    OutputInvalid, so that no dependent step sees an output that its component did not promise.

    `offload` takes what is large out of the output and into a store. There is no second copy of it at any time, so the
    check works on values, not on their JSON.
    """
    try:
        output = msgspec.to_builtins(value, enc_hook=_encode_hook, str_keys=True)
        if offload is not None and isinstance(output, dict):
            _check_promise(value, output, kind)
            output, kind = offload(output), Any
        raw = msgspec.json.encode(output)
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        raise OutputInvalid(f"the result cannot be written as JSON: {error}") from error
    _check_promise(value, output, kind)
    if output is None:
        return {}
    if not isinstance(output, dict):
        raise OutputInvalid(
            f"the result must be an object with named outputs (a dict, dataclass or model), not {type(value).__name__}"
        )
    if len(raw) > OUTPUT_LIMIT:
        raise OutputInvalid(
            f"the output has {len(raw)} bytes of JSON; without storage at most {OUTPUT_LIMIT} fit in the StepRun."
            " Return less, or give the Story a storage policy",
            code="OUTPUT_TOO_LARGE",
            details={"bytes": len(raw), "limit": OUTPUT_LIMIT},
        )
    return output


def json_value(value: Any, *, what: str) -> Any:
    """`value` in the types of JSON. Raises EngramError when it has none."""
    try:
        return msgspec.to_builtins(value, enc_hook=_encode_hook, str_keys=True)
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        raise EngramError(f"{what} cannot be written as JSON: {error}", code="NOT_JSON") from error


def _check_promise(value: Any, output: Any, kind: Any) -> None:
    if kind in UNTYPED:
        return
    if value is None and not _admits_none(kind):
        raise OutputInvalid(f"the component returned nothing, but declares {_name(kind)}")
    if hasattr(kind, "model_validate"):
        if isinstance(value, kind):  # by field name, whatever its aliases are
            _validated(lambda: kind.model_validate(dict(value.__dict__), by_name=True, by_alias=True))
        elif value is not None:
            _decode_pydantic(output, kind, "output", OutputInvalid)
        return
    try:
        msgspec.convert(output, kind, str_keys=True, dec_hook=_decode_hook)
    except msgspec.ValidationError as error:
        raise OutputInvalid(f"output: {_with_path(str(error), 'output')}; declared is {_name(kind)}") from error
    except TypeError:
        return  # a type that msgspec does not know: its author encodes it, nobody can check it


def _admits_none(kind: Any) -> bool:
    try:
        msgspec.convert(None, kind, dec_hook=_decode_hook)
    except (msgspec.ValidationError, TypeError):
        return False
    return True


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", None) or str(kind)


def _decode_pydantic(value: Any, kind: Any, what: str, fault: type[ComponentFault]) -> Any:
    return _validated(lambda: kind.model_validate(value), what, fault)


def _validated(validate: Any, what: str = "output", fault: type[ComponentFault] = OutputInvalid) -> Any:
    from pydantic import ValidationError  # the component has imported it already

    try:
        return validate()
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
        return value.model_dump(mode="json", by_alias=True, warnings=False)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _decode_hook(kind: Any, value: Any) -> Any:
    """A pydantic model inside another type."""
    if hasattr(kind, "model_validate"):
        try:
            return kind.model_validate(value)
        except ValueError as error:
            raise ValueError(str(error)) from error
    raise TypeError(f"{_name(kind)} is no type that JSON can fill")
