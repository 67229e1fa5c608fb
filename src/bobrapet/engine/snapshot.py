"""What the engine is told before it decides: objects as the cache shows them, and nothing else.

Every object may be stale by any amount, and one may be staler than another; the engine is written for that. Facts
that only an authoritative read can give have a field of their own and are asked for by the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bobrapet.config.operator import OperatorConfig

if TYPE_CHECKING:
    from bobrapet.api import Engram, EngramTemplate, ReferenceGrant, StepRun, Story, StoryRun


@dataclass(frozen=True, kw_only=True, slots=True)
class Rival:
    """Another run of the same queue that has steps waiting for a slot."""

    key: str
    """`<namespace>/<name>` of the StoryRun."""
    priority: int
    """Base priority, without ageing."""
    queued_since: datetime
    """When its oldest waiting step began to wait."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Occupancy:
    """How full the operator is, apart from the run that is planned.

    A StepRun counts from its creation until its end, unless it is Paused or Blocked. The counts include creations
    that the cache does not show yet (the caller reserves them); StepRuns of the planned run itself are left out.
    """

    story: int = 0
    """StepRuns of the same Story in the run's namespace."""
    queue: int = 0
    total: int = 0
    """StepRuns of the whole cluster."""
    rivals: Sequence[Rival] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in `payloads` for an object that can never be read, and says why."""

    message: str
    is_too_large: bool = False
    """Whether a component could read it: it is only more than the controller may hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSnapshot:
    """Everything that `engine.plan` looks at. Keys of maps by namespace and name are `<namespace>/<name>`."""

    run: StoryRun
    story: Story | None
    """The Story that `run.spec.storyRef` names; None when it is not there."""
    steps: Mapping[str, StepRun] = field(default_factory=dict)
    """StepRuns with the run's label (`bubustack.io/storyrun`) in its namespace, by name; foreign ones are ignored."""
    children: Mapping[str, StoryRun] = field(default_factory=dict)
    """StoryRuns in the namespace that this run owns or that have the name of a child of it, by name."""
    engrams: Mapping[str, Engram] = field(default_factory=dict)
    """The Engrams that the Story's steps name (branches of parallel steps included). A missing key: not there."""
    templates: Mapping[str, EngramTemplate] = field(default_factory=dict)
    """Their EngramTemplates, by name."""
    stories: Mapping[str, Story] = field(default_factory=dict)
    """The Stories that executeStory steps name."""
    ancestors: Sequence[StoryRun] = ()
    """The runs above this one, nearest first, when it was started by executeStory."""
    grants: Sequence[ReferenceGrant] = ()
    """ReferenceGrants of the namespaces that are referred to; only read under the policy `grant`."""
    config: OperatorConfig = field(default_factory=OperatorConfig)
    occupancy: Occupancy = field(default_factory=Occupancy)
    has_storage: bool = False
    """Whether the controller can read offloaded data; without, what reads into it fails."""
    payloads: Mapping[str, Any] = field(default_factory=dict)
    """Storage path -> the value there, or `Unreadable`, for what an earlier plan asked to `load`."""
    can_materialize: bool = False
    """Whether a component may evaluate templates over offloaded data: `templating.materialize-engram` is usable."""
    identity_fault: str = ""
    """Why the account of the steps cannot be made now; nothing starts then. Empty: nobody found a reason yet."""
    authoritative: bool = False
    """Whether everything was just read from the API server (asked for by `RunPlan.confirm`): the run, its steps and
    children, and unless it has ended also the Story, the Engrams, EngramTemplates and Stories that its steps name, and
    the grants."""
    lagging: frozenset[str] = frozenset()
    """With `authoritative`: children that are gone, but that the cache still shows. A later plan on cached objects
    would take them for children of its own, since names come again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSnapshot:
    """Everything that `engine.steprun.plan` looks at."""

    step: StepRun
    run: StoryRun | None = None
    """The StoryRun that the step belongs to; None when it is not there."""
    story: Story | None = None
    engram: Engram | None = None
    template: EngramTemplate | None = None
    siblings: Mapping[str, StepRun] = field(default_factory=dict)
    """All StepRuns of the run by name, this one included."""
    children: Mapping[str, StoryRun] = field(default_factory=dict)
    """Child StoryRuns of the run by name: their outputs are readable as steps."""
    job: Mapping[str, Any] | None = None
    """The Job with the StepRun's name and namespace, as JSON object."""
    job_confirmed_absent: bool = False
    """Whether an authoritative read just found no such Job (asked for by `StepPlan.confirm_job`)."""
    job_confirmed: bool = False
    """Whether `step` and `job` were just read from the API server."""
    references_confirmed: bool = False
    """Whether Story, Engram, EngramTemplate and grants were just read from the API server
    (`StepPlan.confirm_references`)."""
    pods: Sequence[Mapping[str, Any]] = ()
    """Pods with the label `bubustack.io/steprun` of this StepRun, of any attempt, as JSON objects."""
    grants: Sequence[ReferenceGrant] = ()
    config: OperatorConfig = field(default_factory=OperatorConfig)
    has_storage: bool = False
    """Whether the controller can read offloaded data; without, what reads into it fails."""
    payloads: Mapping[str, Any] = field(default_factory=dict)
    """Storage path -> the value there, or `Unreadable`, for what an earlier plan asked to `load`."""
    can_materialize: bool = False
    """As in `RunSnapshot`."""
    secrets: Mapping[str, bool] = field(default_factory=dict)
    """Secret of the namespace -> whether it exists, for what an earlier plan asked to `look_for`."""
    has_cache: bool = False
    """Whether the controller can reach stores, for cached outputs."""
    cached: Mapping[str, bytes | None] = field(default_factory=dict)
    """Storage path -> stored bytes, None when nothing is there, for what an earlier plan asked by `cache_read`."""
