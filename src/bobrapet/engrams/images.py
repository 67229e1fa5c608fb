"""What a local runner executes for the images of our Engrams (entry-point group `bobrapet.images`)."""

from __future__ import annotations

import sys


def http_client() -> list[str]:
    return [sys.executable, "-m", "bobrapet.engrams.http_client"]


def json_transform() -> list[str]:
    return [sys.executable, "-m", "bobrapet.engrams.json_transform"]
