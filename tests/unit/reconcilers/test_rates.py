"""Requirements on the back-off of controllers that no key names (spec admission-and-config B2, runs 1.8)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bobrapet.config.operator import parse
from bobrapet.reconcilers.wiring import REQUESTS, without_keys


@pytest.mark.parametrize(
    ("data", "base", "maximum"),
    [
        ({}, 0.2, 60),
        ({"controller.requeue-base-delay": "2s", "controller.requeue-max-delay": "5m"}, 2, 300),
        ({"controller.requeue-base-delay": "2s"}, 2, 60),
        ({"controller.requeue-base-delay": "2m"}, 120, 120),  # never shorter than the first one
        ({"controller.requeue-max-delay": "10s"}, 0.2, 10),
        ({"steprun.rate-limiter.base-delay": "1s"}, 0.2, 60),  # the key of another controller
    ],
)
def test_the_back_off_of_all_controllers_counts_where_a_controller_has_no_key(
    data: dict[str, str], base: float, maximum: float
) -> None:
    rate = without_keys(parse(data).config, REQUESTS)
    assert (rate.base_delay, rate.max_delay) == (timedelta(seconds=base), timedelta(seconds=maximum))
    assert rate.max_concurrent_reconciles is None  # so that of all controllers
