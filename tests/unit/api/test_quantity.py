"""Quantities are exact."""

from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.api.quantity import QuantityError, format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", "0.1"),
        ("1", "1"),
        (2, "2"),
        ("-1.5Gi", "-1610612736"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1E", "1000000000000000000"),
        (".5", "0.5"),
        ("5.", "5"),
        ("12e-2", "0.12"),
        ("0.1n", "0.000000001"),
        ("1.5Ki", "1536"),
    ],
)
def test_a_quantity_is_read(text: str | int, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "m", "1 Gi", "1gi", "0x1", "1e", "--1", "1,5", "Inf", "1e999", "9" * 200, "1KB"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "binary", "canonical"),
    [
        ("0.1", False, "100m"),
        ("1000", False, "1k"),
        ("1500", False, "1500"),
        ("1024", True, "1Ki"),
        ("1536Mi", True, "1536Mi"),
        ("1.5Gi", True, "1536Mi"),
        ("-2Gi", True, "-2Gi"),
        ("0", True, "0"),
        ("1500m", False, "1500m"),
    ],
)
def test_the_canonical_form(text: str, binary: bool, canonical: str) -> None:
    assert format_quantity(parse_quantity(text), binary=binary) == canonical


@given(st.integers(-(10**18), 10**18), st.integers(-9, 0), st.booleans())
def test_what_is_written_reads_back(number: int, power: int, binary: bool) -> None:
    value = Decimal(number).scaleb(power)
    assert parse_quantity(format_quantity(value, binary=binary)) == value


@given(st.text("0123456789.eEKMGi+-mnu", max_size=12))
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(QuantityError):
        assert abs(parse_quantity(text)) <= 2**63 - 1
