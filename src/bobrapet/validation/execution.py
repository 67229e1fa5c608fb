"""Checks of execution settings: every duration, quantity and word that the CRD leaves open (spec admission A11.6)."""

from __future__ import annotations

from bobrapet.api.enums import BackoffStrategy, PullPolicy, RestartPolicy
from bobrapet.api.execution import (
    ExecutionOverrides,
    ExecutionPolicy,
    JobPolicy,
    ResourceQuantities,
    RetryPolicy,
    StepExecutionOverrides,
    StoragePolicy,
    WorkloadSpec,
)
from bobrapet.config.rights import refusal_of_author
from bobrapet.validation.faults import Findings
from bobrapet.validation.values import check_duration, check_quantity, check_word


def check_retry(findings: Findings, path: str, retry: RetryPolicy | None) -> None:
    if retry is None:
        return
    check_duration(findings, f"{path}.delay", retry.delay)
    check_duration(findings, f"{path}.maxDelay", retry.max_delay)
    check_word(findings, f"{path}.backoff", retry.backoff, BackoffStrategy, "backoff")


def check_storage(findings: Findings, path: str, storage: StoragePolicy | None) -> None:
    if storage is None:
        return
    if storage.s3 is not None and storage.file is not None:
        findings.invalid(path, "sets both s3 and file; payloads are kept in one place")
    if storage.s3 is not None and not storage.s3.bucket.strip():
        findings.required(f"{path}.s3.bucket", "required; the name of the bucket")
    if storage.file is not None and storage.file.volume_claim_name and storage.file.empty_dir is not None:
        findings.invalid(f"{path}.file", "sets both volumeClaimName and emptyDir; one volume holds the payloads")
    if storage.file is not None and storage.s3 is None and not storage.file.volume_claim_name:
        findings.warn(
            f"{path}.file",
            "has no volumeClaimName: what a step stores ends with its pod, and no later step can read it",
        )
    if storage.timeout_seconds is not None and storage.timeout_seconds < 0:
        findings.invalid(f"{path}.timeoutSeconds", f"must be at least 0, is {storage.timeout_seconds}")


def check_overrides(findings: Findings, path: str, overrides: ExecutionOverrides | None) -> None:
    if overrides is None:
        return
    check_duration(findings, f"{path}.timeout", overrides.timeout)
    check_retry(findings, f"{path}.retry", overrides.retry)
    check_word(findings, f"{path}.imagePullPolicy", overrides.image_pull_policy, PullPolicy, "pull policy")
    if overrides.max_inline_size is not None and overrides.max_inline_size < 0:
        findings.invalid(f"{path}.maxInlineSize", f"must be at least 0, is {overrides.max_inline_size}")
    check_storage(findings, f"{path}.storage", overrides.storage)


def check_rights(findings: Findings, path: str, overrides: ExecutionOverrides | None, owner: str) -> None:
    """Warns of rules that the generated Role will not get; `owner` ("an Engram") is who asks for them."""
    if overrides is None or overrides.rbac is None:
        return
    for index, rule in enumerate(overrides.rbac.rules):
        if reason := refusal_of_author(rule, owner):
            findings.warn(f"{path}.rbac.rules[{index}]", f"will not be granted: {reason}")


def check_step_overrides(findings: Findings, path: str, overrides: StepExecutionOverrides | None) -> None:
    if overrides is None:
        return
    check_quantity(findings, f"{path}.cpuRequest", overrides.cpu_request)
    check_quantity(findings, f"{path}.cpuLimit", overrides.cpu_limit)
    check_quantity(findings, f"{path}.memoryRequest", overrides.memory_request)
    check_quantity(findings, f"{path}.memoryLimit", overrides.memory_limit)
    check_word(findings, f"{path}.restartPolicy", overrides.restart_policy, RestartPolicy, "restart policy")


def check_policy(findings: Findings, path: str, policy: ExecutionPolicy | None) -> None:
    if policy is None:
        return
    if policy.resources is not None:
        at = f"{path}.resources"
        check_quantity(findings, f"{at}.cpuRequest", policy.resources.cpu_request)
        check_quantity(findings, f"{at}.cpuLimit", policy.resources.cpu_limit)
        check_quantity(findings, f"{at}.memoryRequest", policy.resources.memory_request)
        check_quantity(findings, f"{at}.memoryLimit", policy.resources.memory_limit)
    _check_job(findings, f"{path}.job", policy.job)
    check_retry(findings, f"{path}.retry", policy.retry)
    check_duration(findings, f"{path}.timeout", policy.timeout)
    check_storage(findings, f"{path}.storage", policy.storage)


def _check_job(findings: Findings, path: str, job: JobPolicy | None) -> None:
    if job is None:
        return
    check_word(findings, f"{path}.restartPolicy", job.restart_policy, RestartPolicy, "restart policy")
    if job.backoff_limit is not None and job.backoff_limit < 0:
        findings.invalid(f"{path}.backoffLimit", f"must be at least 0, is {job.backoff_limit}")


def check_workload(findings: Findings, path: str, workload: WorkloadSpec | None) -> None:
    if workload is None or workload.resources is None:
        return
    for name, amounts in (("requests", workload.resources.requests), ("limits", workload.resources.limits)):
        _check_amounts(findings, f"{path}.resources.{name}", amounts)


def _check_amounts(findings: Findings, path: str, amounts: ResourceQuantities | None) -> None:
    if amounts is None:
        return
    check_quantity(findings, f"{path}.cpu", amounts.cpu)
    check_quantity(findings, f"{path}.memory", amounts.memory)
    check_quantity(findings, f"{path}.ephemeralStorage", amounts.ephemeral_storage)
