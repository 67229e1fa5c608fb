"""Failures of leader election.

ControllerRuntimeError
└── ElectionError
    ├── ElectionMisconfigured   durations or names that cannot work
    └── LeadershipLost          a write was held back: this process may no longer lead
"""

from __future__ import annotations

from bobrapet.runtime.errors import ControllerRuntimeError


class ElectionError(ControllerRuntimeError):
    """Root of the failures of leader election."""


class ElectionMisconfigured(ElectionError):
    """The election cannot work in this way."""


class LeadershipLost(ElectionError):
    """The lease may have passed to another process; the request was not sent."""
