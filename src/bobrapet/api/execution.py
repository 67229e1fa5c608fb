"""How a component is run: retry, cache, storage, placement, security, resources, and the overrides of each layer.

Unset means inherit; zero is a value. Layers, weakest first: operator, template, Engram, Story policy, step, StepRun.
Rules: spec api 4.3 to 4.11, seed "Execution overrides reference".
"""

from typing import Annotated

from pydantic import Field

from bobrapet.api.core import Affinity, EmptyDirVolumeSource, PolicyRule, Toleration
from bobrapet.api.enums import BackoffStrategy, CacheMode, UpdateStrategyType, WorkloadMode
from bobrapet.api.meta import LocalObjectReference
from bobrapet.api.wire import (
    Bool,
    Duration,
    Int,
    Int32,
    Int64,
    Items,
    Map,
    Model,
    ObjectName,
    Quantity,
    Schema,
    unset_items,
    unset_map,
)


class RetryPolicy(Model):
    """When and how often a failed step is tried again."""

    max_retries: Annotated[Int32, Schema(default=3, minimum=0, maximum=10)] | None = None
    """Retries after the first attempt, 0 to 10. 0: never retry. Default: 3."""
    delay: Annotated[Duration, Schema(default="1s")] | None = None
    """Delay before the first retry, as a Go duration. Default: 1s."""
    max_delay: Duration | None = None
    """Upper limit of the delay after backoff, as a Go duration. Default: no limit of its own."""
    jitter: Annotated[Int32, Schema(minimum=0, maximum=100)] | None = None
    """Percent of the delay, 0 to 100, up to which a random part is added. Default: 0."""
    backoff: BackoffStrategy | None = None
    """How the delay grows: exponential doubles it, linear adds delay each time, constant repeats it. Default:
    exponential."""


class CachePolicy(Model):
    """Reuse of a step's output by later runs with the same key."""

    enabled: Bool | None = None
    """Whether the cache is used. Default: true when this block is present."""
    key: str | None = None
    """Cache key; may be a template. Default: a hash of the resolved inputs."""
    salt: str | None = None
    """Text mixed into the key; change it to forget what was cached."""
    mode: CacheMode | None = None
    """read only looks up, write only stores, readWrite does both. Default: readWrite."""
    ttl_seconds: Int32 | None = None
    """Seconds until an entry expires; 0 or less: never."""


class S3Authentication(Model):
    """Credentials for S3. Give at most one of the two."""

    service_account_annotations: Map[str, str] = unset_map()
    """Annotations of the generated ServiceAccount, for cloud identities bound to it."""
    secret_ref: LocalObjectReference | None = None
    """Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN if one is needed."""


class S3Storage(Model):
    """An S3 bucket as payload store."""

    bucket: str
    """Name of the bucket."""
    authentication: S3Authentication
    """Credentials; may be empty for ambient ones."""
    region: str | None = None
    """Region of the bucket."""
    endpoint: str | None = None
    """URL of an S3-compatible service. Default: the cloud provider's."""
    use_path_style: Bool | None = None
    """Whether the bucket stands in the path instead of the host name. Default: false."""


class FileStorage(Model):
    """A directory as payload store."""

    path: str | None = None
    """Mount path in the container. Default: /var/run/bubu/storage."""
    volume_claim_name: str | None = None
    """PersistentVolumeClaim to mount. Excludes emptyDir."""
    empty_dir: EmptyDirVolumeSource | None = None
    """Volume that lives as long as the pod. Used when neither is given."""


class StoragePolicy(Model):
    """Where payloads too large to stand inline are kept."""

    s3: S3Storage | None = None
    """Keeps payloads in an S3 bucket."""
    file: FileStorage | None = None
    """Keeps payloads in a directory."""
    timeout_seconds: Int | None = None
    """Seconds after which a storage operation fails. Default: the operator's."""


class PlacementPolicy(Model):
    """On which nodes pods run."""

    node_selector: Map[str, str] = unset_map()
    """Labels that a node must have."""
    tolerations: Items[Toleration] = unset_items()
    """Taints that are tolerated."""
    affinity: Affinity | None = None
    """Affinity to nodes and to other pods."""


class SecurityPolicy(Model):
    """Security context of the container."""

    run_as_non_root: Bool | None = None
    """Refuses to start as user 0. Default: true."""
    allow_privilege_escalation: Bool | None = None
    """Whether a process may gain more rights than its parent. Default: false."""
    read_only_root_filesystem: Bool | None = None
    """Mounts the root file system read-only. Default: true."""
    run_as_user: Int64 | None = None
    """Numeric user id of the process. Default: the operator's."""


