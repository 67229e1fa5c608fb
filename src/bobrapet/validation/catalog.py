"""What makes a template valid beyond its CRD (spec api 6.2, admission A11.3, workloads 23).

Templates have no webhook: their controller writes these findings into `status.validationErrors`, and `bobrapet run`
refuses them.
"""

from __future__ import annotations

from typing import Any

from bobrapet.api import EngramTemplate, ImpulseTemplate
from bobrapet.api.catalog import TemplateExecutionPolicy, TemplateSpec, TemplateStoragePolicy
from bobrapet.api.enums import BackoffStrategy, PullPolicy, RestartPolicy, WorkloadMode
from bobrapet.validation.engram import check_delivery
from bobrapet.validation.faults import Findings, quoted
from bobrapet.validation.scene import Scene
from bobrapet.validation.values import check_duration, check_quantity, check_schema, check_word


def check_engram_template(template: EngramTemplate, scene: Scene, findings: Findings) -> None:
    """Adds to `findings` what is wrong with `template`."""
    _check_template(findings, template.spec)
    check_schema(findings, "spec.inputSchema", template.spec.input_schema, "inputSchema")
    check_schema(findings, "spec.outputSchema", template.spec.output_schema, "outputSchema")


def check_impulse_template(template: ImpulseTemplate, scene: Scene, findings: Findings) -> None:
    """Adds to `findings` what is wrong with `template`."""
    _check_template(findings, template.spec)
    for index, mode in enumerate(template.spec.supported_modes):
        if mode is WorkloadMode.JOB:
            findings.invalid(
                f"spec.supportedModes[{index}]",
                "must not be 'job': an Impulse is always on; use deployment or statefulset",
                mode,
            )
    check_schema(findings, "spec.contextSchema", template.spec.context_schema, "contextSchema")
    check_delivery(findings, "spec.deliveryPolicy", template.spec.delivery_policy)


def _check_template(findings: Findings, spec: TemplateSpec) -> None:
    if not spec.version.strip():
        findings.required("spec.version", "required; the version of the template")
    if not (spec.image or "").strip():
        findings.required("spec.image", "required; the container image of the component")
    check_schema(findings, "spec.configSchema", spec.config_schema, "configSchema")
    if spec.execution is not None:
        _check_execution(findings, "spec.execution", spec.execution)


def _check_execution(findings: Findings, path: str, policy: TemplateExecutionPolicy) -> None:
    if policy.images is not None:
        check_word(findings, f"{path}.images.pullPolicy", policy.images.pull_policy, PullPolicy, "pull policy")
    if policy.resources is not None:
        resources = policy.resources
        _check_pairs(
            findings,
            f"{path}.resources",
            (
                "defaultCPURequest",
                resources.default_cpu_request,
                "recommendedCpuRequest",
                resources.recommended_cpu_request,
            ),
            ("defaultCPULimit", resources.default_cpu_limit, "recommendedCpuLimit", resources.recommended_cpu_limit),
            (
                "defaultMemoryRequest",
                resources.default_memory_request,
                "recommendedMemoryRequest",
                resources.recommended_memory_request,
            ),
            (
                "defaultMemoryLimit",
                resources.default_memory_limit,
                "recommendedMemoryLimit",
                resources.recommended_memory_limit,
            ),
        )
        for name, value in resources.to_wire().items():
            check_quantity(findings, f"{path}.resources.{name}", value)
    if policy.security is not None:
        security = policy.security
        _check_pairs(
            findings,
            f"{path}.security",
            ("runAsNonRoot", security.run_as_non_root, "requiresNonRoot", security.requires_non_root),
            (
                "readOnlyRootFilesystem",
                security.read_only_root_filesystem,
                "requiresReadOnlyRoot",
                security.requires_read_only_root,
            ),
            ("runAsUser", security.run_as_user, "recommendedRunAsUser", security.recommended_run_as_user),
        )
    if policy.job is not None:
        job, at = policy.job, f"{path}.job"
        _check_pairs(
            findings,
            at,
            (
                "recommendedTTLSecondsAfterFinished",
                job.recommended_ttl_seconds_after_finished,
                "recommendedTtlSecondsAfterFinished",
                job.newer_ttl_seconds_after_finished,
            ),
        )
        check_word(
            findings, f"{at}.recommendedRestartPolicy", job.recommended_restart_policy, RestartPolicy, "restart policy"
        )
    if policy.retry is not None:
        at = f"{path}.retry"
        check_duration(findings, f"{at}.recommendedBaseDelay", policy.retry.recommended_base_delay)
        check_duration(findings, f"{at}.recommendedMaxDelay", policy.retry.recommended_max_delay)
        check_word(findings, f"{at}.recommendedBackoff", policy.retry.recommended_backoff, BackoffStrategy, "backoff")
    check_duration(findings, f"{path}.timeout", policy.timeout)
    _check_storage(findings, f"{path}.storage", policy.storage)


def _check_storage(findings: Findings, path: str, storage: TemplateStoragePolicy | None) -> None:
    if storage is None:
        return
    if storage.s3 is not None and storage.file is not None:
        findings.invalid(path, "sets both s3 and file; payloads are kept in one place")
    if storage.s3 is not None:
        s3 = storage.s3
        _check_pairs(findings, f"{path}.s3", ("auth", s3.auth, "authentication", s3.authentication))
    if storage.file is not None:
        file = storage.file
        _check_pairs(findings, f"{path}.file", ("basePath", file.base_path, "path", file.path))


def _check_pairs(findings: Findings, path: str, *pairs: tuple[str, Any, str, Any]) -> None:
    """Two names of one field must agree when both are given."""
    for seed_name, seed, newer_name, newer in pairs:
        if seed is not None and newer is not None and seed != newer:
            findings.invalid(
                f"{path}.{newer_name}",
                f"{seed_name} and {newer_name} are two names of one field and differ "
                f"({quoted(seed)} and {quoted(newer)}); keep one",
            )
