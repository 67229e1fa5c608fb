"""Which store a process uses, told by its environment (spec workloads 10.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bobrapet.api import env
from bobrapet.api.duration import SECOND, DurationError, parse_duration
from bobrapet.storage.errors import StorageMisconfigured

DEFAULT_TIMEOUT: Final = 300.0
DEFAULT_REGION: Final = "us-east-1"
MIN_PART_BYTES: Final = 5 << 20  # what S3 demands of every part but the last

_SSE: Final = {"s3": "AES256", "sse-s3": "AES256", "aes256": "AES256", "kms": "aws:kms", "aws:kms": "aws:kms"}
_AMBIENT: Final = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_FALSE: Final = frozenset({"0", "f", "false", "n", "no", "off"})


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSettings:
    """A folder as store."""

    path: Path
    timeout: float = DEFAULT_TIMEOUT


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Settings:
    """A bucket as store."""

    bucket: str
    region: str = DEFAULT_REGION
    endpoint: str = ""
    """URL of an S3-compatible server; empty: Amazon's."""
    path_style: bool = False
    access_key_id: str = ""
    """Empty: the credentials that the pod has by its ServiceAccount, else none (anonymous)."""
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    ambient: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    """What a cloud put into the environment for a ServiceAccount with a role."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds that one request may take."""
    max_retries: int = 3
    max_backoff: float = 10.0
    part_bytes: int = MIN_PART_BYTES
    concurrency: int = 4
    """Parts of one object that are under way at once; each is held in memory."""
    encryption: str = ""
    """Encryption at rest: AES256, aws:kms, or empty for the bucket's own."""
    kms_key: str = ""
    ca_file: str = ""
    """PEM file of an authority to trust besides the public ones."""


StoreSettings = FileSettings | S3Settings


def from_environ(environ: Mapping[str, str]) -> StoreSettings | None:
    """The store that the environment describes; None: it describes none.

    Raises StorageMisconfigured, naming the variable.
    """
    provider = _text(environ, env.STORAGE_PROVIDER).lower()
    timeout = operation_timeout(environ)
    if not provider:
        return None
    if provider == "file":
        return FileSettings(path=_mounted(environ), timeout=timeout)
    if provider != "s3":
        raise StorageMisconfigured(f"{env.STORAGE_PROVIDER}={provider!r} is unknown; known are s3 and file")
    bucket = _text(environ, env.STORAGE_S3_BUCKET)
    if not bucket:
        raise StorageMisconfigured(f"{env.STORAGE_S3_BUCKET} is not set; {env.STORAGE_PROVIDER}=s3 needs a bucket")
    endpoint = _text(environ, env.STORAGE_S3_ENDPOINT)
    key, secret, token = credentials(environ)
    return S3Settings(
        bucket=bucket,
        region=_text(environ, env.STORAGE_S3_REGION) or _text(environ, "AWS_REGION") or DEFAULT_REGION,
        endpoint=with_scheme(endpoint, tls=_text(environ, env.S3_TLS).lower() not in _FALSE),
        path_style=_boolean(environ, env.S3_FORCE_PATH_STYLE, default=bool(endpoint)),
        access_key_id=key,
        secret_access_key=secret,
        session_token=token,
        ambient=ambient(environ),
        timeout=min(_seconds(environ, env.S3_TIMEOUT, DEFAULT_TIMEOUT), timeout),
        max_retries=_integer(environ, env.S3_MAX_RETRIES, 3, least=0),
        max_backoff=_seconds(environ, env.S3_MAX_BACKOFF, 10.0),
        part_bytes=_integer(environ, env.S3_MAX_PART_SIZE, MIN_PART_BYTES, least=MIN_PART_BYTES),
        concurrency=_integer(environ, env.S3_CONCURRENCY, 4, least=1),
        encryption=_encryption(environ),
        kms_key=_text(environ, env.S3_SSE_KMS_KEY),
        ca_file=_text(environ, env.S3_CA_FILE),
    )


def operation_timeout(environ: Mapping[str, str]) -> float:
    """Seconds that one hydration or dehydration may take. Raises StorageMisconfigured."""
    return _seconds(environ, env.STORAGE_TIMEOUT, DEFAULT_TIMEOUT)


def credentials(environ: Mapping[str, str]) -> tuple[str, str, str]:
    """Key, secret and session token: our own variables, else Amazon's; all from the same family."""
    for names in (
        (env.S3_ACCESS_KEY_ID, env.S3_SECRET_ACCESS_KEY, env.S3_SESSION_TOKEN),
        (env.AWS_ACCESS_KEY_ID, env.AWS_SECRET_ACCESS_KEY, env.AWS_SESSION_TOKEN),
    ):
        key, secret, token = (_text(environ, name) for name in names)
        if key or secret:
            if not (key and secret):
                raise StorageMisconfigured(f"{names[0]} and {names[1]} belong together; only one of them is set")
            return key, secret, token
    return "", "", ""


def with_scheme(endpoint: str, *, tls: bool = True) -> str:
    """The endpoint as URL. Raises StorageMisconfigured."""
    if not endpoint:
        return ""
    url = endpoint if "://" in endpoint else f"{'https' if tls else 'http'}://{endpoint}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StorageMisconfigured(f"{endpoint!r} is no S3 endpoint; write for example https://minio.storage:9000")
    return url.rstrip("/")


def ambient(environ: Mapping[str, str]) -> dict[str, str]:
    """What a cloud put into the environment for a ServiceAccount with a role; empty: nothing."""
    if not any(environ.get(name) for name in _AMBIENT):
        return {}
    return {name: value for name, value in environ.items() if name.startswith("AWS_")}


def _mounted(environ: Mapping[str, str]) -> Path:
    """The mount path; where the pod's file system is only a folder of the node's, below that folder."""
    path = _text(environ, env.STORAGE_PATH) or env.STORAGE_MOUNT_PATH
    root = Path(_text(environ, env.POD_ROOT) or "/")
    return root / path.lstrip("/")


def _encryption(environ: Mapping[str, str]) -> str:
    text = _text(environ, env.S3_SSE)
    if text and text.lower() not in _SSE:
        raise StorageMisconfigured(f"{env.S3_SSE}={text!r} is unknown; known are {', '.join(sorted(_SSE))}")
    return _SSE.get(text.lower(), "")


def _text(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip()


def _boolean(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = _text(environ, name).lower()
    return text not in _FALSE if text else default


def _integer(environ: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = _text(environ, name)
    if not text:
        return default
    try:
        return max(int(text), least)
    except ValueError as error:
        raise StorageMisconfigured(f"{name}={text!r} is no whole number") from error


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = _text(environ, name)
    if not text:
        return default
    try:
        seconds = parse_duration(text) / SECOND
    except DurationError as error:
        raise StorageMisconfigured(f"{name}: {error}") from error
    return seconds if seconds > 0 else default
