"""EngramTemplate and ImpulseTemplate (catalog.bubustack.io): contracts of components (spec api 4.13, 4.14, 5.4, 5.5).

Where the seed and the newer Go types name a field differently, both are read (spec api D2): the attribute pairs stand
side by side, and a property gives the value that counts.
"""

from typing import Annotated, ClassVar, TypeVar

from pydantic import Field

from bobrapet.api.core import EmptyDirVolumeSource, Probe
from bobrapet.api.enums import SecretMountType, ValidationStatus, WorkloadMode
from bobrapet.api.execution import RBACRules, S3Authentication
from bobrapet.api.meta import Conditions, KubernetesObject, ObservedStatus, Spec
from bobrapet.api.trigger import TriggerDeliveryPolicy
from bobrapet.api.wire import (
    Bool,
    Duration,
    Int,
    Int32,
    Int64,
    Items,
    JSONObject,
    Map,
    Model,
    Quantity,
    Rule,
    Schema,
    unset_items,
    unset_map,
)

_T = TypeVar("_T")


class SecretDefinition(Model):
    """A secret that the component uses."""

    required: Bool | None = None
    """Whether an instance must bind it. Default: false."""
    description: str | None = None
    """What the secret is for."""
    mount_type: SecretMountType | None = None
    """env, file or both. Default: env."""
    env_prefix: str | None = None
    """Prefix of the environment variables, used as it is written, without separator. Default: the logical name and an
    underscore."""
    mount_path: str | None = None
    """Directory of the files, for file and both."""
    expected_keys: Items[str] = unset_items()
    """Keys that the Secret should have."""


class TemplateImagePolicy(Model):
    """How the image is pulled."""

    pull_policy: str | None = None
    """Always, Never or IfNotPresent. Default: the operator's."""


class TemplateResourcePolicy(Model):
    """Resources that the component's author recommends."""

    default_cpu_request: Quantity | None = Field(default=None, alias="defaultCPURequest")
    """CPU request, as a quantity. Default: the operator's."""
    default_cpu_limit: Quantity | None = Field(default=None, alias="defaultCPULimit")
    """CPU limit, as a quantity. Default: the operator's."""
    default_memory_request: Quantity | None = None
    """Memory request, as a quantity. Default: the operator's."""
    default_memory_limit: Quantity | None = None
    """Memory limit, as a quantity. Default: the operator's."""
    recommended_cpu_request: Quantity | None = None
    """Other name of defaultCPURequest."""
    recommended_cpu_limit: Quantity | None = None
    """Other name of defaultCPULimit."""
    recommended_memory_request: Quantity | None = None
    """Other name of defaultMemoryRequest."""
    recommended_memory_limit: Quantity | None = None
    """Other name of defaultMemoryLimit."""
    min_cpu_request: Quantity | None = None
    """CPU request below which the component does not work, as a quantity."""
    min_memory_request: Quantity | None = None
    """Memory request below which the component does not work, as a quantity."""

    @property
    def cpu_request(self) -> Quantity | None:
        return _either(self.default_cpu_request, self.recommended_cpu_request)

    @property
    def cpu_limit(self) -> Quantity | None:
        return _either(self.default_cpu_limit, self.recommended_cpu_limit)

    @property
    def memory_request(self) -> Quantity | None:
        return _either(self.default_memory_request, self.recommended_memory_request)

    @property
    def memory_limit(self) -> Quantity | None:
        return _either(self.default_memory_limit, self.recommended_memory_limit)


class TemplateSecurityPolicy(Model):
    """Security context that the component can live with."""

    run_as_non_root: Bool | None = None
    """Refuses to start as user 0. Default: the operator's."""
    read_only_root_filesystem: Bool | None = None
    """Mounts the root file system read-only. Default: the operator's."""
    run_as_user: Int64 | None = None
    """Numeric user id of the process. Default: the operator's."""
    drop_capabilities: Items[str] = unset_items()
    """Linux capabilities to drop. Default: the operator's (ALL)."""
    requires_non_root: Bool | None = None
    """Other name of runAsNonRoot."""
    requires_read_only_root: Bool | None = None
    """Other name of readOnlyRootFilesystem."""
    requires_no_privilege_escalation: Bool | None = None
    """Forbids a process to gain more rights than its parent. Default: the operator's."""
    recommended_run_as_user: Int64 | None = None
    """Other name of runAsUser."""

    @property
    def non_root(self) -> bool | None:
        return _either(self.run_as_non_root, self.requires_non_root)

    @property
    def read_only_root(self) -> bool | None:
        return _either(self.read_only_root_filesystem, self.requires_read_only_root)

    @property
    def user(self) -> int | None:
        return _either(self.run_as_user, self.recommended_run_as_user)


