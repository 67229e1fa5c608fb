"""Controller names are unique in a process: two of one name would share their metrics (spec runtime REC-15)."""

from __future__ import annotations

from bobrapet.runtime.errors import ControllerRuntimeError

_used: set[str] = set()


class DuplicateControllerName(ControllerRuntimeError):
    """Another controller of this process has the name."""


def check_name(name: str) -> None:
    """Takes the name, or raises `DuplicateControllerName`."""
    if name in _used:
        raise DuplicateControllerName(
            f"a controller named {name!r} exists already; names must be unique, because metrics carry them "
            "(skip_name_validation=True allows it)"
        )
    _used.add(name)


def forget_names() -> None:
    """For programs that start over within one process, such as tests."""
    _used.clear()
