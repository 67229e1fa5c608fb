"""The temporary folder of a command: private, and gone afterwards whatever the end.

The folder itself carries a file lock, which dies with its process. So the next command can tell the folders of the
living from those that a SIGKILL left behind, and takes the latter away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PREFIX: Final = "bobrapet-run-"


@contextmanager
def temporary_folder(root: Path | None = None) -> Iterator[Path]:
    """A private folder for this process below `root` (default: the system's), removed at the end."""
    root = root or Path(tempfile.gettempdir())
    reclaim(root)
    folder, handle = _create(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def reclaim(root: Path) -> None:
    """Removes the folders below `root` that belong to this user and whose process is no more."""
    for folder in root.glob(f"{_PREFIX}*"):
        try:
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def _create(root: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Another command may have taken the folder for a dead one's before the lock was held.
        if folder.exists() and folder.stat().st_ino == os.fstat(handle).st_ino:
            return folder, handle
        os.close(handle)
