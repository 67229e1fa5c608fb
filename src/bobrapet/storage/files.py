"""Payloads in a folder: a directory of this machine, or a volume that several pods mount.

Whoever mounts the volume can write into it, so nothing in it is trusted: every part of a path is opened relative to
the one before, and a symbolic link is never followed. An object appears by one rename, after its bytes are on the disk.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final

from bobrapet.storage.body import PIECE_BYTES, Body
from bobrapet.storage.errors import (
    AccessDenied,
    BackendUnavailable,
    PayloadNotFound,
    ReferenceRefused,
    StorageError,
    StorageFull,
    StorageMisconfigured,
)
from bobrapet.storage.layout import check_path, shown
from bobrapet.storage.store import ObjectInfo, Reading, Store

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not make us wait
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIGEST: Final = "user.bubu.sha256"
_TEMPORARY: Final = ".partial-"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_LINK: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR})
_RACES: Final = 5  # how often a folder may vanish, by a collection that tidies up, between making and using it


class FileStore(Store):
    """Objects as files below `root`, which must exist. Digests are kept as an extended attribute where files have
    them; elsewhere only the length and the form of the content tell that something is wrong."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise StorageMisconfigured(f"the payload folder {root} does not exist; is the volume mounted?")
        self.root = root

    def open(self, path: str) -> Reading:
        with self._folder(check_path(path)) as (folder, name), _translated(path):
            descriptor = os.open(name, _READ, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ReferenceRefused(f"{shown(path)} is no plain file")
            info = ObjectInfo(path, status.st_size, status.st_mtime, _digest(descriptor))
            file = os.fdopen(descriptor, "rb", buffering=0)
        except BaseException:
            os.close(descriptor)
            raise
        return Reading(info, _pieces(file, path), file.close)

    def put(self, path: str, body: Body) -> None:
        self._write(path, body, replace=True)

    def put_if_absent(self, path: str, body: Body) -> bool:
        return self._write(path, body, replace=False)

    def delete(self, path: str) -> None:
        try:
            with self._folder(check_path(path)) as (folder, name), _translated(path):
                os.unlink(name, dir_fd=folder)
        except PayloadNotFound:
            return
        self._tidy(path)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        parts = check_path(prefix.rstrip("/")).split("/") if prefix.strip("/") else []
        try:
            with self._descend(parts, prefix) as folder:
                yield from self._entries(folder, "/".join(parts))
        except PayloadNotFound:
            return

    def abandoned(self, older_than: float) -> Iterator[str]:
        """Paths of what a writer that was killed left half written before the given moment (seconds since 1970).
        `delete` takes them."""
        for folder, _, names, descriptor in os.fwalk(self.root, follow_symlinks=False):
            for name in names:
                if name.startswith(_TEMPORARY):
                    with suppress(OSError):
                        if os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mtime < older_than:
                            yield str((Path(folder) / name).relative_to(self.root))

    def _entries(self, folder: int, above: str) -> Iterator[ObjectInfo]:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            path = f"{above}/{entry.name}" if above else entry.name
            if entry.is_dir(follow_symlinks=False):
                with suppress(FileNotFoundError), _translated(path):
                    below = os.open(entry.name, _FOLDER, dir_fd=folder)
                    try:
                        yield from self._entries(below, path)
                    finally:
                        os.close(below)
            elif entry.is_file(follow_symlinks=False) and not entry.name.startswith(_TEMPORARY):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    yield ObjectInfo(path, status.st_size, status.st_mtime)

    def _write(self, path: str, body: Body, *, replace: bool) -> bool:
        check_path(path)
        for _ in range(_RACES):
            try:
                return self._attempt(path, body, replace=replace)
            except PayloadNotFound:
                continue  # the folder was empty and tidied away before the file was in it
        raise BackendUnavailable(f"{shown(path)} cannot be written: its folder is removed again and again")

    def _attempt(self, path: str, body: Body, *, replace: bool) -> bool:
        with self._folder(path, make=True) as (folder, name), _translated(path):
            temporary = f"{_TEMPORARY}{secrets.token_hex(8)}"
            file = os.open(temporary, _CREATE, 0o664, dir_fd=folder)
            try:
                try:
                    _fill(file, body)
                finally:
                    os.close(file)
                if replace:
                    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                    temporary = ""
                else:
                    try:
                        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                    except FileExistsError:
                        return False
                os.fsync(folder)  # the name is on the disk too before anybody is told about it
            finally:
                if temporary:
                    with suppress(OSError):
                        os.unlink(temporary, dir_fd=folder)
        return True

    @contextmanager
    def _folder(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The open folder of an object, and the object's name in it."""
        *parts, name = path.split("/")
        with self._descend(parts, path, make=make) as folder:
            yield folder, name

    @contextmanager
    def _descend(self, parts: Sequence[str], path: str, *, make: bool = False) -> Iterator[int]:
        try:
            with _translated(path):
                folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PayloadNotFound as error:
            raise BackendUnavailable(f"the payload folder {self.root} is not there; is the volume mounted?") from error
        try:
            with _translated(path):
                for part in parts:
                    below = _enter(folder, part, make=make)
                    os.close(folder)
                    folder = below
            yield folder
        finally:
            os.close(folder)

    def _tidy(self, path: str) -> None:
        """Removes the folders that became empty."""
        parts = path.split("/")[:-1]
        while parts:
            try:
                with self._descend(parts[:-1], path) as folder:
                    os.rmdir(parts[-1], dir_fd=folder)
            except (OSError, StorageError):
                return
            parts.pop()


def _enter(folder: int, part: str, *, make: bool) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):
        os.mkdir(part, 0o775, dir_fd=folder)
        with suppress(OSError):
            # Pods under other users share the volume through its group; the umask must not shut them out.
            mode = os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode
            os.chmod(part, stat.S_IMODE(mode) | 0o070, dir_fd=folder)
    return os.open(part, _FOLDER, dir_fd=folder)


def _fill(file: int, body: Body) -> None:
    with suppress(OSError):
        os.fchmod(file, 0o664)
    for piece in body.pieces():
        view = memoryview(piece)
        while view:
            view = view[os.write(file, view) :]
    if hasattr(os, "setxattr"):
        with suppress(OSError):  # not every file system has attributes
            os.setxattr(file, _DIGEST, body.sha256.encode())
    os.fsync(file)


def _digest(file: int) -> str:
    if not hasattr(os, "getxattr"):
        return ""
    try:
        return os.getxattr(file, _DIGEST).decode("ascii", "replace")
    except OSError:
        return ""


def _pieces(file: FileIO, path: str) -> Iterator[bytes]:
    with _translated(path):
        while piece := file.read(PIECE_BYTES):
            yield piece


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Turns faults of the operating system into ours."""
    try:
        yield
    except FileNotFoundError as error:
        raise PayloadNotFound(f"nothing is stored at {shown(path)}") from error
    except OSError as error:
        told = f"{shown(path)}: {error.strerror or error}"
        if error.errno in _FULL:
            raise StorageFull(f"{told}; free some space in the payload volume, or enlarge it") from error
        if error.errno in _DENIED:
            raise AccessDenied(f"{told}; the payload volume must be writable for the user of the process") from error
        if error.errno in _LINK:
            raise ReferenceRefused(f"{shown(path)} leads over a symbolic link, a file or to a folder") from error
        raise BackendUnavailable(told) from error
