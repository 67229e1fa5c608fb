"""All functions of the language, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bobrapet.expressions.function import Function
from bobrapet.expressions.functions.builtins import BUILTINS
from bobrapet.expressions.functions.custom import CUSTOM
from bobrapet.expressions.functions.dates import CLOCK, DATES
from bobrapet.expressions.functions.defaults import DEFAULTS
from bobrapet.expressions.functions.encoding import ENCODING
from bobrapet.expressions.functions.lists import LISTS
from bobrapet.expressions.functions.maps import MAPS
from bobrapet.expressions.functions.numbers import NUMBERS
from bobrapet.expressions.functions.paths import PATHS
from bobrapet.expressions.functions.random_values import RANDOM
from bobrapet.expressions.functions.strings import STRINGS
from bobrapet.expressions.functions.versions import VERSIONS

BUILTIN_NAMES = frozenset({*BUILTINS, "len", "slice"})
"""Names that leave a result open for JSON decoding (spec expressions 3): Go's own, even where they are overridden."""

DETERMINISTIC_LIBRARY: Mapping[str, Function] = MappingProxyType(
    {**BUILTINS, **DEFAULTS, **STRINGS, **NUMBERS, **LISTS, **MAPS, **ENCODING, **PATHS, **DATES, **VERSIONS, **CUSTOM}
)
"""Every function but those of `UNFORESEEABLE`."""

UNFORESEEABLE: Mapping[str, Function] = MappingProxyType({**CLOCK, **RANDOM})
"""Functions that a deterministic evaluator does not have."""

LIBRARY: Mapping[str, Function] = MappingProxyType({**DETERMINISTIC_LIBRARY, **UNFORESEEABLE})
"""Every function."""

__all__ = ["BUILTIN_NAMES", "DETERMINISTIC_LIBRARY", "LIBRARY", "UNFORESEEABLE"]
