"""Schemas that users give (inputSchema, outputsSchema, configSchema ...): compiling, checking, filling in defaults.

`jsonschema-rs` decides, offline and with a linear-time regular expression engine. When it says no, `jsonschema` finds
the words; and it decides where a payload reference (or, in manifests, a template) stands for a value of any type,
which plain JSON Schema cannot say. Draft 2020-12 unless `$schema` or older forms in the schema say otherwise.
Rules: spec admission A2.2, workloads 17.1 and R-7.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import jsonschema_rs
import msgspec

from bobrapet.api.limits import MAX_SCHEMA_DEFAULT_DEPTH
from bobrapet.validation import schema_text
from bobrapet.validation.schema_form import Dialect, InvalidSchema, dialect_of, normalise, require_bounded
from bobrapet.validation.schema_stand_ins import REFERENCES, TEMPLATE, with_stand_ins

__all__ = ["CompiledSchema", "InvalidSchema", "Stands", "Violation", "compile_schema"]

_CACHED_SCHEMAS: Final = 512
_MAX_VIOLATIONS: Final = 20
_MAX_EXPLAINED_BYTES: Final = 256 * 1024  # beyond, finding better words would cost more than they are worth

_NO_VALUE: Final = (ValueError, TypeError, RecursionError)
"""What the engines raise about something that is no JSON value, or far too deep."""

_ENGINES: Final[dict[Dialect, Any]] = {
    Dialect.DRAFT_4: jsonschema_rs.Draft4Validator,
    Dialect.DRAFT_6: jsonschema_rs.Draft6Validator,
    Dialect.DRAFT_7: jsonschema_rs.Draft7Validator,
    Dialect.DRAFT_2019_09: jsonschema_rs.Draft201909Validator,
    Dialect.DRAFT_2020_12: jsonschema_rs.Draft202012Validator,
}


class Stands(Enum):
    """What may stand for a value of any type."""

    NOTHING = "nothing"
    REFERENCES = "references"
    """Payload references: what components and the controller exchange."""
    TEMPLATES = "templates"
    """Payload references and templates: what an author writes into a manifest."""

    __hash__ = object.__hash__  # Enum has one of its own, in Python


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where a value does not fit its schema. The message never shows the value, which may be secret."""

    path: tuple[str | int, ...]
    message: str

    @property
    def where(self) -> str:
        """The path in words: `body.items[0]`; empty for the value as a whole."""
        return schema_text.joined(self.path)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.path else self.message


class CompiledSchema:
    """A user's schema, ready for use. Made by `compile_schema`; safe to share."""

    __slots__ = ("_dialect", "_engine", "_schema", "_wide")

    def __init__(self, schema: dict[str, Any], dialect: Dialect, engine: Any) -> None:
        self._schema = schema
        self._dialect = dialect
        self._engine = engine
        self._wide: dict[Stands, Any] = {}

    def is_valid(self, value: Any, stands: Stands = Stands.REFERENCES) -> bool:
        """Whether `value` fits."""
        return next(self._violations(value, stands), None) is None

    def violations(self, value: Any, stands: Stands = Stands.REFERENCES) -> list[Violation]:
        """Where `value` does not fit, at most 20 places; empty when it does."""
        found = []
        for violation in self._violations(value, stands):
            if violation not in found:
                found.append(violation)
            if len(found) == _MAX_VIOLATIONS:
                break
        return found

    def fits(self, value: Any, stands: Stands = Stands.REFERENCES) -> bool:
        """Whether it is certain, and quickly said, that `value` fits; no is no answer.

        A value that fits as it stands does so whatever could stand for it.
        """
        try:
            return self._engines_say_yes(value, stands)
        except _NO_VALUE:
            return False

    def with_defaults(self, value: Any) -> Any:
        """`value` with the defaults of missing properties filled in; the given value is not changed.

        A present value, null and false included, is kept. A missing object appears only when something in it has a
        default.
        """
        return _filled(self._schema, value, MAX_SCHEMA_DEFAULT_DEPTH)

    def _engines_say_yes(self, value: Any, stands: Stands) -> bool:
        if stands is not Stands.NOTHING:  # asked first: where something stands for a value, the plain one says no
            wide = self._wide[stands] if stands in self._wide else self._widened(stands)
            if wide is not None and wide.is_valid(value):
                return True
        return bool(self._engine.is_valid(value))

    def _widened(self, stands: Stands) -> Any:
        wide = with_stand_ins(self._schema, _WIDE[stands])
        engine = None
        if wide is not None:
            with suppress(jsonschema_rs.ValidationError, ValueError, RecursionError):
                engine = _engine(wide, self._dialect)
        self._wide[stands] = engine
        return engine

    def _violations(self, value: Any, stands: Stands) -> Iterator[Violation]:
        try:
            if self._engines_say_yes(value, stands):
                return
            size = len(msgspec.json.encode(value))
        except _NO_VALUE as error:
            yield Violation((), f"is no JSON value: {error}")
            return
        stand_in = _STAND_INS[stands]
        if size <= _MAX_EXPLAINED_BYTES:
            from bobrapet.validation import schema_search  # its library is slow to load, and mostly not needed

            try:
                found = schema_search.explain(self._schema, self._dialect, value, stand_in, _MAX_VIOLATIONS)
            except schema_search.Exhausted:
                pass
            else:
                if found or (stand_in and schema_text.holds(value, stand_in)):
                    yield from (Violation(path, message) for path, message in found)
                    return
        # Too large or too involved to explain, or the two engines disagree: the deciding engine's own words.
        for fault in self._engine.iter_errors(value):
            path = tuple(fault.instance_path)
            if stand_in and schema_text.passes_stand_in(value, path, stand_in):
                continue
            yield Violation(path, fault.message[:256])


