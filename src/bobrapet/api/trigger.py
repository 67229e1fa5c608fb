"""How triggers of an Impulse are delivered (spec api 4.12)."""

from typing import Annotated

from bobrapet.api.enums import BackoffStrategy, TriggerDedupeMode
from bobrapet.api.wire import Duration, Int32, Model, Schema


class TriggerDedupePolicy(Model):
    """When two events count as one."""

    mode: TriggerDedupeMode | None = None
    """none, token (the event brings its identity) or key (the identity is computed). Default: none."""
    key_template: str | None = None
    """Template over the event that gives its identity. Needed with mode key, refused otherwise."""


class TriggerRetryPolicy(Model):
    """Retries of a delivery that failed."""

    max_attempts: Annotated[Int32, Schema(minimum=0)] | None = None
    """Attempts at most, the first one included."""
    base_delay: Duration | None = None
    """Delay before the second attempt, as a Go duration."""
    max_delay: Duration | None = None
    """Upper limit of the delay, as a Go duration; 0: no limit."""
    backoff: BackoffStrategy | None = None
    """How the delay grows: exponential, linear or constant."""


class TriggerDeliveryPolicy(Model):
    """Deduplication and retries of triggers. What an Impulse sets wins over its template."""

    dedupe: TriggerDedupePolicy | None = None
    """When two events count as one."""
    retry: TriggerRetryPolicy | None = None
    """Retries of a delivery that failed."""


class TriggerThrottlePolicy(Model):
    """Limits of the rate of triggers, kept by the component."""

    max_in_flight: Int32 | None = None
    """Runs that may be active at the same time; 0: no limit."""
    rate_per_second: Int32 | None = None
    """Triggers per second; 0: no limit."""
    burst: Int32 | None = None
    """Triggers above the rate for a short time. Default: ratePerSecond."""
