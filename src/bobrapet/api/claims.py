"""StoryTrigger and EffectClaim (runs.bubustack.io): exactly-once starts and effects (spec api 5.8, 5.9)."""

from typing import Annotated, ClassVar

from pydantic import Field

from bobrapet.api.enums import EffectClaimCompletionStatus, EffectClaimPhase, StoryTriggerDecision, TriggerDedupeMode
from bobrapet.api.meta import (
    CONDITION_MESSAGES_ARE_SHORT,
    CONDITION_REASONS_ARE_SHORT,
    Conditions,
    KubernetesObject,
    ObservedStatus,
    Spec,
)
from bobrapet.api.references import ImpulseReference, StepRunReference, StoryReference, StoryRunReference
from bobrapet.api.wire import Int32, JSONObject, MicroTime, Model, Schema, Time, unset_items


class StoryTriggerDeliveryIdentity(Model):
    """What makes two deliveries the same."""

    mode: TriggerDedupeMode | None = None
    """none, token or key. Default: none."""
    key: Annotated[str, Schema(max_length=256)] | None = None
    """Business identity; equal keys start one StoryRun. Needed with token and key, refused with none."""
    input_hash: Annotated[str, Schema(max_length=64)] | None = None
    """Hexadecimal SHA-256 of the canonical inputs. Needed with a key."""
    submission_id: Annotated[str, Schema(min_length=1, max_length=253)]
    """Identity of this submission, the same when it is repeated after an error."""


class StoryTriggerSpec(Spec):
    """A request to start a Story. Immutable."""

    story_ref: StoryReference
    """Story to start."""
    impulse_ref: ImpulseReference | None = None
    """Impulse that asks."""
    inputs: JSONObject | None = None
    """Inputs of the run."""
    delivery_identity: StoryTriggerDeliveryIdentity
    """What makes two deliveries the same."""


class StoryTriggerStatus(ObservedStatus):
    """What the StoryTrigger controller decided."""

    RULES: ClassVar = (CONDITION_REASONS_ARE_SHORT, CONDITION_MESSAGES_ARE_SHORT)

    decision: StoryTriggerDecision | None = None
    """Pending, Created, Reused or Rejected."""
    reason: str | None = None
    """Why, as one word for programs."""
    message: str | None = None
    """Why, for people."""
    story_run_ref: StoryRunReference | None = None
    """StoryRun that was created or reused."""
    accepted_at: Time | None = None
    """When the request was first seen."""
    completed_at: Time | None = None
    """When it was decided."""
    conditions: Conditions = unset_items()
    """Lifecycle of the request: Ready, Progressing, Degraded."""


class StoryTrigger(KubernetesObject):
    """StoryTrigger is a request to start a Story, decided exactly once."""

    API_VERSION: ClassVar = "runs.bubustack.io/v1alpha1"
    KIND: ClassVar = "StoryTrigger"
    PLURAL: ClassVar = "storytriggers"
    SHORT_NAMES: ClassVar = ("trig",)
    CATEGORIES: ClassVar = ("bubu", "ai", "runs")
    COLUMNS: ClassVar = (
        ("Story", "string", ".spec.storyRef.name"),
        ("Decision", "string", ".status.decision"),
        ("StoryRun", "string", ".status.storyRunRef.name"),
    )

    spec: StoryTriggerSpec
    """The request. Written by the component of an Impulse."""
    status: StoryTriggerStatus = Field(default_factory=StoryTriggerStatus)
    """What the StoryTrigger controller decided."""


class EffectClaimSpec(Spec):
    """A lease on one side effect of a StepRun. Written by SDK workers."""

    step_run_ref: StepRunReference
    """StepRun that wants the effect; in the same namespace. Immutable."""
    effect_key: Annotated[str, Schema(min_length=1, max_length=256)]
    """Key of the effect within the StepRun. Immutable."""
    idempotency_key: Annotated[str, Schema(max_length=256)] | None = None
    """Idempotency key of the StepRun. Immutable."""
    holder_identity: Annotated[str, Schema(max_length=253)] | None = None
    """Worker that holds the claim."""
    lease_duration_seconds: Annotated[Int32, Schema(minimum=1)] | None = None
    """Seconds after renewTime when others may take the claim over."""
    acquire_time: MicroTime | None = None
    """When the holder got the claim."""
    renew_time: MicroTime | None = None
    """When the holder renewed the claim last."""
    lease_transitions: Annotated[Int32, Schema(minimum=0)] | None = None
    """Take-overs of stale claims so far."""
    completion_status: EffectClaimCompletionStatus | None = None
    """completed, released or abandoned. Unset: the claim is held. completed is final."""
    completed_at: Time | None = None
    """When the effect was done. Needed with completed."""
    details: JSONObject | None = None
    """Anything else, free form."""


class EffectClaimStatus(ObservedStatus):
    """What the EffectClaim controller observed."""

    RULES: ClassVar = (CONDITION_REASONS_ARE_SHORT, CONDITION_MESSAGES_ARE_SHORT)

    phase: EffectClaimPhase | None = None
    """Reserved, Completed, Released or Abandoned."""
    conditions: Conditions = unset_items()
    """Lifecycle of the claim: Ready, Progressing, Degraded."""


class EffectClaim(KubernetesObject):
    """EffectClaim is a lease that lets one worker at a time do one side effect of a StepRun, and nobody twice."""

    API_VERSION: ClassVar = "runs.bubustack.io/v1alpha1"
    KIND: ClassVar = "EffectClaim"
    PLURAL: ClassVar = "effectclaims"
    SHORT_NAMES: ClassVar = ("eff",)
    CATEGORIES: ClassVar = ("bubu", "ai", "runs")
    COLUMNS: ClassVar = (
        ("StepRun", "string", ".spec.stepRunRef.name"),
        ("Effect", "string", ".spec.effectKey"),
        ("Holder", "string", ".spec.holderIdentity"),
        ("Phase", "string", ".status.phase"),
    )

    spec: EffectClaimSpec
    """The lease. Written by SDK workers."""
    status: EffectClaimStatus = Field(default_factory=EffectClaimStatus)
    """What the EffectClaim controller observed."""
