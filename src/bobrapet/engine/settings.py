"""Times of a run that come from several places: its Story, the operator, a default (spec runs 16.3, 19, 20.3)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from bobrapet.api import duration

if TYPE_CHECKING:
    from bobrapet.api import Story
    from bobrapet.config.operator import OperatorConfig

DEFAULT_GRACE: Final = timedelta(seconds=30)


def positive_duration(text: str | None) -> timedelta | None:
    """A duration above zero; None when there is none or it cannot be read."""
    try:
        span = duration.to_timedelta(text.strip()) if text and text.strip() else None
    except duration.DurationError:
        return None
    return span if span is not None and span > timedelta(0) else None


def grace(config: OperatorConfig, story: Story | None) -> timedelta:
    """How long steps may take to end after they were asked to."""
    policy = story.spec.policy if story is not None else None
    text = policy.timeouts.graceful_shutdown_timeout if policy is not None and policy.timeouts is not None else None
    drains = _drains(story) if story is not None and story.spec.is_streaming else []
    if drains:
        return max(drains)
    own = positive_duration(text)
    if own is not None:
        return own
    seconds = config.engram.graceful_shutdown_timeout_seconds
    return timedelta(seconds=seconds) if seconds > 0 else DEFAULT_GRACE


def _drains(story: Story) -> list[timedelta]:
    """The drain times of the transports of a streaming Story."""
    lifecycles = [
        transport.streaming.lifecycle
        for transport in story.spec.transports
        if transport.streaming is not None and transport.streaming.lifecycle is not None
    ]
    return [
        timedelta(seconds=lifecycle.drain_timeout_seconds)
        for lifecycle in lifecycles
        if lifecycle.drain_timeout_seconds is not None and lifecycle.drain_timeout_seconds > 0
    ]


def story_timeout(story: Story) -> timedelta | None:
    """How long a run may take; None: as long as it needs."""
    policy = story.spec.policy
    return positive_duration(policy.timeouts.story if policy is not None and policy.timeouts is not None else None)


def deadline(story: Story, started: datetime | None) -> datetime | None:
    """When a run that began at `started` has used up its time."""
    span = story_timeout(story)
    return started + span if span is not None and started is not None else None


def child_ttl(config: OperatorConfig, story: Story | None) -> timedelta:
    """How long the StepRuns of an ended run are kept."""
    policy = story.spec.policy if story is not None else None
    execution = policy.execution if policy is not None else None
    if story is not None and story.spec.is_streaming:
        realtime = execution.realtime if execution is not None else None
        seconds = realtime.ttl_seconds_after_finished if realtime is not None else None
        if seconds is None:
            seconds = config.realtime_ttl_seconds_after_finished
    else:
        job = execution.job if execution is not None else None
        seconds = (job.ttl_seconds_after_finished if job is not None else None) or config.job.ttl_seconds_after_finished
    return timedelta(seconds=max(seconds, 0))


def retention(config: OperatorConfig, story: Story | None) -> timedelta | None:
    """How long an ended run is kept; None: for ever (B-37)."""
    policy = story.spec.policy if story is not None else None
    job = policy.execution.job if policy is not None and policy.execution is not None else None
    seconds = job.story_run_retention_seconds if job is not None else None
    if seconds is None:
        seconds = config.storyruns.retention_seconds
    return None if seconds == 0 else timedelta(seconds=max(seconds, 0))
