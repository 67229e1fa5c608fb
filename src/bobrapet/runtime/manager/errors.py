"""Failures of the manager.

ControllerRuntimeError
└── ManagerError                a manager cannot be made or used in this way
    ├── GracefulShutdownTimeout   somebody did not stop in time
    └── LeaderElectionLost        another process may lead now: end this one
"""

from __future__ import annotations

from bobrapet.runtime.errors import ControllerRuntimeError


class ManagerError(ControllerRuntimeError):
    """Root of the failures of a manager."""


class GracefulShutdownTimeout(ManagerError, TimeoutError):
    """Not everything stopped within the graceful shutdown timeout."""


class LeaderElectionLost(ManagerError):
    """The lease was lost. Only the end of the process is a certain fence against what still runs."""
