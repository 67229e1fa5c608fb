"""The controller's way to payload stores: which ones it can reach, with which credentials, off the event loop.

A store is reached by its settings, as the policy of a step or a run names them. S3 needs the Secret that the step's
process gets too. A file store is a claim: the manager sees it where its own pod mounts it, or, where claims are
folders of this machine, in its folder there.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import importlib.util
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from bobrapet.api import env
from bobrapet.api.payloads import CONTENT_JSON
from bobrapet.config.storage import StorageSettings
from bobrapet.reconcilers.builtin import Secret
from bobrapet.reconcilers.rbac import Rule
from bobrapet.runtime.client.interfaces import Reader, get_or_none
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.storage import (
    AccessDenied,
    BackendUnavailable,
    Body,
    FileSettings,
    PayloadNotFound,
    S3Settings,
    StorageMissing,
    Store,
    StoreSettings,
    open_store,
)
from bobrapet.storage.settings import DEFAULT_REGION, ambient, credentials, with_scheme

T = TypeVar("T")

RBAC: Final = (Rule("", ("secrets",), ("create", "get", "patch")),)

WORKERS: Final = 4  # reads at once; more would only hold more payloads in memory
TIMEOUT: Final = 20.0  # seconds for one step's payloads; less than a reconcile may take
MAX_ENTRY_BYTES: Final = 1 << 20  # of a cached output, which was inline when it was stored
_OPEN_STORES: Final = 16
_REMEMBERED: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Where the manager stands."""

    secrets: Reader | None = None
    """Reads Secrets; None: S3 cannot be reached."""
    config_namespace: str = ""
    """Where the operator's own storage Secret is."""
    claims: Path | None = None
    """Folder with the content of PersistentVolumeClaims, as `<namespace>/<claim>`, where there is such a folder."""


class Stores:
    """Opens stores and keeps them open. Without `access` it reaches none."""

    def __init__(self, access: Access | None = None, open: Callable[[StoreSettings], Store] = open_store) -> None:
        self._access = access or Access()
        self._open = open
        self._stores: OrderedDict[StoreSettings, Store] = OrderedDict()
        self._inputs: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def config_namespace(self) -> str:
        """Where the operator's own storage Secret is."""
        return self._access.config_namespace

    def reach(self, settings: StorageSettings | None) -> bool:
        """Whether the controller itself can use this store; reads no more than the settings."""
        if settings is None or settings.problem:
            return False
        if settings.provider == "s3":
            return self._access.secrets is not None and _has_s3()
        if not settings.volume_claim_name:
            return False  # an emptyDir ends with its pod
        return self._access.claims is not None or _is_folder(settings.path)

    async def call(
        self, settings: StorageSettings, namespace: str, work: Callable[[Store], T], *, timeout: float = TIMEOUT
    ) -> T:
        """What `work` returns; it runs in a thread, with the store of a workload in `namespace`.

        Raises StorageError; one that takes too long counts as BackendUnavailable, and its thread is left behind.
        """
        wanted = await self._settings(settings, namespace)

        def job() -> T:
            return work(self._store(wanted))

        future = asyncio.get_running_loop().run_in_executor(self._executor(), job)
        try:
            return await asyncio.wait_for(future, timeout)
        except TimeoutError as error:
            raise BackendUnavailable(f"the payload store did not answer within {timeout:g}s") from error

    def remembered(self, uid: str) -> dict[str, Any] | None:
        """The inputs of a run that were read before. They are written once, before the run, and never change."""
        return self._inputs.get(uid)

    def remember(self, uid: str, inputs: dict[str, Any]) -> None:
        """Keeps small inputs of the runs that were looked at last."""
        if uid and len(msgspec.json.encode(inputs)) <= MAX_ENTRY_BYTES:
            self._inputs[uid] = inputs
            while len(self._inputs) > _REMEMBERED:
                self._inputs.popitem(last=False)

    async def read(self, store: StorageSettings, namespace: str, path: str) -> bytes | None:
        """A whole small object, such as a cached output; None when there is none. Raises StorageError."""

        def work(opened: Store) -> bytes | None:
            try:
                return opened.get(path, MAX_ENTRY_BYTES)
            except PayloadNotFound:
                return None

        return await self.call(store, namespace, work) if self.reach(store) else None

    async def write(self, store: StorageSettings, namespace: str, path: str, body: bytes) -> None:
        """Stores a whole small object. Raises StorageError."""
        if not self.reach(store):
            raise StorageMissing(f"the operator itself does not reach the {store.provider} storage of this step")
        await self.call(store, namespace, lambda opened: opened.put(path, Body.of(body, CONTENT_JSON)))

    async def close(self) -> None:
        """Gives back threads, and with the stores their connections."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        self._stores.clear()

    async def _settings(self, settings: StorageSettings, namespace: str) -> StoreSettings:
        if settings.provider == "file":
            return FileSettings(path=self._folder(settings, namespace))
        found = await self._credentials(settings, namespace)
        key, secret, token = credentials(found)
        return S3Settings(
            bucket=settings.bucket,
            region=settings.region or DEFAULT_REGION,
            endpoint=with_scheme(settings.endpoint),
            path_style=settings.use_path_style or bool(settings.endpoint),
            access_key_id=key,
            secret_access_key=secret,
            session_token=token,
            ambient=ambient(os.environ) if not key else {},
            timeout=min(float(settings.timeout_seconds or TIMEOUT), TIMEOUT),
            max_retries=2,
            max_backoff=2.0,
        )

    def _folder(self, settings: StorageSettings, namespace: str) -> Path:
        if self._access.claims is None:
            return Path(settings.path)
        folder = self._access.claims / namespace / settings.volume_claim_name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def _credentials(self, settings: StorageSettings, namespace: str) -> Mapping[str, str]:
        if not settings.secret_name:
            return {}
        where = self._access.config_namespace if settings.is_operator_secret else namespace
        assert self._access.secrets is not None
        secret = await get_or_none(self._access.secrets, Secret, ObjectKey(where, settings.secret_name))
        if secret is None:
            raise AccessDenied(f'Secret "{where}/{settings.secret_name}" with the storage credentials does not exist')
        found = decoded(secret.object)
        if not (found.get(env.AWS_ACCESS_KEY_ID) and found.get(env.AWS_SECRET_ACCESS_KEY)):
            raise AccessDenied(
                f'Secret "{where}/{settings.secret_name}" must have the keys {env.AWS_ACCESS_KEY_ID} and '
                f"{env.AWS_SECRET_ACCESS_KEY}"
            )
        return found

    def _store(self, settings: StoreSettings) -> Store:
        """Called in threads; making one twice at the same moment only costs a connection."""
        store = self._stores.get(settings)
        if store is None:
            store = self._stores[settings] = self._open(settings)
            while len(self._stores) > _OPEN_STORES:
                self._stores.popitem(last=False)
        return store

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="payloads")
        return self._pool


def decoded(secret: Mapping[str, Any]) -> dict[str, str]:
    """The data of a Secret as text; what is no text is left out."""
    found = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            found[key] = base64.b64decode(value, validate=True).decode().strip()
        except (binascii.Error, UnicodeDecodeError):
            continue
    return found


@cache
def _has_s3() -> bool:
    return importlib.util.find_spec("obstore") is not None


@cache
def _is_folder(path: str) -> bool:
    """Asked once: a volume is mounted before the process starts, or never."""
    return Path(path).is_dir()
