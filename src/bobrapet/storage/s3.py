"""Payloads in an S3 bucket, or in a server that speaks its protocol. Needs the extra `s3`.

The client repeats what the server answers with a fault, signs the digest of every upload, and sends large bodies in
parts. Length and digest come back with each object and are compared while reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore import store as stores

from bobrapet.storage.body import PIECE_BYTES, Body, regrouped
from bobrapet.storage.errors import (
    AccessDenied,
    BackendUnavailable,
    PayloadNotFound,
    ReferenceRefused,
    StorageMisconfigured,
)
from bobrapet.storage.layout import check_path, shown
from bobrapet.storage.settings import S3Settings
from bobrapet.storage.store import ObjectInfo, Reading, Store

SINGLE_PUT_BYTES: Final = 5 << 20  # up to here one request is cheaper than a multipart upload, which takes three
FIRST_BACKOFF: Final = 0.1
_SHA256: Final = "sha256"
_MD5: Final = "md5"
_NOT_FOUND: Final = (exceptions.NotFoundError, FileNotFoundError)
_DENIED: Final = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
_EXISTS: Final = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
_MAX_TOLD: Final = 300


class S3Store(Store):
    """Objects of one bucket."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._store = _client(settings)

    def open(self, path: str) -> Reading:
        with self._translated(path):
            found = obstore.get(self._store, check_path(path))
            meta, attributes = found.meta, found.attributes
            stream = found.stream(min_chunk_size=PIECE_BYTES)
        modified = meta["last_modified"].timestamp()
        info = ObjectInfo(path, meta["size"], modified, str(attributes.get(_SHA256, "")))
        return Reading(info, self._pieces(stream, path))

    def put(self, path: str, body: Body) -> None:
        self._put(path, body, {})

    def put_if_absent(self, path: str, body: Body) -> bool:
        if body.size > SINGLE_PUT_BYTES:
            return self._put_large_if_absent(path, body)
        try:
            self._put(path, body, {"mode": "create"})
        except FileExistsError:
            return False
        return True

    def delete(self, path: str) -> None:
        with self._translated(path):
            try:
                obstore.delete(self._store, check_path(path))
            except _NOT_FOUND:
                return

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        below = check_path(prefix.rstrip("/")) if prefix.strip("/") else None
        with self._translated(prefix or "/"):
            for page in obstore.list(self._store, prefix=below):
                for meta in page:
                    yield ObjectInfo(meta["path"], meta["size"], meta["last_modified"].timestamp())

    def _put_large_if_absent(self, path: str, body: Body) -> bool:
        """A multipart upload has no condition, so this only looks before: two writers at once may both write."""
        with self._translated(path):
            try:
                obstore.head(self._store, check_path(path))
            except _NOT_FOUND:
                pass
            else:
                return False
        self._put(path, body, {})
        return True

    def _put(self, path: str, body: Body, options: dict[str, Any]) -> None:
        is_small = body.size <= SINGLE_PUT_BYTES
        attributes = {"Content-Type": body.content_type, _SHA256: body.sha256, _MD5: body.md5}
        with self._translated(path):
            obstore.put(
                self._store,
                check_path(path),
                body.data() if is_small else regrouped(body.pieces()),
                attributes=attributes,
                use_multipart=not is_small,
                chunk_size=max(self._settings.part_bytes, body.size // 9_000),  # S3 takes 10,000 parts
                max_concurrency=self._settings.concurrency,
                **options,
            )

    def _pieces(self, stream: Any, path: str) -> Iterator[bytes]:
        with self._translated(path):
            for piece in stream:
                yield bytes(piece)

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except _EXISTS as error:
            raise FileExistsError(path) from error
        except _NOT_FOUND as error:
            if "NoSuchBucket" in str(error):
                raise BackendUnavailable(
                    f"bucket {self._settings.bucket!r} does not exist; create it, or correct the storage policy"
                ) from error
            raise PayloadNotFound(f"nothing is stored at {shown(path)}") from error
        except _DENIED as error:
            raise AccessDenied(
                f"{shown(path)}: bucket {self._settings.bucket!r} refuses the credentials; check the storage Secret "
                f"and the bucket's policy ({_told(error)})"
            ) from error
        except exceptions.InvalidPathError as error:
            raise ReferenceRefused(f"{shown(path)}: {_told(error)}") from error
        except (exceptions.BaseError, OSError) as error:
            told = _told(error)
            if "NoSuchBucket" in told:
                told = f"bucket {self._settings.bucket!r} does not exist; create it, or correct the storage policy"
            raise BackendUnavailable(f"{shown(path)}: {told}") from error


def _client(settings: S3Settings) -> stores.S3Store:
    config: dict[str, Any] = {
        "region": settings.region,
        "virtual_hosted_style_request": not settings.path_style,
    }
    if settings.endpoint:
        config["endpoint"] = settings.endpoint if settings.path_style else _virtual_host(settings)
    if settings.access_key_id:
        config["access_key_id"] = settings.access_key_id
        config["secret_access_key"] = settings.secret_access_key
        if settings.session_token:
            config["session_token"] = settings.session_token
    elif settings.ambient:
        for name in ("role_arn", "role_session_name", "web_identity_token_file"):
            if value := settings.ambient.get(f"AWS_{name.upper()}"):
                config[name] = value
        for name in ("relative_uri", "full_uri"):
            if value := settings.ambient.get(f"AWS_CONTAINER_CREDENTIALS_{name.upper()}"):
                config[f"container_credentials_{name}"] = value
    else:
        config["skip_signature"] = True
    if settings.encryption:
        config["server_side_encryption"] = settings.encryption
    if settings.kms_key:
        config["sse_kms_key_id"] = settings.kms_key
    timeout = timedelta(seconds=settings.timeout)
    longest = max(settings.max_backoff, 0.001)
    client: dict[str, Any] = {"timeout": timeout, "connect_timeout": min(timeout, timedelta(seconds=10))}
    if settings.endpoint.startswith("http://"):
        client["allow_http"] = True
    if settings.ca_file:
        try:
            client["root_certificate"] = Path(settings.ca_file).read_bytes()
        except OSError as error:
            raise StorageMisconfigured(f"BUBU_S3_CA_FILE {settings.ca_file}: {error.strerror}") from error
    try:
        return stores.S3Store(
            settings.bucket,
            config=config,  # type: ignore[arg-type]
            client_options=client,  # type: ignore[arg-type]
            retry_config={
                "max_retries": settings.max_retries,
                "backoff": {
                    # Never above the longest: the client would end the process over an empty range.
                    "init_backoff": timedelta(seconds=min(FIRST_BACKOFF, longest)),
                    "max_backoff": timedelta(seconds=longest),
                    "base": 2,
                },
                "retry_timeout": timeout,
            },
        )
    except (exceptions.BaseError, ValueError) as error:
        raise StorageMisconfigured(f"the S3 storage cannot be used as configured: {_told(error)}") from error


def _virtual_host(settings: S3Settings) -> str:
    """The endpoint with the bucket in its host name, as the client wants it for this style."""
    parts = urlsplit(settings.endpoint)
    return f"{parts.scheme}://{settings.bucket}.{parts.netloc}{parts.path}"


def _told(error: BaseException) -> str:
    """The first line of what the client says, without its debug output."""
    text = str(error).split("\n\n")[0].split("\nDebug source")[0].strip().replace("\n", " ")
    return text if len(text) <= _MAX_TOLD else f"{text[:_MAX_TOLD]}..."
