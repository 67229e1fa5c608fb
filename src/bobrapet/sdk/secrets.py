"""Finds the secrets that a step was given (workloads R-9.4).

`BUBU_SECRET_<name>` says where one lives: `env:<prefix>` for environment variables that start with the prefix,
`file:<path>` for the files of a mounted Secret, anything else is the value itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bobrapet.sdk.errors import EnvironmentInvalid

if TYPE_CHECKING:
    from pathlib import Path

_PREFIX = "BUBU_SECRET_"
_MAX_FILES = 256
_MAX_FILE = 1 << 20
_MAX_TOTAL = 8 << 20


class Secret(Mapping[str, str]):
    """The keys of one secret. It never shows its values, so that it may stand in a log line by accident."""

    __slots__ = ("_entries", "_name")

    def __init__(self, name: str, entries: Mapping[str, str]) -> None:
        self._name = name
        self._entries = dict(entries)

    def __getitem__(self, key: str) -> str:
        try:
            return self._entries[key]
        except KeyError:
            known = ", ".join(sorted(self._entries)) or "none"
            raise KeyError(f"secret {self._name!r} has no key {key!r}; its keys: {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Secret({self._name!r}, keys={sorted(self._entries)})"


def expand_secrets(environ: Mapping[str, str]) -> dict[str, Secret]:
    """Secrets by logical name. Raises EnvironmentInvalid when one cannot be read."""
    return {name: Secret(name, _entries(name, marker, environ)) for name, marker in _markers(environ)}


def _markers(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for variable in sorted(environ):
        name = variable.removeprefix(_PREFIX)
        if variable.startswith(_PREFIX) and name and not name.endswith("_NAME") and "__" not in name:
            yield name, environ[variable]


def _entries(name: str, marker: str, environ: Mapping[str, str]) -> dict[str, str]:
    kind, separator, target = marker.partition(":")
    if not separator or kind not in {"env", "file"}:
        return {"value": marker}
    if not target:
        raise EnvironmentInvalid(f"{_PREFIX}{name}={marker!r} names no {'prefix' if kind == 'env' else 'path'}")
    if kind == "env":
        return {key.removeprefix(target): value for key, value in environ.items() if key.startswith(target)}
    return _files(name, target)


def _files(name: str, target: str) -> dict[str, str]:
    from pathlib import Path  # a component without secrets in files does not pay for it

    root = Path(target)
    if root.is_file():
        return {root.name: _read(name, root)}
    if not root.is_dir():
        raise EnvironmentInvalid(f"secret {name!r}: {target} does not exist; is its Secret mounted there?")
    entries: dict[str, str] = {}
    size = 0
    for path in _inside(root):
        entries[path.relative_to(root).as_posix()] = _read(name, path)
        size += path.stat().st_size
        if len(entries) > _MAX_FILES or size > _MAX_TOTAL:
            raise EnvironmentInvalid(
                f"secret {name!r}: more than {_MAX_FILES} files or {_MAX_TOTAL >> 20} MiB in {target}"
            )
    return entries


def _inside(root: Path) -> Iterator[Path]:
    """Files under `root`. A kubelet shows each key as a symlink into a hidden, dated directory: the link is the key."""
    from pathlib import Path

    real_root = root.resolve()
    for directory, folders, files in os.walk(root):
        folders[:] = sorted(folder for folder in folders if not folder.startswith(".."))
        for file in sorted(files):
            path = Path(directory, file)
            if not file.startswith("..") and path.is_file() and path.resolve().is_relative_to(real_root):
                yield path


def _read(name: str, path: Path) -> str:
    if path.stat().st_size > _MAX_FILE:
        raise EnvironmentInvalid(f"secret {name!r}: {path} is larger than {_MAX_FILE >> 20} MiB")
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentInvalid(f"secret {name!r}: {path} cannot be read: {error}") from error
