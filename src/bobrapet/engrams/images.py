"""What a local runner executes for the images of our Engrams (entry-point group `bobrapet.images`)."""

from __future__ import annotations

import sys


def http_client() -> list[str]:
    return _module("http_client")


def json_transform() -> list[str]:
    return _module("json_transform")


def json_filter() -> list[str]:
    return _module("json_filter")


def map_reduce() -> list[str]:
    return _module("map_reduce")


def materialize() -> list[str]:
    return _module("materialize")


def shell() -> list[str]:
    return _module("shell")


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"bobrapet.engrams.{name}"]
