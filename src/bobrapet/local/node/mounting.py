"""Volumes at the paths that a pod asks for: a mount namespace of the container's own.

Imported by the shim, so nothing but the standard library. What the machine has stays visible; only the mount paths are
other. A path that does not exist is made without touching the machine: the deepest folder that exists gets a stand-in,
a small file system in memory into which everything that was in the folder is bound, and the new entry besides. Nothing
of it outlives the container.

A container that runs as another user than the node may not enter the folders that lead to its own files. Of these, the
first that it may not enter is replaced by one that leads to its files and nowhere else: it loses nothing that way.
"""

import contextlib
import ctypes
import os
import re
import stat
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY = 1
MS_KEPT = 2 | 4 | 8  # nosuid, nodev, noexec: who may not take them away may not forget them
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def enter(
    mounts: list[dict[str, Any]], scratch: str, *, own: list[str] | None = None, user: dict[str, Any] | None = None
) -> None:
    """Moves this process into a namespace with these mounts: `source`, `target`, `readOnly`.

    `scratch` is an empty folder that becomes the root when a new entry of `/` is needed. `own` are folders that `user`
    (`user`, `group`, `groups`) must reach. Raises OSError where the machine does not permit it.
    """
    _unshare()
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    sources = [os.open(mount["source"], os.O_PATH | os.O_CLOEXEC) for mount in mounts]
    targets = [(os.path.realpath(mount["target"]), mount) for mount in mounts]
    ours = set()
    if any(_deepest(target) == "/" for target, _ in targets):
        _stand_in("/", scratch)
        os.chroot(scratch)
        ours.add("/")
    os.chdir("/")
    if user is not None:
        _lead_to(own or [], user, ours)
    # A mount inside of another mount comes after it.
    for target, mount, source in sorted(
        ((target, mount, source) for (target, mount), source in zip(targets, sources, strict=True)),
        key=lambda entry: entry[0].count("/"),
    ):
        _place(target, f"/proc/self/fd/{source}", ours)
        _mount(f"/proc/self/fd/{source}", target, None, MS_BIND | MS_REC)
        if mount["readOnly"]:
            _make_read_only(target)
    for descriptor in sources:
        os.close(descriptor)


def seal(writable: list[str]) -> None:
    """Makes everything in this namespace read-only but what is below `writable`, and the file systems of the kernel.

    Raises OSError where the machine does not permit it.
    """
    kept = {os.path.realpath(path) for path in writable if os.path.exists(path)}
    for path in sorted(kept, key=lambda path: path.count("/")):
        _mount(path, path, None, MS_BIND | MS_REC)  # a mount of its own, which keeps what the others lose
    for point in _mount_points():
        if point in ("/dev", "/proc", "/sys") or point.startswith(("/dev/", "/proc/", "/sys/")):
            continue
        if any(point == path or point.startswith(path + "/") for path in kept):
            continue
        try:
            _make_read_only(point)
        except OSError:
            if point == "/":
                raise  # the others may be unreachable, or something that only its owner may change


def _make_read_only(point: str) -> None:
    kept = os.statvfs(point).f_flag & MS_KEPT
    _mount(None, point, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def _mount_points() -> list[str]:
    """Where something is mounted in this namespace; `/` is one, whatever the list says."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        words = [line.split(" ")[4] for line in file]
    return sorted({"/", *(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word) for word in words)})


def may_enter(path: str, user: dict[str, Any]) -> bool:
    """Whether the user may pass through a folder, by its mode."""
    state = os.stat(path)
    if user["user"] == 0:
        return True
    if state.st_uid == user["user"]:
        return bool(state.st_mode & stat.S_IXUSR)
    if state.st_gid == user["group"] or state.st_gid in user["groups"]:
        return bool(state.st_mode & stat.S_IXGRP)
    return bool(state.st_mode & stat.S_IXOTH)


def _lead_to(folders: list[str], user: dict[str, Any], ours: set[str]) -> None:
    """Makes `folders` reachable for the user by replacing the first folder on the way that it may not enter."""
    real = [os.path.realpath(folder) for folder in folders]
    descriptors = [os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for folder in real]
    for folder, descriptor in zip(real, descriptors, strict=True):
        parts = folder.strip("/").split("/")[:-1]
        way = ["/" + "/".join(parts[: length + 1]) for length in range(len(parts))]
        # Where an earlier folder was led to, the way of this one is missing, and is made again below the same place.
        closed = next((path for path in way if os.path.exists(path) and not may_enter(path, user)), None)
        if closed is not None:
            _mount("tmpfs", closed, "tmpfs", 0, "mode=755,size=1m")
            ours.add(closed)
        elif os.path.exists(folder):
            continue
        os.makedirs(folder, exist_ok=True)
        _mount(f"/proc/self/fd/{descriptor}", folder, None, MS_BIND | MS_REC)
    for descriptor in descriptors:
        os.close(descriptor)


def _unshare() -> None:
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _check(_libc.unshare(CLONE_NEWNS), "unshare")
        return
    _check(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _deepest(path: str) -> str:
    """The deepest folder on the way to a path that exists; the path itself when it does."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _place(target: str, source: str, ours: set[str]) -> None:
    """Makes something to mount over. `ours` are the folders that have a stand-in already."""
    existing = _deepest(target)
    if existing == target:
        return
    if existing not in ours:
        _stand_in(existing, existing)
        ours.add(existing)
    if os.path.isdir(source):
        os.makedirs(target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _touch(target)


def _stand_in(folder: str, place: str) -> None:
    """Mounts at `place` a file system in memory with everything that is in `folder`."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        behind = f"/proc/self/fd/{descriptor}"
        names = os.listdir(behind)
        _mount("tmpfs", place, "tmpfs", 0, f"mode={mode:o},size=64m")
        for name in names:
            source, copy = f"{behind}/{name}", f"{place.rstrip('/')}/{name}"
            # What vanishes meanwhile, or may not be looked at, is missing here as well.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                kind = os.lstat(source).st_mode
                if stat.S_ISLNK(kind):
                    os.symlink(os.readlink(source), copy)
                    continue
                if stat.S_ISDIR(kind):
                    os.mkdir(copy)
                else:
                    _touch(copy)
                _mount(source, copy, None, MS_BIND | MS_REC)
    finally:
        os.close(descriptor)


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    data = None if options is None else options.encode()
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), data), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
