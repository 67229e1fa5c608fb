"""Checks of single values: durations, quantities, words, JSON objects, sizes, payload references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from bobrapet.api.duration import MILLISECOND, DurationError, parse_duration
from bobrapet.api.env import CONFIGMAP_REF, SECRET_REF, STORAGE_REF, STORAGE_REF_KEYS
from bobrapet.api.limits import MAX_INLINE_BYTES, MIN_INLINE_BYTES
from bobrapet.api.quantity import QuantityError, parse_quantity
from bobrapet.validation.faults import FaultReason, Findings, did_you_mean, quoted
from bobrapet.validation.json_schema import CompiledSchema, InvalidSchema, Stands, compile_schema
from bobrapet.validation.schema_text import type_of

MIN_POLL_INTERVAL: Final = 10 * MILLISECOND


def check_duration(
    findings: Findings, path: str, text: Any, *, positive: bool = False, at_least: int = 0, blank: bool = True
) -> int | None:
    """A Go duration that is not negative, or more than zero; `blank` lets empty text pass as unset.

    Returns nanoseconds, None when there is no usable one.
    """
    if text is None or (blank and isinstance(text, str) and not text.strip()):
        return None
    if not isinstance(text, str):
        findings.add(path, FaultReason.TYPE_INVALID, f"must be a duration such as 30s, is {type_of(text)}", text)
        return None
    try:
        nanoseconds = parse_duration(text.strip())
    except DurationError as error:
        findings.invalid(path, str(error), text)
        return None
    if positive and nanoseconds <= 0:
        findings.invalid(path, f"duration must be positive, is {quoted(text)}", text)
    elif nanoseconds < 0:
        findings.invalid(path, f"duration must not be negative, is {quoted(text)}", text)
    elif nanoseconds < at_least:
        findings.invalid(path, f"{quoted(text)} is shorter than {at_least // MILLISECOND}ms", text)
    else:
        return nanoseconds
    return None


def check_quantity(findings: Findings, path: str, text: Any) -> None:
    """A Kubernetes quantity that is not negative."""
    if text in (None, ""):
        return
    try:
        if parse_quantity(text) < 0:
            findings.invalid(path, f"must not be negative, is {quoted(text)}", text)
    except QuantityError as error:
        findings.invalid(path, str(error), text)


def check_word(findings: Findings, path: str, word: str | None, known: Iterable[str], what: str = "value") -> None:
    """One of `known`, or unset."""
    if word and word not in (words := [str(value) for value in known]):
        findings.not_supported(path, word, words, what)


def json_size(value: Any) -> int:
    """Bytes of the compact JSON of `value`."""
    return len(msgspec.json.encode(value))


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; the order of keys does not matter, true is not 1."""
    return one is other or msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")


def inline_limit(configured: int) -> int:
    """The limit of inline blocks at admission: the configured one, 1 KiB when that says always to offload."""
    return configured if configured > 0 else MIN_INLINE_BYTES if configured == 0 else MAX_INLINE_BYTES


def check_size(findings: Findings, path: str, value: Any, limit: int, hint: str) -> None:
    size = json_size(value)
    if size > limit:
        findings.add(
            path,
            FaultReason.TOO_LONG,
            f"too large ({size} bytes > {limit}), exceeds maximum allowed size. {hint}",
        )


def check_schema(findings: Findings, path: str, schema: Mapping[str, Any] | None, what: str) -> bool:
    """A user's schema compiles; `what` names it in the message."""
    if schema is None:
        return True
    try:
        compile_schema(schema)
    except InvalidSchema as error:
        findings.invalid(path, f"error validating {what}: {error}")
        return False
    return True


def check_against(
    findings: Findings,
    path: str,
    value: Any,
    schema: Mapping[str, Any] | None,
    owner: str,
    stands: Stands = Stands.TEMPLATES,
) -> None:
    """`value` fits a schema of `owner` (for the message). A schema that does not compile is its owner's fault."""
    if not schema:
        return
    try:
        compiled = compile_schema(schema)
    except InvalidSchema:
        return
    report_violations(findings, path, value, compiled, owner, stands)


def report_violations(
    findings: Findings,
    path: str,
    value: Any,
    schema: CompiledSchema,
    owner: str,
    stands: Stands = Stands.TEMPLATES,
) -> None:
    """`value` fits a schema of `owner` (for the message)."""
    if schema.fits(value, stands):
        return
    for violation in schema.violations(value, stands):
        where = violation.where
        at = f"{path}{where if where.startswith('[') else f'.{where}' if where else ''}"
        findings.invalid(at, f"{violation.message} (object is invalid against {owner} schema)")


def check_reference_maps(findings: Findings, path: str, value: Any) -> None:
    """Maps that look like payload references are whole ones (spec admission A2.2)."""
    if isinstance(value, list):
        for index, child in enumerate(value):
            check_reference_maps(findings, f"{path}[{index}]", child)
        return
    if not isinstance(value, Mapping):
        return
    if STORAGE_REF in value:
        _check_storage_reference(findings, path, value)
        return
    for key, what in ((CONFIGMAP_REF, "configmap"), (SECRET_REF, "secret")):
        if key in value:
            _check_object_reference(findings, path, value, key, what)
            return
    for key, child in value.items():
        check_reference_maps(findings, f"{path}.{key}", child)


def _check_storage_reference(findings: Findings, path: str, value: Mapping[str, Any]) -> None:
    for key, part in value.items():
        if key not in STORAGE_REF_KEYS:
            hint = did_you_mean(key, STORAGE_REF_KEYS)
            findings.invalid(path, f"invalid storage ref: unexpected key {quoted(key)}{hint}", key)
        elif not isinstance(part, str):
            findings.invalid(f"{path}.{key}", f"invalid storage ref: must be a string, is {type_of(part)}", part)
    if isinstance(value[STORAGE_REF], str) and not value[STORAGE_REF].strip():
        findings.invalid(f"{path}.{STORAGE_REF}", "invalid storage ref: must not be blank")


def _check_object_reference(findings: Findings, path: str, value: Mapping[str, Any], key: str, what: str) -> None:
    for other in value:
        if other != key:
            findings.invalid(path, f"invalid {what} ref: unexpected key {quoted(other)}; {key} stands alone", other)
    reference, at = value[key], f"{path}.{key}"
    if isinstance(reference, str):
        if not reference.strip():
            findings.invalid(at, f"invalid {what} ref: must not be blank")
        return
    if not isinstance(reference, Mapping):
        findings.invalid(at, f"invalid {what} ref: must be NAME:KEY or an object, is {type_of(reference)}", reference)
        return
    fields = ("name", "key", "namespace", "format")
    for name, part in reference.items():
        if name not in fields:
            findings.invalid(at, f"invalid {what} ref: unexpected key {quoted(name)}{did_you_mean(name, fields)}", name)
        elif not isinstance(part, str) or not part.strip():
            findings.invalid(f"{at}.{name}", f"invalid {what} ref: must be text that is not blank")
        elif name == "format" and part.strip().lower() not in ("auto", "json", "raw"):
            findings.not_supported(f"{at}.format", part, ("auto", "json", "raw"), "format")
    for name in ("name", "key"):
        if name not in reference:
            findings.required(f"{at}.{name}", f"invalid {what} ref: {name} is required")


def deep_merge(base: Any, over: Any) -> Any:
    """Objects merge key by key; everything else of `over` replaces. Neither input changes."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    merged = dict(base)
    for key, value in over.items():
        merged[key] = deep_merge(merged[key], value) if key in merged else value
    return merged
