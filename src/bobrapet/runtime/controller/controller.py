"""Options of a controller, and how one is made (controller-runtime pkg/controller)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bobrapet.runtime.config import Controller as Defaults
from bobrapet.runtime.controller.name import check_name
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.internal.controller.controller import Controller
from bobrapet.runtime.log.log import Logger, get_logger
from bobrapet.runtime.reconcile import Reconciler
from bobrapet.runtime.workqueue import (
    ItemExponentialFailureRateLimiter,
    RateLimiter,
    default_controller_rate_limiter,
)

if TYPE_CHECKING:
    from bobrapet.runtime.manager.internal import ControllerManager

R = TypeVar("R", bound=Hashable)
V = TypeVar("V")

CACHE_SYNC_TIMEOUT = 120.0

LogFields = Callable[[Any], dict[str, Any]]
"""The fields that log lines of one reconcile carry, from its request."""


@dataclass(frozen=True, kw_only=True)
class Options(Generic[R]):
    """None inherits the default of the manager, and then the one stated there."""

    reconciler: Reconciler[R] | None = None
    """What to run. Required, except through a builder, which sets it."""

    max_concurrent_reconciles: int | None = None
    """Workers of this controller. None: the manager's default (1). More workers never run one key twice at once."""

    cache_sync_timeout: float | None = None
    """Seconds that each source may take to start, and again to fill. None: 120."""

    recover_panic: bool | None = None
    """Retry faults in the code of the reconciler like errors (None: yes), or end the process."""

    need_leader_election: bool | None = None
    """Run on the leader only. None: yes."""

    enable_warmup: bool | None = None
    """Fill caches and queue before this process leads. None: no. Without election it changes nothing."""

    reconciliation_timeout: float | Callable[[], float] | None = None
    """Seconds after which a reconcile is cancelled and retried with back-off, or a function that says so before each.
    None or 0: no limit."""

    use_priority_queue: bool | None = None
    """None: yes. No: the plain queue, and a rate limiter with an overall limit of 10 per second."""

    rate_limiter: Callable[[], RateLimiter[R]] | None = None
    """Makes the rate limiter. None: exponential per item, 5 ms to 1000 s."""

    skip_name_validation: bool | None = None
    """Allow another controller of the same name."""

    log_fields: LogFields | None = None
    """Fields for the log lines of a reconcile. None: controller, namespace and name."""

    logger: Logger | None = None
    """None: the logger of the manager."""


def new(name: str, manager: ControllerManager, options: Options[Any]) -> Controller[Any]:
    """Makes a controller, which the manager will run. Raises `ControllerRuntimeError` for options that do not fit."""
    controller = new_unmanaged(name, manager, options)
    manager.add(controller)
    return controller


def new_unmanaged(name: str, manager: ControllerManager, options: Options[Any]) -> Controller[Any]:
    """Makes a controller with the defaults of the manager; the caller runs it."""
    if options.reconciler is None:
        raise ControllerRuntimeError("a controller needs a reconciler: Options(reconciler=...)")
    if not name:
        raise ControllerRuntimeError("a controller needs a name")
    defaults: Defaults = manager.get_controller_options()
    if not _first(options.skip_name_validation, defaults.skip_name_validation, False):
        check_name(name)
    clock = manager.clock
    priority = _first(options.use_priority_queue, defaults.use_priority_queue, True)

    def default_rate_limiter() -> RateLimiter[Any]:
        return ItemExponentialFailureRateLimiter() if priority else default_controller_rate_limiter(clock)

    workers = _first(options.max_concurrent_reconciles, defaults.max_concurrent_reconciles, 1)
    return Controller(
        name,
        options.reconciler,
        clock=clock,
        logger=(options.logger or get_logger("controller")).bind(controller=name),
        log_fields=options.log_fields or _default_log_fields,
        new_rate_limiter=options.rate_limiter or defaults.rate_limiter or default_rate_limiter,
        max_concurrent_reconciles=max(1, workers),
        cache_sync_timeout=_first(options.cache_sync_timeout, defaults.cache_sync_timeout, CACHE_SYNC_TIMEOUT),
        recover_panic=_first(options.recover_panic, defaults.recover_panic, True),
        leader_election=_first(options.need_leader_election, defaults.need_leader_election, True),
        enable_warmup=_first(options.enable_warmup, defaults.enable_warmup, False),
        reconciliation_timeout=options.reconciliation_timeout
        if options.reconciliation_timeout is not None
        else defaults.reconciliation_timeout or 0.0,
        use_priority_queue=priority,
    )


def _first(*choices: V | None) -> V:
    return next(choice for choice in choices if choice is not None)


def _default_log_fields(request: Any) -> dict[str, Any]:
    namespace, name = getattr(request, "namespace", ""), getattr(request, "name", str(request))
    return {"object": {"name": name, "namespace": namespace}, "namespace": namespace, "name": name}