class WorkloadSecurity(SecurityPolicy):
    """Security context of the container, and the Secrets it cannot start without."""

    required_secrets: Items[str] = unset_items()
    """Names of Secrets that must exist before the workload is created."""


class ProbeOverrides(Model):
    """Switches off probes that the template defines."""

    disable_liveness: Bool | None = None
    """Runs without the template's liveness probe. Default: false."""
    disable_readiness: Bool | None = None
    """Runs without the template's readiness probe. Default: false."""
    disable_startup: Bool | None = None
    """Runs without the template's startup probe. Default: false."""


class RBACRules(Model):
    """Rights of the generated Role."""

    rules: Items[PolicyRule] = unset_items()
    """Rules added to the Role of the generated ServiceAccount."""


class ExecutionOverrides(Model):
    """Changes of execution for one instance or step. Unset fields inherit; an explicit zero is kept."""

    timeout: Duration | None = None
    """Longest execution time, as a Go duration. Default: inherited."""
    retry: RetryPolicy | None = None
    """Retry behaviour. Default: inherited."""
    debug: Bool | None = None
    """Verbose logging of the component. Default: inherited."""
    security: WorkloadSecurity | None = None
    """Security context. Default: inherited."""
    placement: PlacementPolicy | None = None
    """Nodes to run on. Default: inherited."""
    image_pull_policy: str | None = None
    """Always, Never or IfNotPresent. Default: inherited."""
    max_inline_size: Int | None = None
    """Bytes up to which a payload stays inline; 0 offloads always. Default: inherited."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pod. Default: the generated one."""
    automount_service_account_token: Bool | None = None
    """Whether the API token is mounted into the pod. Default: inherited."""
    probes: ProbeOverrides | None = None
    """Probes to switch off."""
    storage: StoragePolicy | None = None
    """Payload store. Default: inherited."""
    cache: CachePolicy | None = None
    """Output cache. Default: inherited."""
    rbac: RBACRules | None = None
    """More rights for the pod's ServiceAccount."""


class StepExecutionOverrides(Model):
    """Changes of execution for one StepRun; the strongest layer."""

    cpu_request: Quantity | None = None
    """CPU request, as a quantity."""
    cpu_limit: Quantity | None = None
    """CPU limit, as a quantity."""
    memory_request: Quantity | None = None
    """Memory request, as a quantity."""
    memory_limit: Quantity | None = None
    """Memory limit, as a quantity."""
    placement: PlacementPolicy | None = None
    """Nodes to run on."""
    cache: CachePolicy | None = None
    """Output cache."""
    debug: Bool | None = None
    """Verbose logging of the component."""
    backoff_limit: Int32 | None = None
    """Pod restarts before the Job fails (Job.spec.backoffLimit)."""
    ttl_seconds_after_finished: Int32 | None = None
    """Seconds until a finished Job is deleted (Job.spec.ttlSecondsAfterFinished)."""
    restart_policy: str | None = None
    """Never or OnFailure: restart policy of the Job's pods."""


class ResourcePolicy(Model):
    """Resource requests and limits of the container."""

    cpu_request: Quantity | None = None
    """CPU request, as a quantity. Default: inherited."""
    memory_request: Quantity | None = None
    """Memory request, as a quantity. Default: inherited."""
    cpu_limit: Quantity | None = None
    """CPU limit, as a quantity. Default: inherited."""
    memory_limit: Quantity | None = None
    """Memory limit, as a quantity. Default: inherited."""


class JobPolicy(Model):
    """Settings of the Jobs that run steps, and how long finished runs are kept."""

    backoff_limit: Int32 | None = None
    """Pod restarts before the Job fails. Default: 0, since the step's retry policy decides about retries."""
    ttl_seconds_after_finished: Int32 | None = None
    """Seconds until StepRuns and pods of a finished StoryRun are removed. Default: 3600."""
    story_run_retention_seconds: Int32 | None = None
    """Seconds until a finished StoryRun is removed; 0 keeps it, -1 removes it right after its children. Default:
    86400."""
    restart_policy: str | None = None
    """Never or OnFailure: restart policy of the Job's pods. Default: Never."""


