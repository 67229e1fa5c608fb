"""Regular expressions of schemas and rules: the RE2 dialect, matched in linear time whoever wrote them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=4096)
def pattern(text: str) -> Any:
    """A compiled pattern. Raises re2.error."""
    import re2

    options = re2.Options()
    options.log_errors = False
    return re2.compile(text, options)


def pattern_problem(text: str) -> str:
    """Why a pattern does not compile; "" when it does."""
    import re2

    try:
        pattern(text)
    except re2.error as error:
        reason = error.args[0]
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    return ""
