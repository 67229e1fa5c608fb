"""Defaults that all controllers of a manager share (controller-runtime pkg/config)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Controller:
    """None leaves the choice to the controller's own default (spec runtime 6.2)."""

    max_concurrent_reconciles: int | None = None
    """Workers of each controller. None: 1."""

    group_kind_concurrency: Mapping[str, int] = field(default_factory=dict)
    """Workers of the controllers that a builder makes, by `Kind.group` (`Kind` in the core group)."""

    cache_sync_timeout: float | None = None
    """Seconds that sources may take to start and to fill. None: 120."""

    recover_panic: bool | None = None
    """Whether faults in the code of a reconciler are retried like errors (None: yes) or end the process."""

    need_leader_election: bool | None = None
    """Whether controllers run on the leader only. None: yes."""

    enable_warmup: bool | None = None
    """Whether caches and queues fill before this process leads. None: no."""

    reconciliation_timeout: float | None = None
    """Seconds after which a reconcile is cancelled and retried. None or 0: no limit."""

    use_priority_queue: bool | None = None
    """None: yes."""

    rate_limiter: Callable[[], Any] | None = None
    """Makes the rate limiter of each controller. None: exponential per item, 5 ms to 1000 s."""

    skip_name_validation: bool | None = None
    """Allow two controllers of one name; their metrics then mix."""
