"""Starts a script again with the Python of .venv, where it was started with one that knows nothing of the project."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def use() -> None:
    """Does not return when another Python takes over. A Python of any virtual environment is kept."""
    python = Path(__file__).resolve().parent.parent / ".venv/bin/python"
    if sys.prefix == sys.base_prefix and python.exists():
        os.execv(python, [str(python), *sys.argv])
