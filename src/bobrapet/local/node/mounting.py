"""Volumes at the paths that a pod asks for: a mount namespace of the container's own.

Imported by the shim, so nothing but the standard library. What the machine has stays visible; only the mount paths are
other. A path that does not exist is made without touching the machine: the deepest folder that exists gets a stand-in,
a small file system in memory into which everything that was in the folder is bound, and the new entry besides. Nothing
of it outlives the container.
"""

import contextlib
import ctypes
import os
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


def enter(mounts: list[dict[str, Any]], scratch: str) -> None:
    """Moves this process into a namespace with these mounts: `source`, `target`, `readOnly`.

    `scratch` is an empty folder that becomes the root when a new entry of `/` is needed. Raises OSError where the
    machine does not permit it.
    """
    _unshare()
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    targets = [(os.path.realpath(mount["target"]), mount) for mount in mounts]
    ours = set()
    if any(_deepest(target) == "/" for target, _ in targets):
        _stand_in("/", scratch)
        os.chroot(scratch)
        ours.add("/")
    os.chdir("/")
    # A mount inside of another mount comes after it.
    for target, mount in sorted(targets, key=lambda entry: entry[0].count("/")):
        _place(target, mount["source"], ours)
        _mount(mount["source"], target, None, MS_BIND | MS_REC)
        if mount["readOnly"]:
            kept = os.statvfs(target).f_flag & MS_KEPT
            _mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


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
