"""What the engine answers: writes to make, the moment to look again, and the reasons.

A plan is data. Applying one twice, or half of one and then the next, ends in the same place, provided that
- creations that find the name taken are let be (the next plan looks at what is there),
- patches of the planned object carry the resourceVersion of the snapshot (or the one that the plan's previous patch
  returned); a conflict ends the application and only means "plan again",
- deletions carry the uid of the snapshot's object as precondition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from bobrapet.config.policy import StepPolicy
from bobrapet.config.storage import StorageSettings
from bobrapet.engine.reasons import Reason, Wake

if TYPE_CHECKING:
    from bobrapet.api import Engram, StepRun, StoryRun
    from bobrapet.api.enums import ExitClass
    from bobrapet.engine.materialize import Wanted

Patch = Mapping[str, Any]
"""A JSON merge patch in wire names."""


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes Event about the planned object."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Delete:
    """An object to delete in the background, if it still has this uid."""

    kind: str
    """`StoryRun`, `StepRun` or `Job`, in the namespace of the planned object."""
    name: str
    uid: str | None


@dataclass(frozen=True, slots=True)
class Annotate:
    """A metadata patch of a child."""

    kind: str
    """`StoryRun` or `StepRun`, in the namespace of the planned object."""
    name: str
    uid: str | None
    patch: Patch
    """The whole merge patch, for example `{"metadata": {"annotations": {...}}}` or `{"spec": {...}}`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """What to do for a StoryRun. Apply in the order of the fields; an empty plan writes nothing."""

    confirm: bool = False
    """The plan does what cannot be taken back, as deleting something or failing a step or the run for what the objects
    around it say: read everything from the API server (not the cache), plan again, and apply that plan, whatever its
    `confirm` says."""

    load: tuple[Mapping[str, Any], ...] = ()
    """Storage references (`{"$bubuStorageRef": ...}`) whose content the plan needs: read them into
    `RunSnapshot.payloads` and plan again. The other fields are valid without."""

    ensure_identity: bool = False
    """Steps are about to start: the runner ServiceAccount, Role and RoleBinding of the Story must exist
    (`workloads.identity.build_identity`); write only what differs from the cache."""

    metadata: Patch | None = None
    """Merge patch of the run's own labels, annotations or finalizers: `{"metadata": {...}}`."""

    status: Patch | None = None
    """Merge patch of the run's status subresource: `{"status": {...}}`; None: nothing changed. Its resourceVersion is
    the fence: what follows happens only if the snapshot's run was the newest."""

    engrams: tuple[Engram, ...] = ()
    """Engrams to create before the StepRuns that name them, complete. AlreadyExists is success."""

    starts: tuple[StepRun, ...] = ()
    """StepRuns to create, complete. AlreadyExists is success."""

    children: tuple[StoryRun, ...] = ()
    """StoryRuns to create, complete. AlreadyExists is success."""

    cancels: tuple[Annotate, ...] = ()
    """Children that are asked to end: StepRuns by annotation, StoryRuns by `spec.cancelRequested`."""

    deletes: tuple[Delete, ...] = ()
    delete_run: bool = False
    """The run itself is past its retention: delete it."""

    events: tuple[Event, ...] = ()
    """Record after the status was written; not at all when that write failed."""

    wakes: tuple[Wake, ...] = ()
    """The moments at which time alone changes something, and what. None: only events do."""

    reasons: Mapping[str, Reason] = field(default_factory=dict)
    """Every declared step and branch, in declaration order -> why it is where it is."""

    summary: str = ""
    """The same for the run as a whole, in one sentence part."""

    @property
    def wake_at(self) -> datetime | None:
        """The next moment to look again; None when no clock decides."""
        return min((wake.at for wake in self.wakes), default=None)

    def wait_seconds(self, now: datetime) -> float | None:
        """Seconds until `wake_at`, never negative; None when no clock decides."""
        return wait_seconds(self.wake_at, now)

    @property
    def writes(self) -> int:
        """API writes that this plan costs, Events included, the identity left out."""
        return (
            len(self.starts)
            + len(self.children)
            + (self.metadata is not None)
            + (self.status is not None)
            + len(self.cancels)
            + len(self.deletes)
            + self.delete_run
            + len(self.events)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStart:
    """The attempt to start now: what `workloads.job.build_job` needs beyond the objects of the snapshot."""

    attempt: int
    """0 for the first; the number of retries before it."""
    started_at: datetime
    inputs: Mapping[str, Any]
    configuration: Mapping[str, Any]
    context: Mapping[str, Any] | None
    """The template context for the component, or None when it needs none."""
    skip_templating: bool
    """Whether every template was evaluated by the controller, so that the component must not do it again."""
    policy: StepPolicy
    secrets: Mapping[str, str] = field(default_factory=dict)
    """`secrets` of the Story's step: logical name -> Secret, over those of the Engram."""


@dataclass(frozen=True, slots=True)
class CacheRead:
    """An entry that an earlier run may have stored. A failure counts as nothing found."""

    store: StorageSettings
    path: str


@dataclass(frozen=True, slots=True)
class CacheWrite:
    """An output to store for later runs. A failure is logged and forgotten."""

    store: StorageSettings
    path: str
    body: bytes
    mark: Annotate
    """Patch of the StepRun once it is stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepPlan:
    """What to do for a StepRun. Apply in the order of the fields; an empty plan writes nothing."""

    confirm_job: bool = False
    """The Job that should be there is not in the cache: read StepRun and Job from the API server, set
    `StepSnapshot.step`, and `job` or `job_confirmed_absent`, and plan again. Nothing else is set."""

    confirm_references: bool = False
    """The step would fail for what the cache shows, or does not show: read Story, Engram, EngramTemplate and grants
    from the API server, set them and `StepSnapshot.references_confirmed`, and plan again. Nothing else is set."""

    load: tuple[Mapping[str, Any], ...] = ()
    """As in `RunPlan.load`, but nothing else is set."""

    look_for: tuple[str, ...] = ()
    """Secrets in the StepRun's namespace without which the Job must not be made: ask the API server for each, put the
    answers into `StepSnapshot.secrets`, and plan again. Nothing else is set."""

    cache_read: CacheRead | None = None
    """Read it into `StepSnapshot.cached` (None: nothing found) and plan again. Nothing else is set."""

    materialize: Wanted | None = None
    """Create its Engram and its StepRun, and wait for the answer: a component evaluates the templates of this step.
    AlreadyExists is success, for either."""

    metadata: Patch | None = None
    """Merge patch of the StepRun's own labels, annotations or finalizers."""

    status: Patch | None = None
    """Merge patch of the status subresource: `{"status": {...}}`; None: nothing changed. Its resourceVersion is the
    fence: what follows happens only if the snapshot's StepRun was the newest."""

    start: JobStart | None = None
    """Build and create the Job. AlreadyExists is success (the next plan judges what is there). When the API server
    says that the object is too large: `engine.steprun.too_large(snapshot, now)` is the plan."""

    after_start: Annotate | None = None
    """Patch of the StepRun's annotations, only after `start` really created a Job: it counts a restart, which
    neither a Job that was there nor a failed creation is."""

    deletes: tuple[Delete, ...] = ()
    """Jobs to delete with background propagation."""

    cache_write: CacheWrite | None = None
    events: tuple[Event, ...] = ()
    wake_at: datetime | None = None
    reason: Reason | None = None

    cache_result: Literal["", "hit", "miss"] = ""
    """What a look into the cache gave; empty: nobody looked."""

    retry_class: ExitClass | None = None
    """How the attempt ended that is repeated; None: none is."""

    @property
    def is_question(self) -> bool:
        """Whether the engine only asks for something that it needs to know first."""
        return (
            self.confirm_job
            or self.confirm_references
            or bool(self.load)
            or bool(self.look_for)
            or self.cache_read is not None
        )

    def wait_seconds(self, now: datetime) -> float | None:
        """Seconds until `wake_at`, never negative; None when no clock decides."""
        return wait_seconds(self.wake_at, now)

    @property
    def writes(self) -> int:
        """API writes that this plan costs, Events included."""
        return (
            (self.metadata is not None)
            + (self.start is not None)
            + (self.after_start is not None)
            + (self.status is not None)
            + len(self.deletes)
            + len(self.events)
        )


def wait_seconds(wake_at: datetime | None, now: datetime) -> float | None:
    """Seconds until a moment, never negative; None when there is none."""
    if wake_at is None:
        return None
    return max(wake_at - now, timedelta(0)).total_seconds()
