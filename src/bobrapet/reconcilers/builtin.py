"""Built-in kinds that reconcilers touch; they are handled as dicts."""

from __future__ import annotations

from typing import Final

from bobrapet.runtime.client.object import Unstructured

Job: Final = Unstructured.of("batch/v1", "Job")
Pod: Final = Unstructured.of("v1", "Pod")
Secret: Final = Unstructured.of("v1", "Secret")
ServiceAccount: Final = Unstructured.of("v1", "ServiceAccount")
Role: Final = Unstructured.of("rbac.authorization.k8s.io/v1", "Role")
RoleBinding: Final = Unstructured.of("rbac.authorization.k8s.io/v1", "RoleBinding")
ConfigMap: Final = Unstructured.of("v1", "ConfigMap")

JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"
