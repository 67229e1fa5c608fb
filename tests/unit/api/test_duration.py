"""Go durations are read and written as Go does."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.api import duration
from bobrapet.api.duration import DurationError, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("5m", 300_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("-1s", -1_000_000_000),
        ("+1.5h", 5_400_000_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("300ms", 300_000_000),
        ("1us1µs1μs", 3_000),
        ("0.3333333333333333333h", 1_200_000_000_000),
        ("9223372036854775807ns", 2**63 - 1),
        ("-9223372036854775808ns", -(2**63)),
        ("1m1m", 120_000_000_000),
    ],
)
def test_a_go_duration_is_read(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    ["", "-", "3", "s", ".s", "1d", "1h 30m", "--1s", "1e3s", "9223372036854775808ns", "1x", "3000000h", "٣s", "1s "],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(DurationError) as caught:
        parse_duration(text)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (300_000_000_000, "5m0s"),
        (3_600_000_000_000, "1h0m0s"),
        (245_001_000_000, "4m5.001s"),
        (5 * 60 * 60 * 10**9 + 7_001_000_000, "5h0m7.001s"),
        (2**63 - 1, "2562047h47m16.854775807s"),
        (-(2**63), "-2562047h47m16.854775808s"),
        (-1_500_000_000, "-1.5s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text
    assert parse_duration(text) == nanoseconds


@given(st.integers(-(2**63), 2**63 - 1))
def test_what_is_written_reads_back(nanoseconds: int) -> None:
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


@given(st.text("0123456789.hmsuµn-+ d", max_size=24))
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(DurationError):
        assert -(2**63) <= parse_duration(text) <= 2**63 - 1


def test_seconds_and_timedeltas() -> None:
    assert duration.to_seconds("1m30s") == 90.0
    assert duration.to_timedelta("-1.5s") == timedelta(seconds=-1.5)
    assert duration.from_seconds(90) == "1m30s"
    assert duration.from_timedelta(timedelta(days=1, microseconds=5)) == "24h0m0.000005s"
