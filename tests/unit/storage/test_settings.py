"""Which store a process uses, told by its environment (spec workloads 10.1)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bobrapet.storage import FileSettings, S3Settings, StorageMisconfigured, from_environ

S3 = {"BUBU_STORAGE_PROVIDER": "s3", "BUBU_STORAGE_S3_BUCKET": "payloads"}


def s3(**more: str) -> S3Settings:
    found = from_environ({**S3, **more})
    assert isinstance(found, S3Settings)
    return found


def test_no_provider_is_no_store() -> None:
    assert from_environ({}) is None


def test_a_folder_at_the_mount_path() -> None:
    assert from_environ({"BUBU_STORAGE_PROVIDER": "file"}) == FileSettings(path=Path("/var/run/bubu/storage"))


def test_a_folder_below_the_root_of_the_pod() -> None:
    environ = {"BUBU_STORAGE_PROVIDER": "file", "BUBU_STORAGE_PATH": "/data", "BUBU_POD_ROOT": "/pods/x"}
    found = from_environ({**environ, "BUBU_STORAGE_TIMEOUT": "10s"})
    assert found == FileSettings(path=Path("/pods/x/data"), timeout=10.0)


def test_defaults_of_s3() -> None:
    found = s3()
    assert (found.region, found.path_style, found.endpoint, found.access_key_id) == ("us-east-1", False, "", "")
    assert (found.max_retries, found.max_backoff, found.timeout) == (3, 10.0, 300.0)


def test_an_endpoint_means_path_style_and_https() -> None:
    assert s3(BUBU_STORAGE_S3_ENDPOINT="minio:9000").endpoint == "https://minio:9000"
    assert s3(BUBU_STORAGE_S3_ENDPOINT="minio:9000").path_style
    assert s3(BUBU_STORAGE_S3_ENDPOINT="minio:9000", BUBU_S3_TLS="false").endpoint == "http://minio:9000"
    assert s3(BUBU_STORAGE_S3_ENDPOINT="http://minio:9000/").endpoint == "http://minio:9000"
    assert not s3(BUBU_STORAGE_S3_ENDPOINT="minio", BUBU_S3_FORCE_PATH_STYLE="false").path_style


def test_our_credentials_come_before_those_of_amazon_and_are_never_mixed() -> None:
    amazon = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    ours = {"BUBU_S3_ACCESS_KEY_ID": "x", "BUBU_S3_SECRET_ACCESS_KEY": "y"}
    found = s3(**amazon)
    assert (found.access_key_id, found.secret_access_key, found.session_token) == ("a", "b", "c")
    found = s3(**amazon, **ours)
    assert (found.access_key_id, found.secret_access_key, found.session_token) == ("x", "y", "")


def test_the_role_of_a_service_account_is_used_without_keys() -> None:
    environ = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"}
    assert s3(**environ).ambient == environ
    assert s3().ambient == {}


def test_tuning_variables() -> None:
    found = s3(
        BUBU_S3_MAX_RETRIES="0",
        BUBU_S3_MAX_BACKOFF="2s",
        BUBU_S3_TIMEOUT="1m",
        BUBU_S3_MAX_PART_SIZE="1",
        BUBU_S3_CONCURRENCY="2",
        BUBU_S3_SSE="kms",
        BUBU_S3_SSE_KMS_KEY="k",
    )
    assert (found.max_retries, found.max_backoff, found.timeout, found.concurrency) == (0, 2.0, 60.0, 2)
    assert (found.encryption, found.kms_key) == ("aws:kms", "k")
    assert found.part_bytes == 5 << 20, "S3 takes no smaller parts"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"BUBU_STORAGE_PROVIDER": "ftp"}, "BUBU_STORAGE_PROVIDER='ftp' is unknown; known are s3 and file"),
        ({"BUBU_STORAGE_PROVIDER": "s3"}, "BUBU_STORAGE_S3_BUCKET is not set"),
        ({**S3, "BUBU_STORAGE_TIMEOUT": "ten"}, "BUBU_STORAGE_TIMEOUT"),
        ({**S3, "BUBU_S3_MAX_RETRIES": "x"}, "BUBU_S3_MAX_RETRIES='x' is no whole number"),
        ({**S3, "BUBU_S3_SSE": "rot13"}, "BUBU_S3_SSE='rot13' is unknown"),
        ({**S3, "BUBU_STORAGE_S3_ENDPOINT": "ftp://x"}, "is no S3 endpoint"),
        ({**S3, "AWS_ACCESS_KEY_ID": "a"}, "belong together"),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(StorageMisconfigured, match=message):
        from_environ(environ)


def test_settings_show_no_secret() -> None:
    shown = repr(s3(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="hush", AWS_SESSION_TOKEN="quiet"))
    assert "hush" not in shown
    assert "quiet" not in shown


def test_a_file_store_needs_neither_the_s3_library_nor_pydantic() -> None:
    code = "import sys, bobrapet.storage; print([m for m in ('obstore', 'pydantic', 'asyncio') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
