"""S3 as it fails: the client repeats what may pass, and tells what to do about the rest."""

from __future__ import annotations

import dataclasses

import pytest

from bobrapet.storage import (
    AccessDenied,
    BackendUnavailable,
    Body,
    PayloadNotFound,
    Retriable,
    Retries,
    S3Settings,
    Store,
    hydrate,
    open_store,
)
from tests.unit.storage.faulty_s3 import FaultyS3, faulty_s3

PATH = "outputs/team-a/x/a.json"
BODY = Body.of(b'{"contentType":"json","data":[1,2,3]}', "application/json")


def store_at(server: FaultyS3, **settings: object) -> Store:
    made = S3Settings(
        bucket="payloads",
        endpoint=server.url,
        path_style=True,
        access_key_id="key",
        secret_access_key="secret",
        max_retries=2,
        max_backoff=0.05,
    )
    return open_store(dataclasses.replace(made, **settings))  # type: ignore[arg-type]


def test_faults_that_pass_are_not_noticed() -> None:
    with faulty_s3(500, 503) as server:
        store = store_at(server)
        store.put(PATH, BODY)
        server.script = [502, 500]
        assert store.get(PATH) == BODY.data()
        assert len(server.requests) == 6


@pytest.mark.parametrize("status", [500, 503])
def test_faults_that_last_are_retriable(status: int) -> None:
    with faulty_s3(*[status] * 20) as server:
        store = store_at(server)
        with pytest.raises(BackendUnavailable):
            store.put(PATH, BODY)
        with pytest.raises(BackendUnavailable):
            store.get(PATH)
        assert len(server.requests) == 6, "three attempts each"


def test_refused_credentials_name_the_bucket_and_what_to_check() -> None:
    with faulty_s3(403, 403) as server:
        store = store_at(server)
        with pytest.raises(AccessDenied, match=r"bucket 'payloads' refuses the credentials; check the storage Secret"):
            store.get(PATH)
        with pytest.raises(AccessDenied):
            store.put(PATH, BODY)


def test_a_truncated_answer_is_never_taken_for_the_object() -> None:
    with faulty_s3() as server:
        store = store_at(server)
        store.put(PATH, BODY)
        server.script = ["truncate"] * 20
        with pytest.raises(Retriable):
            store.get(PATH)
        server.script = ["truncate"] * 3
        assert hydrate({"$bubuStorageRef": PATH}, store, retries=Retries(sleep=lambda seconds: None)) == [1, 2, 3]


def test_an_answer_that_does_not_come_ends_with_the_time_limit() -> None:
    with faulty_s3("hang") as server, pytest.raises(BackendUnavailable):
        store_at(server, timeout=0.3, max_retries=0).get(PATH)


def test_a_server_that_is_not_there_is_retriable() -> None:
    with faulty_s3() as server:
        store = store_at(server)
    with pytest.raises(BackendUnavailable):
        store.get(PATH)


def test_a_missing_bucket_is_told_as_such(s3_settings: S3Settings) -> None:
    store = open_store(dataclasses.replace(s3_settings, bucket="nobody-made-it"))
    for call in (lambda: store.get(PATH), lambda: store.put(PATH, BODY), lambda: list(store.list())):
        with pytest.raises(BackendUnavailable, match="bucket 'nobody-made-it' does not exist; create it"):
            call()


def test_digest_and_length_travel_with_the_object(s3_settings: S3Settings) -> None:
    store = open_store(s3_settings)
    store.put(PATH, BODY)
    assert store.open(PATH).info.sha256 == BODY.sha256
    assert store.open(PATH).info.size == BODY.size


def test_requests_are_signed_with_the_key_or_not_at_all() -> None:
    with faulty_s3() as server:
        store_at(server).put(PATH, BODY)
        assert "Credential=key/" in server.authorizations[-1]
        store_at(server, access_key_id="", secret_access_key="").put(PATH, BODY)
        assert server.authorizations[-1] == ""
        with pytest.raises(PayloadNotFound):
            store_at(server).get("none.json")


def test_the_bucket_is_in_the_path_or_in_the_host() -> None:
    with faulty_s3() as server:
        store_at(server).put("a.json", BODY)
        assert server.requests[-1] == "PUT /payloads/a.json"
        local = dataclasses.replace(server, url=server.url.replace("127.0.0.1", "localhost"))
        virtual = store_at(local, path_style=False, max_retries=0)
        try:
            virtual.put("a.json", BODY)
        except BackendUnavailable:
            pytest.skip("no *.localhost in this resolver")
        assert server.hosts[-1].startswith("payloads.localhost")
        assert server.requests[-1] == "PUT /a.json"
