"""Payloads in a folder that other, perhaps hostile, processes write into too."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bobrapet.storage import (
    BackendUnavailable,
    Body,
    FileStore,
    PayloadCorrupt,
    PayloadNotFound,
    ReferenceRefused,
    StorageFull,
    StorageMisconfigured,
)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.json").write_text("secret")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def test_a_link_to_a_file_is_not_followed(root: Path, outside: Path) -> None:
    (root / "o").mkdir()
    (root / "o" / "x.json").symlink_to(outside / "secret.json")
    with pytest.raises(ReferenceRefused, match="symbolic link"):
        FileStore(root).get("o/x.json")


def test_a_link_to_a_folder_is_not_followed(root: Path, outside: Path) -> None:
    (root / "o").symlink_to(outside)
    store = FileStore(root)
    for call in (
        lambda: store.get("o/secret.json"),
        lambda: store.put("o/new.json", Body.of(b"x")),
        lambda: store.delete("o/secret.json"),
        lambda: list(store.list("o")),
    ):
        with pytest.raises(ReferenceRefused):
            call()
    assert sorted(found.name for found in outside.iterdir()) == ["secret.json"]


def test_writing_replaces_a_link_and_not_what_it_leads_to(root: Path, outside: Path) -> None:
    (root / "o").mkdir()
    (root / "o" / "x.json").symlink_to(outside / "secret.json")
    FileStore(root).put("o/x.json", Body.of(b"new"))
    assert (outside / "secret.json").read_text() == "secret"
    assert FileStore(root).get("o/x.json") == b"new"


def test_a_list_leaves_links_out(root: Path, outside: Path) -> None:
    (root / "l").symlink_to(outside)
    (root / "f").symlink_to(outside / "secret.json")
    FileStore(root).put("o/x.json", Body.of(b"x"))
    assert [info.path for info in FileStore(root).list()] == ["o/x.json"]


def test_a_pipe_is_refused_and_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "x.json")
    with pytest.raises(ReferenceRefused, match="no plain file"):
        FileStore(root).get("x.json")


def test_the_root_itself_may_be_a_link_as_a_local_runner_makes_it(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mount").symlink_to(root)
    FileStore(tmp_path / "mount").put("o/x.json", Body.of(b"x"))
    assert (root / "o" / "x.json").read_bytes() == b"x"


def test_a_writer_that_dies_leaves_nothing_that_can_be_read(root: Path) -> None:
    store = FileStore(root)

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    body = Body(pieces, 8, "", "")
    with pytest.raises(KeyboardInterrupt):
        store.put("o/x.json", body)
    with pytest.raises(PayloadNotFound):
        store.get("o/x.json")
    assert list((root / "o").iterdir()) == []


def test_what_a_killed_writer_left_is_found_and_can_be_deleted(root: Path) -> None:
    store = FileStore(root)
    store.put("o/x.json", Body.of(b"x"))
    left = root / "o" / ".partial-0123456789abcdef"
    left.write_bytes(b"half")
    os.utime(left, (1000, 1000))
    assert [info.path for info in store.list()] == ["o/x.json"]
    assert list(store.abandoned(older_than=500)) == []
    (found,) = store.abandoned(older_than=2000)
    store.delete(found)
    assert not left.exists()


def test_empty_folders_go_with_their_last_object(root: Path) -> None:
    store = FileStore(root)
    store.put("o/team-a/x/a.json", Body.of(b"x"))
    store.put("o/team-a/y/a.json", Body.of(b"x"))
    store.delete("o/team-a/x/a.json")
    assert sorted(found.name for found in (root / "o" / "team-a").iterdir()) == ["y"]
    store.delete("o/team-a/y/a.json")
    assert list(root.iterdir()) == []


def test_damaged_bytes_are_noticed_where_the_file_system_keeps_attributes(root: Path) -> None:
    store = FileStore(root)
    store.put("x.json", Body.of(b"12345"))
    if not store.open("x.json").info.sha256:
        pytest.skip("this file system has no extended attributes")
    with (root / "x.json").open("r+b") as file:
        file.write(b"9")
    with pytest.raises(PayloadCorrupt, match="expected sha256"):
        store.get("x.json")


def test_folders_are_shared_with_the_group_whatever_the_umask(root: Path) -> None:
    before = os.umask(0o077)
    try:
        FileStore(root).put("o/x.json", Body.of(b"x"))
    finally:
        os.umask(before)
    assert (root / "o").stat().st_mode & 0o070 == 0o070
    assert (root / "o" / "x.json").stat().st_mode & 0o777 == 0o664


def test_a_folder_that_is_not_there_says_so(root: Path) -> None:
    with pytest.raises(StorageMisconfigured, match="is the volume mounted"):
        FileStore(root / "none")
    store = FileStore(root)
    root.rmdir()
    with pytest.raises(BackendUnavailable, match="is the volume mounted"):
        store.get("x.json")


def test_a_name_that_is_a_folder_is_no_object(root: Path) -> None:
    store = FileStore(root)
    store.put("o/x.json", Body.of(b"x"))
    with pytest.raises(ReferenceRefused):
        store.get("o")
    with pytest.raises(ReferenceRefused):
        store.put("o/x.json/y", Body.of(b"x"))


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 1 MiB; skips where we may not mount."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_as_such_and_leaves_the_old_object_and_no_rest(root: Path) -> None:
    with small_disk(root):
        store = FileStore(root)
        store.put("o/x.json", Body.of(b"old"))
        with pytest.raises(StorageFull, match="free some space"):
            store.put("o/x.json", Body.of(b"n" * (2 << 20)))
        assert store.get("o/x.json") == b"old"
        assert [found.name for found in (root / "o").iterdir()] == ["x.json"]
        store.put("o/y.json", Body.of(b"small"))


def test_full_means_the_quota_too() -> None:
    from bobrapet.storage.files import _translated

    for code in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(StorageFull), _translated("x"):
            raise OSError(code, os.strerror(code))
