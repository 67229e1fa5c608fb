"""The controller's way to payload stores: what it reaches, with which credentials, and what it says when it cannot."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from bobrapet.config.storage import StorageSettings
from bobrapet.reconcilers.stores import Access, Stores
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.storage import AccessDenied, BackendUnavailable, Body, MemoryStore, S3Settings, StorageMissing
from tests.unit.storage.faulty_s3 import faulty_s3

S3 = StorageSettings(provider="s3", bucket="payloads", secret_name="keys")
OPERATORS = StorageSettings(provider="s3", bucket="payloads", secret_name="keys", is_operator_secret=True)
CLAIM = StorageSettings(provider="file", volume_claim_name="payloads")


def secret(namespace: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "keys", "namespace": namespace},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def access(*secrets: dict[str, Any]) -> Access:
    return Access(secrets=ClientBuilder().with_objects(*secrets).build(), config_namespace="home")


def test_what_is_reached_without_asking_anybody(tmp_path: Path) -> None:
    nowhere, somewhere = Stores(), Stores(Access(secrets=access().secrets, claims=tmp_path))
    assert not nowhere.reach(None)
    assert not nowhere.reach(S3)
    assert not nowhere.reach(CLAIM)
    assert somewhere.reach(S3)
    assert somewhere.reach(CLAIM)
    assert not somewhere.reach(StorageSettings(provider="file", empty_dir={})), "it ends with its pod"
    assert not somewhere.reach(StorageSettings(provider="s3", bucket="x", problem="two providers"))
    assert nowhere.reach(StorageSettings(provider="file", volume_claim_name="c", path=str(tmp_path))), "mounted here"


@pytest.mark.parametrize(("settings", "key"), [(S3, "of-team"), (OPERATORS, "of-home")])
async def test_credentials_come_from_the_namespace_of_the_run_or_of_the_operator(
    settings: StorageSettings, key: str
) -> None:
    opened: list[Any] = []

    def open(settings: Any) -> MemoryStore:
        opened.append(settings)
        return MemoryStore()

    found = access(
        secret("team-a", AWS_ACCESS_KEY_ID="of-team", AWS_SECRET_ACCESS_KEY="x"),
        secret("home", AWS_ACCESS_KEY_ID="of-home", AWS_SECRET_ACCESS_KEY="x"),
    )
    stores = Stores(found, open=open)
    for _ in range(2):
        await stores.call(settings, "team-a", lambda store: None)
    (made,) = opened
    assert isinstance(made, S3Settings)
    assert made.access_key_id == key
    await stores.close()


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        ((), r'Secret "team-a/keys" with the storage credentials does not exist'),
        ((secret("team-a", token="x"),), "must have the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
)
async def test_credentials_that_are_missing_are_told(secrets: Any, message: str) -> None:
    with pytest.raises(AccessDenied, match=message):
        await Stores(access(*secrets)).call(S3, "team-a", lambda store: None)


async def test_a_store_that_does_not_answer_is_given_up() -> None:
    import threading

    released = threading.Event()
    stores = Stores(Access(claims=Path("/")), open=lambda settings: MemoryStore())
    stores._folder = lambda settings, namespace: Path("/")  # type: ignore[method-assign]
    try:
        with pytest.raises(BackendUnavailable, match="did not answer within"):
            await stores.call(CLAIM, "team-a", lambda store: released.wait(240), timeout=0.05)
    finally:
        released.set()
    await stores.close()


async def test_whole_objects_are_read_and_written_over_s3() -> None:
    with faulty_s3() as server:
        settings = StorageSettings(provider="s3", bucket="payloads", endpoint=server.url)
        stores = Stores(access())
        assert await stores.read(settings, "team-a", "cache/team-a/x/1/k.json") is None
        await stores.write(settings, "team-a", "cache/team-a/x/1/k.json", b"{}")
        assert await stores.read(settings, "team-a", "cache/team-a/x/1/k.json") == b"{}"
        await stores.close()


async def test_a_store_out_of_reach_has_no_cache(tmp_path: Path) -> None:
    stores = Stores()
    assert await stores.read(CLAIM, "team-a", "cache/x") is None
    with pytest.raises(StorageMissing):
        await stores.write(CLAIM, "team-a", "cache/x", b"{}")


async def test_every_claim_is_a_store_of_its_own(tmp_path: Path) -> None:
    stores = Stores(Access(claims=tmp_path))
    await stores.call(CLAIM, "team-a", lambda store: store.put("x.json", Body.of(b"a")))
    await stores.call(CLAIM, "team-b", lambda store: store.put("x.json", Body.of(b"b")))
    assert (tmp_path / "team-a/payloads/x.json").read_bytes() == b"a"
    assert (tmp_path / "team-b/payloads/x.json").read_bytes() == b"b"
    await stores.close()
