"""What the pods of a node share, and how patient it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bobrapet.runtime.clock import Clock
from bobrapet.runtime.rest.config import RestConfig

from .api import NodeApi
from .cgroups import ControlGroups
from .environment import Machine
from .images import ImageResolver
from .processes import Launcher
from .reporting import EventRecorder


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Delays between attempts, in seconds: doubled each time, forgotten after `reset` seconds of good behaviour."""

    initial: float
    limit: float
    reset: float = 600.0

    def delay(self, attempt: int) -> float:
        """The wait before attempt `attempt`, counted from 1."""
        return min(self.limit, self.initial * 2.0 ** min(attempt - 1, 32))


CRASH_BACKOFF = Backoff(initial=10, limit=300)
"""Between restarts of a container, as a kubelet's CrashLoopBackOff. The first restart is immediate."""

SETUP_BACKOFF = Backoff(initial=0.5, limit=15)
"""Between attempts to get what a pod refers to, such as a Secret that does not exist yet."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """What every pod of a node shares."""

    api: NodeApi
    config: RestConfig
    launcher: Launcher
    images: ImageResolver
    events: EventRecorder
    clock: Clock
    machine: Machine
    folder: Path
    ca: bytes
    environment: Mapping[str, str]
    working_directory: str
    visible: tuple[Path, ...] = ()
    """What containers must find where it is: no volume is mounted over it."""

    python: tuple[Path, ...] = ()
    """Where components that are installed here are found."""

    groups: ControlGroups
    strict: bool = False
    """Holds containers to the whole of what their pods say of users, rights and CPU."""

    volume_refresh: float = 60.0
    """Seconds between two looks at the objects that a volume shows."""

    crash_backoff: Backoff = CRASH_BACKOFF
    setup_backoff: Backoff = SETUP_BACKOFF
