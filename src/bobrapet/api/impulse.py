"""Impulse (bubustack.io): an always-on component that starts a Story for each event (spec api 5.3)."""

from typing import ClassVar

from pydantic import Field

from bobrapet.api.enums import Phase
from bobrapet.api.execution import ExecutionOverrides, ServiceExposure, WorkloadSpec
from bobrapet.api.meta import Conditions, KubernetesObject, ObservedStatus, Spec
from bobrapet.api.references import ImpulseTemplateReference, StoryReference
from bobrapet.api.trigger import TriggerDeliveryPolicy, TriggerThrottlePolicy
from bobrapet.api.wire import Int32, Int64, JSONObject, Map, Time, Version, unset_items, unset_map


class ImpulseSpec(Spec):
    """Which template listens, which Story it starts, and how."""

    version: Version | None = None
    """Version of the Impulse's contract, for references that pin one."""
    template_ref: ImpulseTemplateReference
    """Template that the instance is made of."""
    story_ref: StoryReference
    """Story that each event starts."""
    with_: JSONObject | None = Field(default=None, alias="with")
    """Configuration, checked against the template's configSchema."""
    secrets: Map[str, str] = unset_map()
    """Names of Secrets in the same namespace, by key of the template's secretSchema."""
    mapping: JSONObject | None = None
    """Template object over the event that gives the Story's inputs. Default: the event itself."""
    delivery_policy: TriggerDeliveryPolicy | None = None
    """Deduplication and retries of triggers. Default: the template's."""
    throttle: TriggerThrottlePolicy | None = None
    """Limits of the rate of triggers."""
    workload: WorkloadSpec | None = None
    """Kubernetes workload: mode deployment (the default) or statefulset."""
    service: ServiceExposure | None = None
    """Service in front of the component. Default: ClusterIP with the template's ports."""
    execution: ExecutionOverrides | None = None
    """Changes of execution for this instance."""


class ImpulseStatus(ObservedStatus):
    """What the Impulse controller observed."""

    conditions: Conditions = unset_items()
    """Lifecycle of the Impulse: Ready."""
    replicas: Int32 | None = None
    """Pods of the workload."""
    ready_replicas: Int32 | None = None
    """Pods that are ready."""
    phase: Phase | None = None
    """Summary of the lifecycle."""
    triggers_received: Int64 | None = None
    """Events seen."""
    stories_launched: Int64 | None = None
    """StoryRuns started."""
    failed_triggers: Int64 | None = None
    """Events that could not start a StoryRun, or whose run failed."""
    throttled_triggers: Int64 | None = None
    """Events held back by the throttle."""
    last_trigger: Time | None = None
    """When the last event came."""
    last_throttled: Time | None = None
    """When an event was held back last."""
    last_success: Time | None = None
    """When a run succeeded last."""


class Impulse(KubernetesObject):
    """Impulse is a configured instance of an ImpulseTemplate; it listens for events and starts a Story for each."""

    API_VERSION: ClassVar = "bubustack.io/v1alpha1"
    KIND: ClassVar = "Impulse"
    PLURAL: ClassVar = "impulses"
    SHORT_NAMES: ClassVar = ("imp",)
    CATEGORIES: ClassVar = ("bubu", "ai")
    COLUMNS: ClassVar = (
        ("Template", "string", ".spec.templateRef.name"),
        ("Story", "string", ".spec.storyRef.name"),
        ("Phase", "string", ".status.phase"),
        ("Triggers", "integer", ".status.triggersReceived"),
    )

    spec: ImpulseSpec
    """Which template listens, which Story it starts, and how. Written by the author."""
    status: ImpulseStatus = Field(default_factory=ImpulseStatus)
    """What the Impulse controller observed."""
