"""Requirements on exit classes and retry delays (spec workloads 14)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.config.policy import Retry, Setting
from bobrapet.engine.retry import MAXIMUM, MINIMUM, exit_class, retry_delay


@pytest.mark.spec("workloads-22")
@pytest.mark.parametrize(
    ("code", "found"),
    [
        (-1, "unknown"),
        (0, "success"),
        (1, "terminal"),
        (123, "terminal"),
        (124, "retry"),
        (125, "terminal"),
        (126, "terminal"),
        (127, "terminal"),
        (128, "retry"),
        (137, "retry"),
        (143, "retry"),
        (255, "retry"),
        (429, "rateLimited"),
        (256, "terminal"),
    ],
)
def test_every_exit_code_has_its_class(code: int, found: str) -> None:
    assert exit_class(code) == found


def policy(delay: float = 1, backoff: str = "exponential", maximum: float | None = None, jitter: int = 0) -> Retry:
    return Retry(
        max_retries=Setting(3, ""),
        delay=Setting(timedelta(seconds=delay), ""),
        max_delay=Setting(timedelta(seconds=maximum) if maximum is not None else None, ""),
        backoff=Setting(backoff, ""),
        jitter=Setting(jitter, ""),
    )


def seconds(retry: Retry, *attempts: int) -> list[float]:
    return [retry_delay(retry, attempt, seed="s").total_seconds() for attempt in attempts]


@pytest.mark.spec("workloads-25")
def test_the_three_strategies_and_the_cap() -> None:
    assert seconds(policy(), 1, 2, 3) == [1, 2, 4]
    assert seconds(policy(backoff="linear"), 1, 2, 3) == [1, 2, 3]
    assert seconds(policy(backoff="constant"), 1, 2, 3) == [1, 1, 1]
    assert seconds(policy(maximum=1.5), 1, 2) == [1, 1.5]
    assert seconds(policy(), 80) == [MAXIMUM.total_seconds()]
    assert seconds(policy(delay=0), 1) == [MINIMUM.total_seconds()]


def test_a_component_that_is_rate_limited_may_ask_for_more_than_the_cap() -> None:
    assert retry_delay(policy(maximum=1), 1, seed="s", at_least=timedelta(seconds=9)) == timedelta(seconds=9)


@given(
    st.integers(1, 200),
    st.integers(0, 100),
    st.sampled_from(["exponential", "linear", "constant"]),
    st.floats(0, 1e6),
    st.text(max_size=8),
)
def test_jitter_only_adds_stays_in_bounds_and_is_the_same_every_time(
    attempt: int, jitter: int, backoff: str, delay: float, seed: str
) -> None:
    base = retry_delay(policy(delay, backoff), attempt, seed=seed)
    found = retry_delay(policy(delay, backoff, jitter=jitter), attempt, seed=seed)
    assert base <= found <= min(base * (1 + jitter / 100) + timedelta(microseconds=1), max(MAXIMUM, base))
    assert found == retry_delay(policy(delay, backoff, jitter=jitter), attempt, seed=seed)
