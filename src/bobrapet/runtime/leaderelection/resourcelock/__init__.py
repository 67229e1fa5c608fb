"""Locks."""

from bobrapet.runtime.leaderelection.resourcelock.interface import LeaderElectionRecord, ResourceLock, TellsRelease
from bobrapet.runtime.leaderelection.resourcelock.leaselock import LeaseLock

__all__ = ["LeaderElectionRecord", "LeaseLock", "ResourceLock", "TellsRelease"]
