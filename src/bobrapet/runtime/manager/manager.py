"""Options of a manager, and how one is made (controller-runtime pkg/manager, spec runtime section 4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from bobrapet.runtime import cluster
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.config import Controller
from bobrapet.runtime.log.log import Logger, get_logger
from bobrapet.runtime.manager.runnable_group import Runnable
from bobrapet.runtime.rest.config import RestConfig

if TYPE_CHECKING:
    from bobrapet.runtime.leaderelection.resourcelock import ResourceLock
    from bobrapet.runtime.manager.internal import ControllerManager
    from bobrapet.runtime.metrics.server import Options as MetricsOptions
    from bobrapet.runtime.webhook import Server as WebhookServer

LEASE_DURATION = 15.0
RENEW_DEADLINE = 10.0
RETRY_PERIOD = 2.0
GRACEFUL_SHUTDOWN_TIMEOUT = 30.0


@runtime_checkable
class LeaderElectionRunnable(Protocol):
    """A runnable that says whether it runs on the leader only. One that does not say, does."""

    def need_leader_election(self) -> bool: ...


@runtime_checkable
class WarmupRunnable(Protocol):
    """A runnable that can prepare before this process leads."""

    async def warmup(self) -> None: ...


class RunnableFunc:
    """A function as a runnable."""

    def __init__(self, function: Callable[[], Awaitable[None]]) -> None:
        self._function = function

    async def start(self) -> None:
        await self._function()

    def __str__(self) -> str:
        return f"function {getattr(self._function, '__qualname__', self._function)}"


def runnable_func(function: Callable[[], Awaitable[None]]) -> Runnable:
    """A function as a runnable; it runs on the leader only."""
    return RunnableFunc(function)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a manager is made and how it behaves."""

    cluster: cluster.Options = field(default_factory=cluster.Options)
    """Scheme, cache, client: see there."""

    controller: Controller = field(default_factory=Controller)
    """Defaults of all controllers."""

    leader_election: bool = False
    """Run controllers in one of several processes only."""

    leader_election_id: str = ""
    """Name of the Lease. Required with election."""

    leader_election_namespace: str = ""
    """Where the Lease is. Empty: the namespace of the pod."""

    leader_election_resource_lock: str = "leases"
    """Only leases exist."""

    leader_election_release_on_cancel: bool = False
    """Give the lease back on a graceful stop. Only for processes that end when the manager does."""

    leader_election_labels: dict[str, str] = field(default_factory=dict)
    leader_election_resource_lock_interface: ResourceLock | None = None
    """A lock of one's own; id, namespace and labels then have no meaning."""

    leader_election_config: RestConfig | None = None
    """Another API server for the Lease."""

    lease_duration: float = LEASE_DURATION
    """Seconds after the last renewal until others may take over."""

    renew_deadline: float = RENEW_DEADLINE
    """Seconds for which renewals may fail before this process stops leading."""

    retry_period: float = RETRY_PERIOD
    """Seconds between two tries."""

    graceful_shutdown_timeout: float = GRACEFUL_SHUTDOWN_TIMEOUT
    """Seconds for everything to end. 0: do not wait. Negative: wait for ever."""

    health_probe_bind_address: str = ""
    """`host:port` of the probes. "" or "0": none."""

    readiness_endpoint_name: str = "/readyz"
    liveness_endpoint_name: str = "/healthz"

    pprof_bind_address: str = ""
    """`host:port` of the debug pages. "" or "0": none."""

    metrics: MetricsOptions | None = None
    """None: plain HTTP on :8080. `MetricsOptions(bind_address="0")`: none."""

    webhook_server: WebhookServer | None = None
    """None: one on port 9443, made when somebody asks for it."""

    logger: Logger = field(default_factory=lambda: get_logger("manager"))


async def new(
    config: RestConfig | None, options: Options | None = None, *, clock: Clock = REAL_CLOCK
) -> ControllerManager:
    """Makes a manager: sockets are bound, nothing runs. Raises `ManagerError`, `OSError` for a port that is taken."""
    from bobrapet.runtime.manager.internal import ControllerManager

    options = options or Options()
    manager = ControllerManager(options, clock)
    await manager.prepare(config)
    return manager
