"""Looking into a store without taking it: for commands that only read."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from bobrapet.local.store.errors import StoreError
from bobrapet.local.store.log import FORMAT

Objects = dict[str, list[dict[str, Any]]]
"""Resource (`plural` or `plural.group`) -> its objects."""


def exists(folder: Path) -> bool:
    """Whether a folder holds a store."""
    return (folder / "store.db").is_file()


def holder(folder: Path) -> str:
    """The process that has the store open, as the lock tells it; empty when nobody has."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
    else:
        return ""
    finally:
        os.close(descriptor)


def read(folder: Path) -> Objects:
    """Every object, as the last commit left it. Changes nothing in the folder, not even after a crash of its server.

    SQLite finishes a write-ahead log wherever it opens one; so it is given a copy, unless the store is being served,
    when its log is kept in order by the server. Raises `StoreError` when the store cannot be read.
    """
    if holder(folder):
        return _read(f"{(folder / 'store.db').absolute().as_uri()}?mode=ro")
    with tempfile.TemporaryDirectory(prefix="bobrapet-read-") as copy:
        for name in ("store.db", "store.db-wal"):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, Path(copy) / name)
        return _read((Path(copy) / "store.db").as_uri())


def _read(uri: str) -> Objects:
    found: Objects = {}
    try:
        database = sqlite3.connect(uri, uri=True, isolation_level=None)
        try:
            (format,) = database.execute("PRAGMA user_version").fetchone()
            if format != FORMAT:
                raise StoreError(f"{uri} has format {format}, this version reads {FORMAT}")
            for resource, data in database.execute("SELECT resource, data FROM objects"):
                found.setdefault(resource, []).append(msgspec.json.decode(data))
        finally:
            database.close()
    except sqlite3.Error as error:
        raise StoreError(f"{uri} cannot be read: {error}") from error
    return found