_STAND_INS: Final[dict[Stands, schema_text.StandIn | None]] = {
    Stands.NOTHING: None,
    Stands.REFERENCES: schema_text.is_reference,
    Stands.TEMPLATES: schema_text.is_reference_or_template,
}


_WIDE: Final[dict[Stands, tuple[dict[str, Any], ...]]] = {
    Stands.REFERENCES: REFERENCES,
    Stands.TEMPLATES: (*REFERENCES, TEMPLATE),
}


def compile_schema(schema: Mapping[str, Any]) -> CompiledSchema:
    """Compiles a user's schema, or finds it in the cache of the last 512.

    Raises:
        InvalidSchema: not a JSON Schema, refers outside itself, or grows beyond bounds; with the JSON pointer.
    """
    try:
        text = msgspec.json.encode(schema, order="deterministic")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidSchema("", f"is no JSON value: {error}") from error
    return _compiled(text)


@lru_cache(maxsize=_CACHED_SCHEMAS)
def _compiled(text: bytes) -> CompiledSchema:
    given = msgspec.json.decode(text)
    require_bounded(given)
    dialect = dialect_of(given)
    schema = normalise(given, dialect)
    schema.pop("$schema", None)
    try:
        return CompiledSchema(schema, dialect, _engine(schema, dialect))
    except jsonschema_rs.ValidationError as error:
        pointer = "".join(f"/{_escaped(part)}" for part in error.instance_path)
        raise InvalidSchema(pointer, schema_text.of_schema_fault(schema, tuple(error.instance_path), error)) from None
    except (ValueError, RecursionError) as error:
        raise InvalidSchema("", f"cannot be compiled: {str(error)[:200]}") from None


def _engine(schema: dict[str, Any], dialect: Dialect) -> Any:
    """The deciding engine: fetches nothing, matches patterns in linear time."""
    return _ENGINES[dialect](schema, offline=True, pattern_options=jsonschema_rs.RegexOptions())


def _escaped(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _filled(schema: Any, value: Any, depth: int) -> Any:
    if depth <= 0 or not isinstance(schema, dict) or not isinstance(value, dict):
        return value
    filled = dict(value)
    properties = schema.get("properties")
    if isinstance(properties, dict):
        for name, member in properties.items():
            if name in filled:
                filled[name] = _filled(member, filled[name], depth - 1)
            elif isinstance(member, dict) and "default" in member:
                filled[name] = _filled(member, member["default"], depth - 1)
            elif isinstance(member, dict) and (created := _filled(member, {}, depth - 1)):
                filled[name] = created
    for part in schema.get("allOf") or ():
        filled = _filled(part, filled, depth - 1)
    return filled
