"""The functions that expressions have in a kube-apiserver, by family."""

from __future__ import annotations

from functools import cache

from bobrapet.local.apiserver.cel.functions import Functions
from bobrapet.local.apiserver.cel.library import formats, lists, network, numbers, operators, optionals, strings, times


@cache
def functions() -> Functions:
    """All functions."""
    found = Functions()
    for family in (operators, numbers, strings, times, lists, optionals, network, formats):
        family.declare(found)
    return found
