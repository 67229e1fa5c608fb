"""Which payload store a layer asks for, in one shape for the operator, templates and policies (spec workloads 10)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from bobrapet.api.catalog import TemplateStoragePolicy
    from bobrapet.api.execution import StoragePolicy
    from bobrapet.config.operator import OperatorConfig

DEFAULT_PATH: Final = "/var/run/bubu/storage"

_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageSettings:
    """One payload store."""

    provider: Literal["s3", "file"]
    bucket: str = ""
    region: str = ""
    endpoint: str = ""
    use_path_style: bool = False
    secret_name: str = ""
    """Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and perhaps AWS_SESSION_TOKEN. Empty: none."""
    is_operator_secret: bool = False
    """Whether the Secret is the operator's own, which is copied into the workload's namespace."""
    service_account_annotations: Mapping[str, str] = field(default_factory=dict)
    path: str = DEFAULT_PATH
    volume_claim_name: str = ""
    empty_dir: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: int | None = None
    problem: str = ""
    """Why it cannot be used; empty: it can."""

    @property
    def is_ephemeral(self) -> bool:
        """Whether what is stored ends with the pod that stored it."""
        return self.provider == "file" and not self.volume_claim_name


def operator_storage(config: OperatorConfig) -> StorageSettings | None:
    """The operator's default store; one that is only half configured is none (R-13.2)."""
    storage = config.storage
    timeout = config.engram.storage_timeout_seconds
    if storage.provider == "s3" and storage.s3.bucket:
        return StorageSettings(
            provider="s3",
            bucket=storage.s3.bucket,
            region=storage.s3.region,
            endpoint=storage.s3.endpoint,
            use_path_style=storage.s3.use_path_style,
            secret_name=storage.s3.auth_secret_name,
            is_operator_secret=bool(storage.s3.auth_secret_name),
            timeout_seconds=timeout,
        )
    if storage.provider == "file" and storage.file.path and storage.file.volume_claim_name:
        return StorageSettings(
            provider="file",
            path=storage.file.path,
            volume_claim_name=storage.file.volume_claim_name,
            timeout_seconds=timeout,
        )
    return None


def policy_storage(policy: StoragePolicy | None) -> StorageSettings | None:
    """The store of an Engram, a Story or a step."""
    if policy is None:
        return None
    if policy.s3 is not None:
        authentication = policy.s3.authentication
        return StorageSettings(
            provider="s3",
            bucket=policy.s3.bucket,
            region=policy.s3.region or "",
            endpoint=policy.s3.endpoint or "",
            use_path_style=bool(policy.s3.use_path_style),
            secret_name=(authentication.secret_ref.name or "") if authentication.secret_ref is not None else "",
            service_account_annotations=dict(authentication.service_account_annotations),
            timeout_seconds=policy.timeout_seconds,
            problem="storage sets both s3 and file; choose one" if policy.file is not None else "",
        )
    if policy.file is not None:
        empty_dir = policy.file.empty_dir
        return StorageSettings(
            provider="file",
            path=policy.file.path or DEFAULT_PATH,
            volume_claim_name=policy.file.volume_claim_name or "",
            empty_dir=empty_dir.to_wire() if empty_dir is not None else {},
            timeout_seconds=policy.timeout_seconds,
        )
    return None


def template_storage(policy: TemplateStoragePolicy | None) -> StorageSettings | None:
    """The store that a template recommends; one with impossible names is none (R-13.1)."""
    if policy is None:
        return None
    if policy.s3 is not None:
        credentials = policy.s3.credentials
        secret = (credentials.secret_ref.name or "") if credentials and credentials.secret_ref is not None else ""
        if not _SUBDOMAIN.fullmatch(policy.s3.bucket) or (secret and not _SUBDOMAIN.fullmatch(secret)):
            return None
        return StorageSettings(
            provider="s3",
            bucket=policy.s3.bucket,
            region=policy.s3.region or "",
            endpoint=policy.s3.endpoint or "",
            use_path_style=bool(policy.s3.use_path_style),
            secret_name=secret,
            service_account_annotations=dict(credentials.service_account_annotations) if credentials else {},
            timeout_seconds=policy.timeout_seconds,
            problem="storage sets both s3 and file; choose one" if policy.file is not None else "",
        )
    if policy.file is not None:
        empty_dir = policy.file.empty_dir
        return StorageSettings(
            provider="file",
            path=policy.file.mount_path or DEFAULT_PATH,
            volume_claim_name=policy.file.volume_claim_name or "",
            empty_dir=empty_dir.to_wire() if empty_dir is not None else {},
            timeout_seconds=policy.timeout_seconds,
        )
    return None
