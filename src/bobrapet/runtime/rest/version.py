"""The version that this client reports."""

from __future__ import annotations

import os
from functools import cache
from importlib import metadata


@cache
def version() -> tuple[str, str]:
    """(release, commit); the commit is what the image was built from, where the build said so."""
    try:
        release = metadata.version("bobrapet")
    except metadata.PackageNotFoundError:
        release = "0.0.0"
    return release, os.environ.get("BOBRAPET_COMMIT", "unknown")[:12]