class TemplateJobPolicy(Model):
    """Job settings that the component's author recommends. They restart pods; retries of steps stand under retry."""

    recommended_backoff_limit: Int32 | None = None
    """Pod restarts before the Job fails. Default: the operator's (0)."""
    recommended_ttl_seconds_after_finished: Int32 | None = Field(
        default=None, alias="recommendedTTLSecondsAfterFinished"
    )
    """Seconds until a finished Job is deleted. Default: the operator's."""
    newer_ttl_seconds_after_finished: Int32 | None = Field(default=None, alias="recommendedTtlSecondsAfterFinished")
    """Other name of recommendedTTLSecondsAfterFinished."""
    recommended_restart_policy: str | None = None
    """Never or OnFailure. Default: the operator's (Never)."""

    @property
    def ttl_seconds_after_finished(self) -> int | None:
        return _either(self.recommended_ttl_seconds_after_finished, self.newer_ttl_seconds_after_finished)


class TemplateRetryPolicy(Model):
    """Retry behaviour that the component's author recommends; fills what nobody else sets."""

    recommended_max_retries: Int | None = None
    """Retries after the first attempt."""
    recommended_backoff: str | None = None
    """exponential, linear or constant."""
    recommended_base_delay: Duration | None = None
    """Delay before the first retry, as a Go duration."""
    recommended_max_delay: Duration | None = None
    """Upper limit of the delay, as a Go duration."""


class TemplateServicePort(Model):
    """A port of the component."""

    name: str | None = None
    """Name of the port."""
    protocol: str | None = None
    """TCP, UDP or SCTP. Default: TCP."""
    port: Int32
    """Port of the Service."""
    target_port: Int32
    """Port of the container."""


class TemplateServicePolicy(Model):
    """Ports that the component listens on."""

    ports: Items[TemplateServicePort] = unset_items()
    """Ports of the Service of a deployment or statefulset."""


class TemplateProbePolicy(Model):
    """Health checks of the container. Instances can switch them off, not change them."""

    liveness: Probe | None = None
    """Restarts the container when it fails."""
    readiness: Probe | None = None
    """Takes the pod out of its Service while it fails."""
    startup: Probe | None = None
    """Holds the other probes back until it succeeds."""


class TemplateS3Storage(Model):
    """An S3 bucket as payload store."""

    RULES: ClassVar = (
        Rule("T-S3AUTH", "has(self.authentication) || has(self.auth)", "authentication (or auth) is required"),
    )

    bucket: str
    """Name of the bucket."""
    auth: S3Authentication | None = None
    """Credentials; may be empty for ambient ones."""
    authentication: S3Authentication | None = None
    """Other name of auth."""
    region: str | None = None
    """Region of the bucket."""
    endpoint: str | None = None
    """URL of an S3-compatible service. Default: the cloud provider's."""
    use_path_style: Bool | None = None
    """Whether the bucket stands in the path instead of the host name. Default: false."""

    @property
    def credentials(self) -> S3Authentication | None:
        return _either(self.auth, self.authentication)


class TemplateFileStorage(Model):
    """A directory as payload store."""

    base_path: str | None = None
    """Mount path in the container. Default: /var/run/bubu/storage."""
    path: str | None = None
    """Other name of basePath."""
    volume_claim_name: str | None = None
    """PersistentVolumeClaim to mount. Excludes emptyDir."""
    empty_dir: EmptyDirVolumeSource | None = None
    """Volume that lives as long as the pod. Used when neither is given."""

    @property
    def mount_path(self) -> str | None:
        return _either(self.base_path, self.path)


class TemplateStoragePolicy(Model):
    """Where payloads too large to stand inline are kept, unless an instance or Story says otherwise."""

    s3: TemplateS3Storage | None = None
    """Keeps payloads in an S3 bucket."""
    file: TemplateFileStorage | None = None
    """Keeps payloads in a directory."""
    timeout_seconds: Int | None = None
    """Seconds after which a storage operation fails. Default: the operator's."""