class RealtimePolicy(Model):
    """Life of streaming workloads."""

    ttl_seconds_after_finished: Int32 | None = None
    """Seconds until workloads of a finished streaming run are removed; 0 at once, below 0 never. Default: 0."""


class ExecutionPolicy(Model):
    """Defaults of execution for a Story or an Engram. Unset fields inherit; an explicit zero is kept."""

    resources: ResourcePolicy | None = None
    """Resource requests and limits."""
    security: SecurityPolicy | None = None
    """Security context."""
    placement: PlacementPolicy | None = None
    """Nodes to run on."""
    job: JobPolicy | None = None
    """Job settings and retention."""
    retry: RetryPolicy | None = None
    """Retry behaviour of steps."""
    timeout: Duration | None = None
    """Longest execution time of a step, as a Go duration."""
    max_recursion_depth: Annotated[Int, Schema(minimum=1)] | None = None
    """Nesting depth up to which payloads are offloaded and resolved. Default: 32."""
    service_account_name: str | None = None
    """ServiceAccount of the pods. Default: the generated one."""
    storage: StoragePolicy | None = None
    """Payload store."""
    cache: CachePolicy | None = None
    """Output cache."""
    realtime: RealtimePolicy | None = None
    """Streaming workloads."""


class TLSConfig(Model):
    """Certificates of a connection."""

    secret_ref: LocalObjectReference | None = None
    """Secret with tls.key and tls.crt."""
    use_default_tls: Bool | None = Field(default=None, alias="useDefaultTLS")
    """Uses the operator's default TLS Secret. Default: true when secretRef is unset."""


class JobWorkloadConfig(Model):
    """Settings of a Job workload, copied to the Job."""

    parallelism: Int32 | None = None
    """Pods that run at the same time."""
    completions: Int32 | None = None
    """Pods that must succeed."""
    backoff_limit: Int32 | None = None
    """Pod restarts before the Job fails."""
    active_deadline_seconds: Int64 | None = None
    """Seconds after which the whole Job is ended."""
    ttl_seconds_after_finished: Int32 | None = None
    """Seconds until the finished Job is deleted."""


class StatefulSetWorkloadConfig(Model):
    """Settings of a StatefulSet workload."""

    service_name: str
    """Headless Service that gives the pods their network names."""
    pod_management_policy: str | None = None
    """OrderedReady or Parallel. Default: OrderedReady."""


class ResourceQuantities(Model):
    """Amounts of resources."""

    cpu: Quantity | None = None
    """CPU, as a quantity."""
    memory: Quantity | None = None
    """Memory, as a quantity."""
    ephemeral_storage: Quantity | None = None
    """Local disk, as a quantity."""


class WorkloadResources(Model):
    """Resources and placement of a workload's pods."""

    requests: ResourceQuantities | None = None
    """What the scheduler reserves."""
    limits: ResourceQuantities | None = None
    """What the container may use at most."""
    placement: PlacementPolicy | None = None
    """Nodes to run on."""


class RollingUpdate(Model):
    """Pace of a rolling update."""

    max_unavailable: str | None = None
    """Pods that may be missing: a number or a percentage, written as a string."""
    max_surge: str | None = None
    """Pods above the wanted number: a number or a percentage, written as a string. Deployments only."""


class UpdateStrategy(Model):
    """How a changed workload replaces its pods."""

    type: UpdateStrategyType | None = None
    """RollingUpdate or Recreate. Default: RollingUpdate."""
    rolling_update: RollingUpdate | None = None
    """Pace of RollingUpdate."""


class WorkloadSpec(Model):
    """The Kubernetes workload that runs a component. Replica counts are left to autoscalers on purpose."""

    mode: WorkloadMode | None = None
    """job, deployment or statefulset. An Impulse is always on: absent means deployment, job is refused."""
    job: JobWorkloadConfig | None = None
    """Settings of mode job."""
    stateful_set: StatefulSetWorkloadConfig | None = None
    """Settings of mode statefulset."""
    resources: WorkloadResources | None = None
    """Resources and placement of the pods."""
    update_strategy: UpdateStrategy | None = None
    """How a changed workload replaces its pods."""


class ServiceExposure(Model):
    """The Service in front of a component; its ports come from the template."""

    type: str | None = None
    """ClusterIP, NodePort or LoadBalancer. Default: ClusterIP."""
    labels: Map[str, str] = unset_map()
    """Labels added to the Service."""
    annotations: Map[str, str] = unset_map()
    """Annotations added to the Service."""
