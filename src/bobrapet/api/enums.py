"""The closed sets of words of the API. Values are case-sensitive and appear on the wire as written here."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Word(StrEnum):
    """One of a closed set of words."""

    __hash__ = str.__hash__  # Enum has one of its own, in Python, and words are keys everywhere


class Phase(Word):
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


class StopMode(Word):
    SUCCESS = "success"
    FAILURE = "failure"
    CANCEL = "cancel"


class StepType(Word):
    CONDITION = "condition"
    PARALLEL = "parallel"
    SLEEP = "sleep"
    STOP = "stop"
    WAIT = "wait"
    EXECUTE_STORY = "executeStory"
    GATE = "gate"


class TransportMode(Word):
    HOT = "hot"
    FALLBACK = "fallback"


class WorkloadMode(Word):
    JOB = "job"
    DEPLOYMENT = "deployment"
    STATEFUL_SET = "statefulset"


class BackoffStrategy(Word):
    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    CONSTANT = "constant"


class UpdateStrategyType(Word):
    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"


class ValidationStatus(Word):
    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    PENDING = "pending"


class ExitClass(Word):
    """How an exit is read: `retry` and `rateLimited` may run again, `terminal` never; `unknown`: lost pod."""

    SUCCESS = "success"
    RETRY = "retry"
    TERMINAL = "terminal"
    RATE_LIMITED = "rateLimited"
    UNKNOWN = "unknown"


class SecretMountType(Word):
    ENV = "env"
    FILE = "file"
    BOTH = "both"


class StoryPattern(Word):
    """`streaming` and `realtime` are two names of one pattern."""

    BATCH = "batch"
    STREAMING = "streaming"
    REALTIME = "realtime"

    @property
    def is_streaming(self) -> bool:
        return self is not StoryPattern.BATCH


class ConcurrencyMode(Word):
    SERIAL = "serial"
    CANCEL_PREVIOUS = "cancelPrevious"
    PARALLEL = "parallel"


class ConcurrencyScope(Word):
    STORY_RUN = "storyrun"
    PARTICIPANT = "participant"


class TriggerDedupeMode(Word):
    NONE = "none"
    TOKEN = "token"
    KEY = "key"


class CacheMode(Word):
    READ = "read"
    WRITE = "write"
    READ_WRITE = "readWrite"


class GateDecisionState(Word):
    PENDING = "Pending"
    APPROVED = "Approved"
    REJECTED = "Rejected"


class HandoffPhase(Word):
    """`requested` and `pending` are two names of one phase; absent means `none`."""

    NONE = "none"
    REQUESTED = "requested"
    PENDING = "pending"
    DRAINING = "draining"
    CUTOVER = "cutover"
    READY = "ready"


class StructuredErrorType(Word):
    TIMEOUT = "timeout"
    STORAGE = "storage_error"
    SERIALIZATION = "serialization_error"
    VALIDATION = "validation_error"
    INITIALIZATION = "initialization_error"
    EXECUTION = "execution_error"
    UNKNOWN = "unknown"


class StoryTriggerDecision(Word):
    PENDING = "Pending"
    CREATED = "Created"
    REUSED = "Reused"
    REJECTED = "Rejected"


class EffectClaimCompletionStatus(Word):
    COMPLETED = "completed"
    RELEASED = "released"
    ABANDONED = "abandoned"


class EffectClaimPhase(Word):
    RESERVED = "Reserved"
    COMPLETED = "Completed"
    RELEASED = "Released"
    ABANDONED = "Abandoned"


class MediaDirection(Word):
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    BIDIRECTIONAL = "bidirectional"


class AudioCodecName(Word):
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


class VideoCodecName(Word):
    H264 = "h264"
    VP8 = "vp8"
    VP9 = "vp9"
    AV1 = "av1"
    RAW_YUV420 = "raw-yuv420"
    RAW_RGB = "raw-rgb"
    RAW_BGR = "raw-bgr"


class BufferDropPolicy(Word):
    DROP_NEWEST = "drop_newest"
    DROP_OLDEST = "drop_oldest"


class FlowControlMode(Word):
    NONE = "none"
    CREDITS = "credits"
    WINDOW = "window"


class OrderingMode(Word):
    NONE = "none"
    PER_STREAM = "per_stream"
    PER_PARTITION = "per_partition"


class DeliverySemantics(Word):
    BEST_EFFORT = "best_effort"
    AT_LEAST_ONCE = "at_least_once"


class ReplayMode(Word):
    NONE = "none"
    MEMORY = "memory"
    DURABLE = "durable"


class TransportLaneKind(Word):
    AUDIO = "audio"
    VIDEO = "video"
    BINARY = "binary"
    PAYLOAD = "payload"
    CONTROL = "control"


class TransportLaneDirection(Word):
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    BIDIRECTIONAL = "bidirectional"


class TransportFanInMode(Word):
    ALL = "all"
    ANY = "any"
    QUORUM = "quorum"


class TransportRoutingMode(Word):
    AUTO = "auto"
    HUB = "hub"
    P2P = "p2p"


class TransportFanOutMode(Word):
    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"


class TransportRoutingRuleAction(Word):
    ALLOW = "allow"
    DENY = "deny"


class TransportPartitionMode(Word):
    NONE = "none"
    PRESERVE = "preserve"
    HASH = "hash"


class TransportUpgradeStrategy(Word):
    ROLLING = "rolling"
    DRAIN_CUTOVER = "drain_cutover"
    BLUE_GREEN = "blue_green"


class TransportRecordingMode(Word):
    OFF = "off"
    METADATA = "metadata"
    PAYLOAD = "payload"


# The sets below are plain strings in the CRDs, as in the Go ones; admission compares them.


class TracingSamplePolicy(Word):
    RATE = "rate"
    RANDOM = "random"
    ALWAYS = "always"
    NEVER = "never"


class OnTimeout(Word):
    FAIL = "fail"
    SKIP = "skip"


class PullPolicy(Word):
    ALWAYS = "Always"
    NEVER = "Never"
    IF_NOT_PRESENT = "IfNotPresent"


class RestartPolicy(Word):
    ALWAYS = "Always"
    NEVER = "Never"
    ON_FAILURE = "OnFailure"


class ServiceType(Word):
    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class PodManagementPolicy(Word):
    ORDERED_READY = "OrderedReady"
    PARALLEL = "Parallel"


class CrossNamespacePolicy(Word):
    DENY = "deny"
    GRANT = "grant"
    ALLOW = "allow"


class StorageProvider(Word):
    S3 = "s3"
    FILE = "file"


class ConditionStatus(Word):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
