"""The few shapes of Kubernetes core that our fields embed (spec api 4.16)."""

from typing import Annotated, ClassVar

from bobrapet.api.wire import (
    Int32,
    Int64,
    IntOrQuantity,
    IntOrString,
    Items,
    Map,
    Model,
    Schema,
    unset_items,
    unset_map,
)

_Atomic = Schema(list_type="atomic")
AtomicStrings = Annotated[Items[str], _Atomic]


class Toleration(Model):
    """Lets pods run on nodes with a matching taint."""

    key: str | None = None
    """Taint key. Empty with operator Exists: every taint."""
    operator: str | None = None
    """Exists or Equal. Default: Equal."""
    value: str | None = None
    """Taint value that Equal compares with."""
    effect: str | None = None
    """NoSchedule, PreferNoSchedule or NoExecute. Empty: every effect."""
    toleration_seconds: Int64 | None = None
    """Seconds that a NoExecute taint is tolerated. Unset: for ever."""


class PolicyRule(Model):
    """One RBAC rule: these verbs on these resources."""

    verbs: AtomicStrings
    """Verbs such as get, list, watch; * is every verb."""
    api_groups: AtomicStrings = unset_items()
    """API groups of the resources; an empty string is the core group."""
    resources: AtomicStrings = unset_items()
    """Resources in plural, with subresource after a slash."""
    resource_names: AtomicStrings = unset_items()
    """Names of single objects. Empty: all objects."""
    non_resource_urls: AtomicStrings = unset_items(alias="nonResourceURLs")
    """URL paths that are no resources."""


class EmptyDirVolumeSource(Model):
    """A volume that lives as long as the pod."""

    medium: str | None = None
    """Memory for tmpfs. Default: the node's disk."""
    size_limit: IntOrQuantity | None = None
    """Largest total size, as a quantity. Default: no limit."""


class ExecAction(Model):
    """A command run in the container; exit code 0 is healthy."""

    command: AtomicStrings = unset_items()
    """The command and its arguments; no shell in between."""


class GRPCAction(Model):
    """A call of the gRPC health service."""

    port: Int32
    """Port of the gRPC service, 1 to 65535."""
    service: Annotated[str, Schema(default="")] | None = None
    """Service name put into the health request. Default: empty."""


class HTTPHeader(Model):
    """A header of a probe's request."""

    name: str
    """Header name."""
    value: str
    """Header value."""


class HTTPGetAction(Model):
    """A GET request; status 200 to 399 is healthy."""

    path: str | None = None
    """Path of the request. Default: /."""
    host: str | None = None
    """Host to connect to. Default: the pod's address."""
    scheme: str | None = None
    """HTTP or HTTPS. Default: HTTP."""
    port: IntOrString
    """Port number or port name."""
    http_headers: Annotated[Items[HTTPHeader], _Atomic] = unset_items()
    """Headers of the request."""


class TCPSocketAction(Model):
    """A TCP connection; an accepted one is healthy."""

    host: str | None = None
    """Host to connect to. Default: the pod's address."""
    port: IntOrString
    """Port number or port name."""


class Probe(Model):
    """How to find out whether a container is healthy. Exactly one of exec, grpc, httpGet and tcpSocket."""

    exec: ExecAction | None = None
    """Runs a command in the container."""
    grpc: GRPCAction | None = None
    """Calls the gRPC health service."""
    http_get: HTTPGetAction | None = None
    """Sends an HTTP GET request."""
    tcp_socket: TCPSocketAction | None = None
    """Opens a TCP connection."""
    initial_delay_seconds: Int32 | None = None
    """Seconds after the container's start before the first probe. Default: 0."""
    timeout_seconds: Int32 | None = None
    """Seconds after which a probe fails. Default: 1."""
    period_seconds: Int32 | None = None
    """Seconds between probes. Default: 10."""
    success_threshold: Int32 | None = None
    """Successes in a row that make the container healthy again. Default: 1."""
    failure_threshold: Int32 | None = None
    """Failures in a row that make the container unhealthy. Default: 3."""
    termination_grace_period_seconds: Int64 | None = None
    """Seconds between SIGTERM and SIGKILL after a failed probe. Default: the pod's."""


class LabelSelectorRequirement(Model):
    """A comparison of one label or field."""

    key: str
    """Key of the label or field."""
    operator: str
    """In, NotIn, Exists, DoesNotExist; for nodes also Gt and Lt."""
    values: AtomicStrings = unset_items()
    """Values to compare with."""


_Requirements = Annotated[Items[LabelSelectorRequirement], _Atomic]


class LabelSelector(Model):
    """Selects objects by their labels; all conditions must hold."""

    SCHEMA: ClassVar = Schema(map_type="atomic")

    match_labels: Map[str, str] = unset_map()
    """Labels that must have exactly these values."""
    match_expressions: _Requirements = unset_items()
    """Comparisons of labels."""


class NodeSelectorTerm(Model):
    """Selects nodes; all conditions must hold."""

    SCHEMA: ClassVar = Schema(map_type="atomic")

    match_expressions: _Requirements = unset_items()
    """Comparisons of node labels."""
    match_fields: _Requirements = unset_items()
    """Comparisons of node fields."""


class NodeSelector(Model):
    """Selects nodes; one term must match."""

    SCHEMA: ClassVar = Schema(map_type="atomic")

    node_selector_terms: Annotated[Items[NodeSelectorTerm], _Atomic]
    """Terms of which one must match."""


class PreferredSchedulingTerm(Model):
    """A preference for nodes."""

    weight: Int32
    """Weight of the preference, 1 to 100."""
    preference: NodeSelectorTerm
    """The preferred nodes."""


class NodeAffinity(Model):
    """Ties pods to nodes."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Nodes on which alone the pod may run."""
    preferred_during_scheduling_ignored_during_execution: Annotated[Items[PreferredSchedulingTerm], _Atomic] = (
        unset_items()
    )
    """Nodes on which the pod should rather run."""


class PodAffinityTerm(Model):
    """Pods near which, or far from which, a pod runs."""

    topology_key: str
    """Node label whose value says what near means."""
    label_selector: LabelSelector | None = None
    """The pods, by label."""
    namespace_selector: LabelSelector | None = None
    """Namespaces of the pods, by label."""
    namespaces: AtomicStrings = unset_items()
    """Namespaces of the pods. Default: the pod's own."""
    match_label_keys: AtomicStrings = unset_items()
    """Labels whose values are taken from the pod and added to the selector."""
    mismatch_label_keys: AtomicStrings = unset_items()
    """Labels whose values are taken from the pod and excluded by the selector."""


class WeightedPodAffinityTerm(Model):
    """A preference for nearness to, or distance from, other pods."""

    weight: Int32
    """Weight of the preference, 1 to 100."""
    pod_affinity_term: PodAffinityTerm
    """The other pods."""


class PodAffinity(Model):
    """Ties pods to, or keeps them from, other pods."""

    required_during_scheduling_ignored_during_execution: Annotated[Items[PodAffinityTerm], _Atomic] = unset_items()
    """Terms that must hold."""
    preferred_during_scheduling_ignored_during_execution: Annotated[Items[WeightedPodAffinityTerm], _Atomic] = (
        unset_items()
    )
    """Terms that should hold."""


class Affinity(Model):
    """Scheduling constraints of a pod."""

    node_affinity: NodeAffinity | None = None
    """Nodes to run on."""
    pod_affinity: PodAffinity | None = None
    """Pods to run near."""
    pod_anti_affinity: PodAffinity | None = None
    """Pods to keep away from."""