class TemplateExecutionPolicy(Model):
    """Defaults of execution from the component's author; every other layer but the operator's is stronger."""

    images: TemplateImagePolicy | None = None
    """How the image is pulled."""
    resources: TemplateResourcePolicy | None = None
    """Resource requests and limits."""
    security: TemplateSecurityPolicy | None = None
    """Security context."""
    job: TemplateJobPolicy | None = None
    """Job settings."""
    retry: TemplateRetryPolicy | None = None
    """Retry behaviour of steps."""
    timeout: Duration | None = None
    """Longest execution time of a step, as a Go duration."""
    service: TemplateServicePolicy | None = None
    """Ports that the component listens on."""
    probes: TemplateProbePolicy | None = None
    """Health checks of the container."""
    storage: TemplateStoragePolicy | None = None
    """Payload store."""
    rbac: RBACRules | None = None
    """Rights that the component needs."""


class TemplateSpec(Spec):
    """What all templates say of their component."""

    version: str
    """Version of the template, for references that pin one. The controller refuses a blank one."""
    description: str | None = None
    """What the component does, in a sentence."""
    supported_modes: Annotated[Items[WorkloadMode], Schema(min_items=1, max_items=3)]
    """Ways in which the component can run: job, deployment, statefulset. Default of its instances: job if it is
    listed, else the first."""
    image: Annotated[str, Schema(max_length=512)] | None = None
    """Container image. The controller refuses a blank one."""
    config_schema: JSONObject | None = None
    """JSON Schema of the instance's with."""
    secret_schema: Map[str, SecretDefinition] = unset_map()
    """Secrets that the component uses, by logical name."""
    execution: TemplateExecutionPolicy | None = None
    """Defaults of execution."""


class TemplateStatus(ObservedStatus):
    """What the template controller observed."""

    conditions: Conditions = unset_items()
    """Lifecycle of the template: Ready."""
    usage_count: Int32 | None = None
    """Instances of this template."""
    validation_status: ValidationStatus | None = None
    """Outcome of validation by the controller: valid, invalid, unknown or pending."""
    validation_errors: Items[str] = unset_items()
    """What is wrong, for people."""


class EngramTemplateSpec(TemplateSpec):
    """The contract of a component that steps run."""

    input_schema: JSONObject | None = None
    """JSON Schema of a step's inputs."""
    output_schema: JSONObject | None = None
    """JSON Schema of a step's output."""
    declared_output_keys: Items[str] = unset_items()
    """Top-level keys that the output should have."""


class ImpulseTemplateSpec(TemplateSpec):
    """The contract of a component that starts Stories."""

    context_schema: JSONObject | None = None
    """JSON Schema of the event that starts a Story."""
    delivery_policy: TriggerDeliveryPolicy | None = None
    """Deduplication and retries of triggers, unless the Impulse says otherwise."""


_TEMPLATE_COLUMNS = (
    ("Description", "string", ".spec.description"),
    ("Version", "string", ".spec.version"),
    ("Usage", "integer", ".status.usageCount"),
    ("Status", "string", ".status.validationStatus"),
)


class EngramTemplate(KubernetesObject):
    """EngramTemplate is the contract of a component: image, schemas, secrets and defaults of execution."""

    API_VERSION: ClassVar = "catalog.bubustack.io/v1alpha1"
    KIND: ClassVar = "EngramTemplate"
    PLURAL: ClassVar = "engramtemplates"
    NAMESPACED: ClassVar = False
    SHORT_NAMES: ClassVar = ("etpl",)
    CATEGORIES: ClassVar = ("bubu", "ai", "catalog")
    COLUMNS: ClassVar = _TEMPLATE_COLUMNS

    spec: EngramTemplateSpec
    """The contract. Written by the component's author."""
    status: TemplateStatus = Field(default_factory=TemplateStatus)
    """What the template controller observed."""


class ImpulseTemplate(KubernetesObject):
    """ImpulseTemplate is the contract of a component that listens for events and starts Stories."""

    API_VERSION: ClassVar = "catalog.bubustack.io/v1alpha1"
    KIND: ClassVar = "ImpulseTemplate"
    PLURAL: ClassVar = "impulsetemplates"
    NAMESPACED: ClassVar = False
    SHORT_NAMES: ClassVar = ("itpl",)
    CATEGORIES: ClassVar = ("bubu", "ai", "catalog")
    COLUMNS: ClassVar = _TEMPLATE_COLUMNS

    spec: ImpulseTemplateSpec
    """The contract. Written by the component's author."""
    status: TemplateStatus = Field(default_factory=TemplateStatus)
    """What the template controller observed."""


def _either(seed: _T | None, newer: _T | None) -> _T | None:
    return seed if seed is not None else newer
