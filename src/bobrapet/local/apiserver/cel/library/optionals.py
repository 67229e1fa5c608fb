"""Values that may be absent: `optional.of(x)`, `a.?b.orValue(c)`."""

from __future__ import annotations

from typing import Any

from bobrapet.local.apiserver.cel import types
from bobrapet.local.apiserver.cel.errors import EvaluationError
from bobrapet.local.apiserver.cel.functions import Functions
from bobrapet.local.apiserver.cel.library.operators import find_key
from bobrapet.local.apiserver.cel.types import BOOL, INT, A, B
from bobrapet.local.apiserver.cel.values import NONE, Duration, Optional

_OPTIONAL = types.optional_of(A)


def declare(functions: Functions) -> None:
    """Adds this family. `or` and `orValue` do not evaluate what they do not need, so the compiler knows them."""
    add, method = functions.add, functions.method
    add("optional.of", "optional_of", (A,), _OPTIONAL, Optional)
    add("optional.none", "optional_none", (), _OPTIONAL, lambda: NONE)
    add("optional.ofNonZeroValue", "optional_ofNonZeroValue", (A,), _OPTIONAL, _of_non_zero)
    method("value", "optional_value", (_OPTIONAL,), A, _value)
    method("hasValue", "optional_hasValue", (_OPTIONAL,), BOOL, lambda o: o.present)
    method("or", "optional_or_optional", (_OPTIONAL, _OPTIONAL), _OPTIONAL, lambda o, other: o if o.present else other)
    method("orValue", "optional_orValue_value", (_OPTIONAL, A), A, lambda o, other: o.value if o.present else other)
    list_type, map_type = types.list_of(A), types.map_of(A, B)
    optional_value = types.optional_of(B)
    add("_[?_]", "list_optindex_optional_int", (list_type, INT), _OPTIONAL, _item)
    add("_[?_]", "map_optindex_optional_value", (map_type, A), optional_value, _entry)
    add("_[?_]", "optional_list_optindex_optional_int", (types.optional_of(list_type), INT), _OPTIONAL, _index_of)
    add("_[?_]", "optional_map_optindex_optional_value", (types.optional_of(map_type), A), optional_value, _index_of)
    add("_[_]", "optional_list_index_int", (types.optional_of(list_type), INT), _OPTIONAL, _index_of)
    add("_[_]", "optional_map_index_value", (types.optional_of(map_type), A), optional_value, _index_of)


def _value(optional: Optional) -> Any:
    if not optional.present:
        raise EvaluationError("optional.none() dereference")
    return optional.value


def _of_non_zero(value: Any) -> Optional:
    zero = value.nanoseconds == 0 if isinstance(value, Duration) else not value
    return NONE if zero and not isinstance(value, Optional) else Optional(value)


def _item(values: list[Any], index: int) -> Optional:
    return Optional(values[index]) if 0 <= index < len(values) else NONE


def _entry(values: dict[Any, Any], key: Any) -> Optional:
    found = find_key(values, key)
    return NONE if found is None else Optional(found[0])


def _index_of(optional: Optional, key: Any) -> Optional:
    if not optional.present:
        return NONE
    return _item(optional.value, key) if isinstance(optional.value, list) else _entry(optional.value, key)
