"""Temporary folders go, whatever the end of their process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bobrapet.cli.state import temporary_folder

HOLD = """
import sys
from pathlib import Path
from bobrapet.cli.state import temporary_folder
with temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "data").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_the_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_living_process_is_left_alone_and_that_of_a_killed_one_is_taken_away(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        other = Path(process.stdout.readline().strip())
        with temporary_folder(tmp_path) as folder:
            assert other.exists()
            assert folder != other
        process.kill()
    assert other.exists()
    with temporary_folder(tmp_path):
        assert not other.exists()


def test_a_folder_that_is_not_ours_by_kind_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "bobrapet-run-link").symlink_to(tmp_path / "elsewhere")
    with temporary_folder(tmp_path):
        pass
    assert (tmp_path / "elsewhere").is_dir()
    assert (tmp_path / "bobrapet-run-link").is_symlink()
