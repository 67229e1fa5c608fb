"""The nouns: pydantic models of the twelve kinds, their contracts, and the CRDs generated from them.

The kinds and the types they are made of stand here by name. By module: `conditions` (types, reasons and how to set
one), `labels` (labels, annotations, finalizers), `env` (environment of a component), `limits`, `duration`, `quantity`,
`names` (derived names and hashes), `timestamps`, `crds` (the generated CustomResourceDefinitions).

Names load when they are first used: a component that only needs the contract constants never loads pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bobrapet.api.catalog import EngramTemplate as EngramTemplate
    from bobrapet.api.catalog import EngramTemplateSpec as EngramTemplateSpec
    from bobrapet.api.catalog import ImpulseTemplate as ImpulseTemplate
    from bobrapet.api.catalog import ImpulseTemplateSpec as ImpulseTemplateSpec
    from bobrapet.api.catalog import SecretDefinition as SecretDefinition
    from bobrapet.api.catalog import TemplateExecutionPolicy as TemplateExecutionPolicy
    from bobrapet.api.catalog import TemplateFileStorage as TemplateFileStorage
    from bobrapet.api.catalog import TemplateImagePolicy as TemplateImagePolicy
    from bobrapet.api.catalog import TemplateJobPolicy as TemplateJobPolicy
    from bobrapet.api.catalog import TemplateProbePolicy as TemplateProbePolicy
    from bobrapet.api.catalog import TemplateResourcePolicy as TemplateResourcePolicy
    from bobrapet.api.catalog import TemplateRetryPolicy as TemplateRetryPolicy
    from bobrapet.api.catalog import TemplateS3Storage as TemplateS3Storage
    from bobrapet.api.catalog import TemplateSecurityPolicy as TemplateSecurityPolicy
    from bobrapet.api.catalog import TemplateServicePolicy as TemplateServicePolicy
    from bobrapet.api.catalog import TemplateServicePort as TemplateServicePort
    from bobrapet.api.catalog import TemplateSpec as TemplateSpec
    from bobrapet.api.catalog import TemplateStatus as TemplateStatus
    from bobrapet.api.catalog import TemplateStoragePolicy as TemplateStoragePolicy
    from bobrapet.api.claims import EffectClaim as EffectClaim
    from bobrapet.api.claims import EffectClaimSpec as EffectClaimSpec
    from bobrapet.api.claims import EffectClaimStatus as EffectClaimStatus
    from bobrapet.api.claims import StoryTrigger as StoryTrigger
    from bobrapet.api.claims import StoryTriggerDeliveryIdentity as StoryTriggerDeliveryIdentity
    from bobrapet.api.claims import StoryTriggerSpec as StoryTriggerSpec
    from bobrapet.api.claims import StoryTriggerStatus as StoryTriggerStatus
    from bobrapet.api.core import Affinity as Affinity
    from bobrapet.api.core import EmptyDirVolumeSource as EmptyDirVolumeSource
    from bobrapet.api.core import ExecAction as ExecAction
    from bobrapet.api.core import GRPCAction as GRPCAction
    from bobrapet.api.core import HTTPGetAction as HTTPGetAction
    from bobrapet.api.core import HTTPHeader as HTTPHeader
    from bobrapet.api.core import LabelSelector as LabelSelector
    from bobrapet.api.core import LabelSelectorRequirement as LabelSelectorRequirement
    from bobrapet.api.core import NodeAffinity as NodeAffinity
    from bobrapet.api.core import NodeSelector as NodeSelector
    from bobrapet.api.core import NodeSelectorTerm as NodeSelectorTerm
    from bobrapet.api.core import PodAffinity as PodAffinity
    from bobrapet.api.core import PodAffinityTerm as PodAffinityTerm
    from bobrapet.api.core import PolicyRule as PolicyRule
    from bobrapet.api.core import PreferredSchedulingTerm as PreferredSchedulingTerm
    from bobrapet.api.core import Probe as Probe
    from bobrapet.api.core import TCPSocketAction as TCPSocketAction
    from bobrapet.api.core import Toleration as Toleration
    from bobrapet.api.core import WeightedPodAffinityTerm as WeightedPodAffinityTerm
    from bobrapet.api.crds import crd_manifests as crd_manifests
    from bobrapet.api.engram import Engram as Engram
    from bobrapet.api.engram import EngramSpec as EngramSpec
    from bobrapet.api.engram import EngramStatus as EngramStatus
    from bobrapet.api.engram import EngramTransport as EngramTransport
    from bobrapet.api.enums import TERMINAL_PHASES as TERMINAL_PHASES
    from bobrapet.api.enums import AudioCodecName as AudioCodecName
    from bobrapet.api.enums import BackoffStrategy as BackoffStrategy
    from bobrapet.api.enums import BufferDropPolicy as BufferDropPolicy
    from bobrapet.api.enums import CacheMode as CacheMode
    from bobrapet.api.enums import ConcurrencyMode as ConcurrencyMode
    from bobrapet.api.enums import ConcurrencyScope as ConcurrencyScope
    from bobrapet.api.enums import ConditionStatus as ConditionStatus
    from bobrapet.api.enums import CrossNamespacePolicy as CrossNamespacePolicy
    from bobrapet.api.enums import DeliverySemantics as DeliverySemantics
    from bobrapet.api.enums import EffectClaimCompletionStatus as EffectClaimCompletionStatus
    from bobrapet.api.enums import EffectClaimPhase as EffectClaimPhase
    from bobrapet.api.enums import ExitClass as ExitClass
    from bobrapet.api.enums import FlowControlMode as FlowControlMode
    from bobrapet.api.enums import GateDecisionState as GateDecisionState
    from bobrapet.api.enums import HandoffPhase as HandoffPhase
    from bobrapet.api.enums import MediaDirection as MediaDirection
    from bobrapet.api.enums import OnTimeout as OnTimeout
    from bobrapet.api.enums import OrderingMode as OrderingMode
    from bobrapet.api.enums import Phase as Phase
    from bobrapet.api.enums import PodManagementPolicy as PodManagementPolicy
    from bobrapet.api.enums import PullPolicy as PullPolicy
    from bobrapet.api.enums import ReplayMode as ReplayMode
    from bobrapet.api.enums import RestartPolicy as RestartPolicy
    from bobrapet.api.enums import SecretMountType as SecretMountType
    from bobrapet.api.enums import ServiceType as ServiceType
    from bobrapet.api.enums import StepType as StepType
    from bobrapet.api.enums import StopMode as StopMode
    from bobrapet.api.enums import StorageProvider as StorageProvider
    from bobrapet.api.enums import StoryPattern as StoryPattern
    from bobrapet.api.enums import StoryTriggerDecision as StoryTriggerDecision
    from bobrapet.api.enums import StructuredErrorType as StructuredErrorType
    from bobrapet.api.enums import TracingSamplePolicy as TracingSamplePolicy
    from bobrapet.api.enums import TransportFanInMode as TransportFanInMode
    from bobrapet.api.enums import TransportFanOutMode as TransportFanOutMode
    from bobrapet.api.enums import TransportLaneDirection as TransportLaneDirection
    from bobrapet.api.enums import TransportLaneKind as TransportLaneKind
    from bobrapet.api.enums import TransportMode as TransportMode
    from bobrapet.api.enums import TransportPartitionMode as TransportPartitionMode
    from bobrapet.api.enums import TransportRecordingMode as TransportRecordingMode
    from bobrapet.api.enums import TransportRoutingMode as TransportRoutingMode
    from bobrapet.api.enums import TransportRoutingRuleAction as TransportRoutingRuleAction
    from bobrapet.api.enums import TransportUpgradeStrategy as TransportUpgradeStrategy
    from bobrapet.api.enums import TriggerDedupeMode as TriggerDedupeMode
    from bobrapet.api.enums import UpdateStrategyType as UpdateStrategyType
    from bobrapet.api.enums import ValidationStatus as ValidationStatus
    from bobrapet.api.enums import VideoCodecName as VideoCodecName
    from bobrapet.api.enums import WorkloadMode as WorkloadMode
    from bobrapet.api.execution import CachePolicy as CachePolicy
    from bobrapet.api.execution import ExecutionOverrides as ExecutionOverrides
    from bobrapet.api.execution import ExecutionPolicy as ExecutionPolicy
    from bobrapet.api.execution import FileStorage as FileStorage
    from bobrapet.api.execution import JobPolicy as JobPolicy
    from bobrapet.api.execution import JobWorkloadConfig as JobWorkloadConfig
    from bobrapet.api.execution import PlacementPolicy as PlacementPolicy
    from bobrapet.api.execution import ProbeOverrides as ProbeOverrides
    from bobrapet.api.execution import RBACRules as RBACRules
    from bobrapet.api.execution import RealtimePolicy as RealtimePolicy
    from bobrapet.api.execution import ResourcePolicy as ResourcePolicy
    from bobrapet.api.execution import ResourceQuantities as ResourceQuantities
    from bobrapet.api.execution import RetryPolicy as RetryPolicy
    from bobrapet.api.execution import RollingUpdate as RollingUpdate
    from bobrapet.api.execution import S3Authentication as S3Authentication
    from bobrapet.api.execution import S3Storage as S3Storage
    from bobrapet.api.execution import SecurityPolicy as SecurityPolicy
    from bobrapet.api.execution import ServiceExposure as ServiceExposure
    from bobrapet.api.execution import StatefulSetWorkloadConfig as StatefulSetWorkloadConfig
    from bobrapet.api.execution import StepExecutionOverrides as StepExecutionOverrides
    from bobrapet.api.execution import StoragePolicy as StoragePolicy
    from bobrapet.api.execution import TLSConfig as TLSConfig
    from bobrapet.api.execution import UpdateStrategy as UpdateStrategy
    from bobrapet.api.execution import WorkloadResources as WorkloadResources
    from bobrapet.api.execution import WorkloadSecurity as WorkloadSecurity
    from bobrapet.api.execution import WorkloadSpec as WorkloadSpec
    from bobrapet.api.impulse import Impulse as Impulse
    from bobrapet.api.impulse import ImpulseSpec as ImpulseSpec
    from bobrapet.api.impulse import ImpulseStatus as ImpulseStatus
    from bobrapet.api.kinds import KINDS as KINDS
    from bobrapet.api.media import AudioBinding as AudioBinding
    from bobrapet.api.media import AudioCodec as AudioCodec
    from bobrapet.api.media import BinaryBinding as BinaryBinding
    from bobrapet.api.media import VideoBinding as VideoBinding
    from bobrapet.api.media import VideoCodec as VideoCodec
    from bobrapet.api.meta import Condition as Condition
    from bobrapet.api.meta import Conditions as Conditions
    from bobrapet.api.meta import KubernetesObject as KubernetesObject
    from bobrapet.api.meta import LocalObjectReference as LocalObjectReference
    from bobrapet.api.meta import ObjectMeta as ObjectMeta
    from bobrapet.api.meta import ObservedStatus as ObservedStatus
    from bobrapet.api.meta import OwnerReference as OwnerReference
    from bobrapet.api.meta import Spec as Spec
    from bobrapet.api.meta import Status as Status
    from bobrapet.api.policy import ReferenceGrant as ReferenceGrant
    from bobrapet.api.policy import ReferenceGrantFrom as ReferenceGrantFrom
    from bobrapet.api.policy import ReferenceGrantSpec as ReferenceGrantSpec
    from bobrapet.api.policy import ReferenceGrantStatus as ReferenceGrantStatus
    from bobrapet.api.policy import ReferenceGrantTo as ReferenceGrantTo
    from bobrapet.api.references import EngramReference as EngramReference
    from bobrapet.api.references import EngramTemplateReference as EngramTemplateReference
    from bobrapet.api.references import ImpulseReference as ImpulseReference
    from bobrapet.api.references import ImpulseTemplateReference as ImpulseTemplateReference
    from bobrapet.api.references import ObjectReference as ObjectReference
    from bobrapet.api.references import StepRunReference as StepRunReference
    from bobrapet.api.references import StoryReference as StoryReference
    from bobrapet.api.references import StoryRunReference as StoryRunReference
    from bobrapet.api.run_types import DownstreamTarget as DownstreamTarget
    from bobrapet.api.run_types import EffectRecord as EffectRecord
    from bobrapet.api.run_types import GateStatus as GateStatus
    from bobrapet.api.run_types import GRPCTarget as GRPCTarget
    from bobrapet.api.run_types import HandoffStatus as HandoffStatus
    from bobrapet.api.run_types import SchemaReference as SchemaReference
    from bobrapet.api.run_types import SignalEvent as SignalEvent
    from bobrapet.api.run_types import StepState as StepState
    from bobrapet.api.run_types import StructuredError as StructuredError
    from bobrapet.api.run_types import TerminateTarget as TerminateTarget
    from bobrapet.api.run_types import TraceInfo as TraceInfo
    from bobrapet.api.runs import StepRun as StepRun
    from bobrapet.api.runs import StepRunSpec as StepRunSpec
    from bobrapet.api.runs import StepRunStatus as StepRunStatus
    from bobrapet.api.runs import StoryRun as StoryRun
    from bobrapet.api.runs import StoryRunSpec as StoryRunSpec
    from bobrapet.api.runs import StoryRunStatus as StoryRunStatus
    from bobrapet.api.story import PostExecution as PostExecution
    from bobrapet.api.story import Step as Step
    from bobrapet.api.story import Story as Story
    from bobrapet.api.story import StoryConcurrency as StoryConcurrency
    from bobrapet.api.story import StoryPolicy as StoryPolicy
    from bobrapet.api.story import StoryRetries as StoryRetries
    from bobrapet.api.story import StorySpec as StorySpec
    from bobrapet.api.story import StoryStatus as StoryStatus
    from bobrapet.api.story import StoryTimeouts as StoryTimeouts
    from bobrapet.api.story import StoryTransport as StoryTransport
    from bobrapet.api.story import StoryTransportStatus as StoryTransportStatus
    from bobrapet.api.streaming import AckEvery as AckEvery
    from bobrapet.api.streaming import Backpressure as Backpressure
    from bobrapet.api.streaming import Buffer as Buffer
    from bobrapet.api.streaming import Credits as Credits
    from bobrapet.api.streaming import Delivery as Delivery
    from bobrapet.api.streaming import FanIn as FanIn
    from bobrapet.api.streaming import FlowControl as FlowControl
    from bobrapet.api.streaming import Lane as Lane
    from bobrapet.api.streaming import Lifecycle as Lifecycle
    from bobrapet.api.streaming import Observability as Observability
    from bobrapet.api.streaming import Partitioning as Partitioning
    from bobrapet.api.streaming import Recording as Recording
    from bobrapet.api.streaming import Replay as Replay
    from bobrapet.api.streaming import Routing as Routing
    from bobrapet.api.streaming import RoutingRule as RoutingRule
    from bobrapet.api.streaming import RoutingTarget as RoutingTarget
    from bobrapet.api.streaming import Switch as Switch
    from bobrapet.api.streaming import Threshold as Threshold
    from bobrapet.api.streaming import Tracing as Tracing
    from bobrapet.api.streaming import TransportStreamingSettings as TransportStreamingSettings
    from bobrapet.api.streaming import Watermark as Watermark
    from bobrapet.api.transport import Transport as Transport
    from bobrapet.api.transport import TransportBinding as TransportBinding
    from bobrapet.api.transport import TransportBindingSpec as TransportBindingSpec
    from bobrapet.api.transport import TransportBindingStatus as TransportBindingStatus
    from bobrapet.api.transport import TransportSpec as TransportSpec
    from bobrapet.api.transport import TransportStatus as TransportStatus
    from bobrapet.api.trigger import TriggerDedupePolicy as TriggerDedupePolicy
    from bobrapet.api.trigger import TriggerDeliveryPolicy as TriggerDeliveryPolicy
    from bobrapet.api.trigger import TriggerRetryPolicy as TriggerRetryPolicy
    from bobrapet.api.trigger import TriggerThrottlePolicy as TriggerThrottlePolicy
    from bobrapet.api.wire import Bool as Bool
    from bobrapet.api.wire import Duration as Duration
    from bobrapet.api.wire import Int32 as Int32
    from bobrapet.api.wire import Int64 as Int64
    from bobrapet.api.wire import JSONObject as JSONObject
    from bobrapet.api.wire import Model as Model
    from bobrapet.api.wire import Quantity as Quantity
    from bobrapet.api.wire import Time as Time

_HOME: Final = {
    name: module
    for module, names in {
        "catalog": (
            "EngramTemplate",
            "EngramTemplateSpec",
            "ImpulseTemplate",
            "ImpulseTemplateSpec",
            "SecretDefinition",
            "TemplateExecutionPolicy",
            "TemplateFileStorage",
            "TemplateImagePolicy",
            "TemplateJobPolicy",
            "TemplateProbePolicy",
            "TemplateResourcePolicy",
            "TemplateRetryPolicy",
            "TemplateS3Storage",
            "TemplateSecurityPolicy",
            "TemplateServicePolicy",
            "TemplateServicePort",
            "TemplateSpec",
            "TemplateStatus",
            "TemplateStoragePolicy",
        ),
        "claims": (
            "EffectClaim",
            "EffectClaimSpec",
            "EffectClaimStatus",
            "StoryTrigger",
            "StoryTriggerDeliveryIdentity",
            "StoryTriggerSpec",
            "StoryTriggerStatus",
        ),
        "core": (
            "Affinity",
            "EmptyDirVolumeSource",
            "ExecAction",
            "GRPCAction",
            "HTTPGetAction",
            "HTTPHeader",
            "LabelSelector",
            "LabelSelectorRequirement",
            "NodeAffinity",
            "NodeSelector",
            "NodeSelectorTerm",
            "PodAffinity",
            "PodAffinityTerm",
            "PolicyRule",
            "PreferredSchedulingTerm",
            "Probe",
            "TCPSocketAction",
            "Toleration",
            "WeightedPodAffinityTerm",
        ),
        "crds": ("crd_manifests",),
        "engram": (
            "Engram",
            "EngramSpec",
            "EngramStatus",
            "EngramTransport",
        ),
        "enums": (
            "AudioCodecName",
            "BackoffStrategy",
            "BufferDropPolicy",
            "CacheMode",
            "ConcurrencyMode",
            "ConcurrencyScope",
            "ConditionStatus",
            "CrossNamespacePolicy",
            "DeliverySemantics",
            "EffectClaimCompletionStatus",
            "EffectClaimPhase",
            "ExitClass",
            "FlowControlMode",
            "GateDecisionState",
            "HandoffPhase",
            "MediaDirection",
            "OnTimeout",
            "OrderingMode",
            "Phase",
            "PodManagementPolicy",
            "PullPolicy",
            "ReplayMode",
            "RestartPolicy",
            "SecretMountType",
            "ServiceType",
            "StepType",
            "StopMode",
            "StorageProvider",
            "StoryPattern",
            "StoryTriggerDecision",
            "StructuredErrorType",
            "TERMINAL_PHASES",
            "TracingSamplePolicy",
            "TransportFanInMode",
            "TransportFanOutMode",
            "TransportLaneDirection",
            "TransportLaneKind",
            "TransportMode",
            "TransportPartitionMode",
            "TransportRecordingMode",
            "TransportRoutingMode",
            "TransportRoutingRuleAction",
            "TransportUpgradeStrategy",
            "TriggerDedupeMode",
            "UpdateStrategyType",
            "ValidationStatus",
            "VideoCodecName",
            "WorkloadMode",
        ),
        "execution": (
            "CachePolicy",
            "ExecutionOverrides",
            "ExecutionPolicy",
            "FileStorage",
            "JobPolicy",
            "JobWorkloadConfig",
            "PlacementPolicy",
            "ProbeOverrides",
            "RBACRules",
            "RealtimePolicy",
            "ResourcePolicy",
            "ResourceQuantities",
            "RetryPolicy",
            "RollingUpdate",
            "S3Authentication",
            "S3Storage",
            "SecurityPolicy",
            "ServiceExposure",
            "StatefulSetWorkloadConfig",
            "StepExecutionOverrides",
            "StoragePolicy",
            "TLSConfig",
            "UpdateStrategy",
            "WorkloadResources",
            "WorkloadSecurity",
            "WorkloadSpec",
        ),
        "impulse": (
            "Impulse",
            "ImpulseSpec",
            "ImpulseStatus",
        ),
        "kinds": ("KINDS",),
        "media": (
            "AudioBinding",
            "AudioCodec",
            "BinaryBinding",
            "VideoBinding",
            "VideoCodec",
        ),
        "meta": (
            "Condition",
            "Conditions",
            "KubernetesObject",
            "LocalObjectReference",
            "ObjectMeta",
            "ObservedStatus",
            "OwnerReference",
            "Spec",
            "Status",
        ),
        "policy": (
            "ReferenceGrant",
            "ReferenceGrantFrom",
            "ReferenceGrantSpec",
            "ReferenceGrantStatus",
            "ReferenceGrantTo",
        ),
        "references": (
            "EngramReference",
            "EngramTemplateReference",
            "ImpulseReference",
            "ImpulseTemplateReference",
            "ObjectReference",
            "StepRunReference",
            "StoryReference",
            "StoryRunReference",
        ),
        "run_types": (
            "DownstreamTarget",
            "EffectRecord",
            "GRPCTarget",
            "GateStatus",
            "HandoffStatus",
            "SchemaReference",
            "SignalEvent",
            "StepState",
            "StructuredError",
            "TerminateTarget",
            "TraceInfo",
        ),
        "runs": (
            "StepRun",
            "StepRunSpec",
            "StepRunStatus",
            "StoryRun",
            "StoryRunSpec",
            "StoryRunStatus",
        ),
        "story": (
            "PostExecution",
            "Step",
            "Story",
            "StoryConcurrency",
            "StoryPolicy",
            "StoryRetries",
            "StorySpec",
            "StoryStatus",
            "StoryTimeouts",
            "StoryTransport",
            "StoryTransportStatus",
        ),
        "streaming": (
            "AckEvery",
            "Backpressure",
            "Buffer",
            "Credits",
            "Delivery",
            "FanIn",
            "FlowControl",
            "Lane",
            "Lifecycle",
            "Observability",
            "Partitioning",
            "Recording",
            "Replay",
            "Routing",
            "RoutingRule",
            "RoutingTarget",
            "Switch",
            "Threshold",
            "Tracing",
            "TransportStreamingSettings",
            "Watermark",
        ),
        "transport": (
            "Transport",
            "TransportBinding",
            "TransportBindingSpec",
            "TransportBindingStatus",
            "TransportSpec",
            "TransportStatus",
        ),
        "trigger": (
            "TriggerDedupePolicy",
            "TriggerDeliveryPolicy",
            "TriggerRetryPolicy",
            "TriggerThrottlePolicy",
        ),
        "wire": (
            "Bool",
            "Duration",
            "Int32",
            "Int64",
            "JSONObject",
            "Model",
            "Quantity",
            "Time",
        ),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
