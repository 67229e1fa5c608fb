"""Managers: they own the caches, clients and controllers of a process."""

from bobrapet.runtime.manager.errors import GracefulShutdownTimeout, LeaderElectionLost, ManagerError
from bobrapet.runtime.manager.internal import ControllerManager
from bobrapet.runtime.manager.manager import (
    LeaderElectionRunnable,
    Options,
    WarmupRunnable,
    new,
    runnable_func,
)
from bobrapet.runtime.manager.runnable_group import GroupStopped, Runnable
from bobrapet.runtime.manager.signals import SignalHandlerInstalled, setup_signal_handler

__all__ = [
    "ControllerManager",
    "GracefulShutdownTimeout",
    "GroupStopped",
    "LeaderElectionLost",
    "LeaderElectionRunnable",
    "ManagerError",
    "Options",
    "Runnable",
    "SignalHandlerInstalled",
    "WarmupRunnable",
    "new",
    "runnable_func",
    "setup_signal_handler",
]
