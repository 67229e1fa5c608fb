"""The search for words: why a value does not fit a schema, found by `jsonschema` within bounds.

Slower than the engine that decides, so it only runs after that one said no. Every keyword accepts a stand-in, a
payload reference or a template; patterns are matched by the deciding engine, in linear time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

import jsonschema
import jsonschema_rs
from jsonschema.exceptions import best_match

from bobrapet.validation.faults import quoted
from bobrapet.validation.schema_form import Dialect
from bobrapet.validation.schema_text import UNKNOWN_KEY, Path, StandIn, phrase

_MAX_KEYWORDS: Final = 200_000
"""Keywords evaluated before the search is given up."""


class Exhausted(Exception):
    """Finding the words would take too long."""


def explain(
    schema: dict[str, Any], dialect: Dialect, value: Any, stand_in: StandIn | None, limit: int
) -> list[tuple[Path, str]]:
    """Paths and messages of at most `limit` faults, the outermost first; empty when the value fits after all.

    Raises:
        Exhausted: the search was given up.
    """
    search = _Search(stand_in)
    token = _SEARCH.set(search)
    try:
        found = []
        for error in _engine(dialect)(schema).iter_errors(value):
            nearest = best_match([error]) or error
            found.append((tuple(nearest.absolute_path), phrase(nearest)))
            if len(found) == limit:
                break
    except RecursionError:
        raise Exhausted from None
    finally:
        _SEARCH.reset(token)
    return sorted(found, key=lambda fault: (len(fault[0]), [str(part) for part in fault[0]]))


class _Search:
    """Bounds of one search."""

    def __init__(self, stand_in: StandIn | None) -> None:
        self._stand_in = stand_in
        self._left = _MAX_KEYWORDS

    def accepts(self, value: Any) -> bool:
        self._left -= 1
        if self._left < 0:
            raise Exhausted
        return self._stand_in is not None and self._stand_in(value)


_SEARCH: ContextVar[_Search] = ContextVar("search")

_BASES: Final[dict[Dialect, Any]] = {
    Dialect.DRAFT_4: jsonschema.Draft4Validator,
    Dialect.DRAFT_6: jsonschema.Draft6Validator,
    Dialect.DRAFT_7: jsonschema.Draft7Validator,
    Dialect.DRAFT_2019_09: jsonschema.Draft201909Validator,
    Dialect.DRAFT_2020_12: jsonschema.Draft202012Validator,
}


@lru_cache
def _engine(dialect: Dialect) -> Any:
    """The validator of a dialect whose keywords are bounded, accept stand-ins and match patterns in linear time."""
    base = _BASES[dialect]
    keywords = {name: _bounded(check) for name, check in base.VALIDATORS.items()}
    keywords["pattern"] = _bounded(_pattern)
    keywords["patternProperties"] = _bounded(_pattern_properties)
    keywords["additionalProperties"] = _bounded(_additional_properties)
    return jsonschema.validators.extend(base, keywords)  # type: ignore[no-untyped-call]


def _bounded(check: Any) -> Any:
    def keyword(validator: Any, argument: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not _SEARCH.get().accepts(instance):
            yield from check(validator, argument, instance, schema) or ()

    return keyword


@lru_cache(maxsize=1024)
def _matcher(pattern: str) -> Any:
    # As the deciding engine: the meta-schema of draft 7 would refuse what that one takes, for example (?i).
    return jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions())


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not _matcher(pattern).is_valid(instance):
        yield jsonschema.ValidationError(f"does not match {pattern}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if _matcher(pattern).is_valid(name):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in schema.get("properties", {}) or any(_matcher(pattern).is_valid(name) for pattern in patterns):
            continue
        if allowed is False:
            error = jsonschema.ValidationError(f"unknown key {quoted(name)}", path=())
            setattr(error, UNKNOWN_KEY, name)
            yield error
        elif isinstance(allowed, dict):
            yield from validator.descend(value, allowed, path=name)
