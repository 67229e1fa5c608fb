"""The durable side of the store: one SQLite file, one thread that writes it.

Writes that arrive while a transaction is being committed share the next one (group commit). WAL with
`synchronous=NORMAL` keeps every commit through a crash of the process, `durable=True` (`FULL`) also through a power
cut.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bobrapet.local.store.errors import StoreDamaged, StoreError, StoreFull, StoreUnavailable

FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
_BATCH = 256
_SQLITE_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR | (3 << 8)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One write: `data` None deletes."""

    resource: str
    namespace: str
    name: str
    revision: int
    data: bytes | None


class Log:
    """An open log. `append` may be called from any thread; `done` is called from the writer's thread, in order."""

    def __init__(
        self, path: Path, done: Callable[[int, StoreUnavailable | None], None], *, durable: bool = False
    ) -> None:
        self._path = path
        self._done = done
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._db = self._open(durable)

    def load(self) -> Iterator[tuple[str, str, str, int, bytes]]:
        """Every object: resource, namespace, name, revision, data. Only before `start`. Raises StoreDamaged."""
        with self._readable():
            yield from self._db.execute("SELECT resource, namespace, name, revision, data FROM objects")

    def revision(self) -> int:
        """The highest revision ever committed. Raises StoreDamaged."""
        with self._readable():
            row = self._db.execute("SELECT value FROM counters WHERE name = 'revision'").fetchone()
            return int(row[0]) if row else 0

    def start(self) -> None:
        """Starts the writer; from now on the connection is the writer's."""
        self._thread = threading.Thread(target=self._write, name="bobrapet-store", daemon=True)
        self._thread.start()

    def append(self, entry: Entry) -> None:
        """Queues a write."""
        self._queue.put(entry)

    def close(self) -> None:
        """Commits what is queued and closes the file. Blocks for as long as that takes."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._db.close()

    def _open(self, durable: bool) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            (found,) = db.execute("PRAGMA user_version").fetchone()
            if found not in (0, FORMAT):
                db.close()
                raise StoreError(
                    f"{self._path} has format {found}, this version reads {FORMAT}; use another data directory"
                )
            db.executescript(_SCHEMA)
            db.execute(f"PRAGMA user_version={FORMAT}")
        except sqlite3.OperationalError as error:
            raise _translate(error) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error
        return db

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise _translate(error) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: sqlite3.Error) -> StoreDamaged:
        return StoreDamaged(
            f"{self._path} is damaged, or not a store of bobrapet ({error}); put a copy in its place, or move it away "
            "to start afresh"
        )

    def _write(self) -> None:
        stop = False
        while not stop:
            entry = self._queue.get()
            batch: list[Entry] = []
            while entry is not None:
                batch.append(entry)
                if len(batch) == _BATCH:
                    break
                try:
                    entry = self._queue.get_nowait()
                except queue.Empty:
                    break
            stop = entry is None
            if batch:
                self._done(len(batch), self._commit(batch))

    def _commit(self, batch: list[Entry]) -> StoreUnavailable | None:
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            for entry in batch:
                if entry.data is None:
                    db.execute(
                        "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?",
                        (entry.resource, entry.namespace, entry.name),
                    )
                else:
                    db.execute(
                        "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
                        (entry.resource, entry.namespace, entry.name, entry.revision, entry.data),
                    )
            db.execute("INSERT OR REPLACE INTO counters VALUES ('revision', ?)", (batch[-1].revision,))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            return _translate(error)
        return None


def _translate(error: sqlite3.Error) -> StoreUnavailable:
    code = getattr(error, "sqlite_errorcode", None)
    # A write that the file system refuses (quota, tmpfs) shows as an I/O error of the write, not as FULL.
    if code is not None and code in _SQLITE_FULL:
        return StoreFull("no space left under the data directory; free some space and try again")
    return StoreUnavailable(f"the store cannot be written: {error}")
