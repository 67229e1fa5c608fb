"""Webhooks can be switched off by the variable of the Go operator (spec admission A1)."""

from __future__ import annotations

import pytest

from bobrapet.manager import parse_flags


@pytest.mark.parametrize(
    ("text", "enabled"), [("", True), ("true", True), ("1", True), ("perhaps", True), ("false", False), ("0", False)]
)
def test_webhooks_are_on_unless_switched_off(text: str, enabled: bool) -> None:
    assert parse_flags([], {"ENABLE_WEBHOOKS": text}).enable_webhooks is enabled
    assert parse_flags([], {}).enable_webhooks
