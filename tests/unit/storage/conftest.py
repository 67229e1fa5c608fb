"""Stores to test against: a folder, memory, and an S3 server in a thread."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from bobrapet.storage import FileStore, MemoryStore, S3Settings, Store, open_store

BUCKET = "payloads"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server with an empty bucket."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto is not installed")
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        _make_bucket(url)
        yield url
    finally:
        server.stop()


@pytest.fixture
def s3_settings(s3_server: str) -> S3Settings:
    return S3Settings(
        bucket=BUCKET,
        endpoint=s3_server,
        path_style=True,
        access_key_id="key",
        secret_access_key="secret",
        max_retries=1,
    )


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Every kind of store, empty."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "file":
        return FileStore(tmp_path)
    found = open_store(request.getfixturevalue("s3_settings"))
    for info in list(found.list()):
        found.delete(info.path)
    return found


def _make_bucket(url: str) -> None:
    import boto3

    boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    ).create_bucket(Bucket=BUCKET)
