"""The closed sets of words of the API. Values are case-sensitive and appear on the wire as written here."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Summary of a lifecycle; `status.conditions` is the canonical signal."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    FINISHED = "Finished"
    CANCELED = "Canceled"
    COMPENSATED = "Compensated"
    PAUSED = "Paused"
    BLOCKED = "Blocked"
    SCHEDULING = "Scheduling"
    TIMEOUT = "Timeout"
    ABORTED = "Aborted"
    SKIPPED = "Skipped"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen (a redrive aside)."""
        return self in TERMINAL_PHASES


TERMINAL_PHASES: Final = frozenset(
    {
        Phase.SUCCEEDED,
        Phase.FAILED,
        Phase.FINISHED,
        Phase.CANCELED,
        Phase.COMPENSATED,
        Phase.TIMEOUT,
        Phase.ABORTED,
        Phase.SKIPPED,
    }
)


class StopMode(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"
    CANCEL = "cancel"


class StepType(StrEnum):
    CONDITION = "condition"
    PARALLEL = "parallel"
    SLEEP = "sleep"
    STOP = "stop"
    WAIT = "wait"
    EXECUTE_STORY = "executeStory"
    GATE = "gate"


class TransportMode(StrEnum):
    HOT = "hot"
    FALLBACK = "fallback"


class WorkloadMode(StrEnum):
    JOB = "job"
    DEPLOYMENT = "deployment"
    STATEFUL_SET = "statefulset"


class BackoffStrategy(StrEnum):
    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    CONSTANT = "constant"


class UpdateStrategyType(StrEnum):
    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"


class ValidationStatus(StrEnum):
    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    PENDING = "pending"


class ExitClass(StrEnum):
    """How an exit is read: `retry` and `rateLimited` may run again, `terminal` never; `unknown`: lost pod."""

    SUCCESS = "success"
    RETRY = "retry"
    TERMINAL = "terminal"
    RATE_LIMITED = "rateLimited"
    UNKNOWN = "unknown"


class SecretMountType(StrEnum):
    ENV = "env"
    FILE = "file"
    BOTH = "both"


class StoryPattern(StrEnum):
    """`streaming` and `realtime` are two names of one pattern."""

    BATCH = "batch"
    STREAMING = "streaming"
    REALTIME = "realtime"

    @property
    def is_streaming(self) -> bool:
        return self is not StoryPattern.BATCH


class ConcurrencyMode(StrEnum):
    SERIAL = "serial"
    CANCEL_PREVIOUS = "cancelPrevious"
    PARALLEL = "parallel"


class ConcurrencyScope(StrEnum):
    STORY_RUN = "storyrun"
    PARTICIPANT = "participant"


class TriggerDedupeMode(StrEnum):
    NONE = "none"
    TOKEN = "token"
    KEY = "key"


class CacheMode(StrEnum):
    READ = "read"
    WRITE = "write"
    READ_WRITE = "readWrite"


class GateDecisionState(StrEnum):
    PENDING = "Pending"
    APPROVED = "Approved"
    REJECTED = "Rejected"


class HandoffPhase(StrEnum):
    """`requested` and `pending` are two names of one phase; absent means `none`."""

    NONE = "none"
    REQUESTED = "requested"
    PENDING = "pending"
    DRAINING = "draining"
    CUTOVER = "cutover"
    READY = "ready"


class StructuredErrorType(StrEnum):
    TIMEOUT = "timeout"
    STORAGE = "storage_error"
    SERIALIZATION = "serialization_error"
    VALIDATION = "validation_error"
    INITIALIZATION = "initialization_error"
    EXECUTION = "execution_error"
    UNKNOWN = "unknown"


class StoryTriggerDecision(StrEnum):
    PENDING = "Pending"
    CREATED = "Created"
    REUSED = "Reused"
    REJECTED = "Rejected"


class EffectClaimCompletionStatus(StrEnum):
    COMPLETED = "completed"
    RELEASED = "released"
    ABANDONED = "abandoned"


class EffectClaimPhase(StrEnum):
    RESERVED = "Reserved"
    COMPLETED = "Completed"
    RELEASED = "Released"
    ABANDONED = "Abandoned"


class MediaDirection(StrEnum):
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    BIDIRECTIONAL = "bidirectional"


class AudioCodecName(StrEnum):
    PCM16 = "pcm16"
    PCM24 = "pcm24"
    OPUS = "opus"
    G711_MU = "g711-mu"
    G711_A = "g711-a"
    G722 = "g722"
    AAC = "aac"
    MP3 = "mp3"
    FLAC = "flac"
    RAW = "raw"


class VideoCodecName(StrEnum):
    H264 = "h264"
    VP8 = "vp8"
    VP9 = "vp9"
    AV1 = "av1"
    RAW_YUV420 = "raw-yuv420"
    RAW_RGB = "raw-rgb"
    RAW_BGR = "raw-bgr"


class BufferDropPolicy(StrEnum):
    DROP_NEWEST = "drop_newest"
    DROP_OLDEST = "drop_oldest"


class FlowControlMode(StrEnum):
    NONE = "none"
    CREDITS = "credits"
    WINDOW = "window"


class OrderingMode(StrEnum):
    NONE = "none"
    PER_STREAM = "per_stream"
    PER_PARTITION = "per_partition"


class DeliverySemantics(StrEnum):
    BEST_EFFORT = "best_effort"
    AT_LEAST_ONCE = "at_least_once"


class ReplayMode(StrEnum):
    NONE = "none"
    MEMORY = "memory"
    DURABLE = "durable"


class TransportLaneKind(StrEnum):
    AUDIO = "audio"
    VIDEO = "video"
    BINARY = "binary"
    PAYLOAD = "payload"
    CONTROL = "control"


class TransportLaneDirection(StrEnum):
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    BIDIRECTIONAL = "bidirectional"


class TransportFanInMode(StrEnum):
    ALL = "all"
    ANY = "any"
    QUORUM = "quorum"


class TransportRoutingMode(StrEnum):
    AUTO = "auto"
    HUB = "hub"
    P2P = "p2p"


class TransportFanOutMode(StrEnum):
    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"


class TransportRoutingRuleAction(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class TransportPartitionMode(StrEnum):
    NONE = "none"
    PRESERVE = "preserve"
    HASH = "hash"


class TransportUpgradeStrategy(StrEnum):
    ROLLING = "rolling"
    DRAIN_CUTOVER = "drain_cutover"
    BLUE_GREEN = "blue_green"


class TransportRecordingMode(StrEnum):
    OFF = "off"
    METADATA = "metadata"
    PAYLOAD = "payload"


# The sets below are plain strings in the CRDs, as in the Go ones; admission compares them.


class TracingSamplePolicy(StrEnum):
    RATE = "rate"
    RANDOM = "random"
    ALWAYS = "always"
    NEVER = "never"


class OnTimeout(StrEnum):
    FAIL = "fail"
    SKIP = "skip"


class PullPolicy(StrEnum):
    ALWAYS = "Always"
    NEVER = "Never"
    IF_NOT_PRESENT = "IfNotPresent"


class RestartPolicy(StrEnum):
    ALWAYS = "Always"
    NEVER = "Never"
    ON_FAILURE = "OnFailure"


class ServiceType(StrEnum):
    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class PodManagementPolicy(StrEnum):
    ORDERED_READY = "OrderedReady"
    PARALLEL = "Parallel"


class CrossNamespacePolicy(StrEnum):
    DENY = "deny"
    GRANT = "grant"
    ALLOW = "allow"


class StorageProvider(StrEnum):
    S3 = "s3"
    FILE = "file"


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
