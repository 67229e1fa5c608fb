"""Wires the workload controllers into a manager of the runtime."""

from __future__ import annotations

from bobrapet.runtime import cluster
from bobrapet.runtime.builder.controller import controller_managed_by
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.controller.controller import Options as ControllerOptions
from bobrapet.runtime.manager import manager as managers
from bobrapet.runtime.manager.internal import ControllerManager
from bobrapet.runtime.metrics.server import Options as MetricsOptions
from bobrapet.runtime.rest.config import RestConfig

from .job_controller import Job, JobReconciler, Pod

WORKERS = 4  # the work is waiting for the API server


async def controllers(config: RestConfig, *, clock: Clock = REAL_CLOCK) -> ControllerManager:
    """A manager with every workload controller, not started. `await manager.start()` runs it until cancelled."""
    manager = await managers.new(
        config,
        managers.Options(
            cluster=cluster.Options(client_cache_unstructured=True, read_your_writes=True),
            metrics=MetricsOptions(bind_address="0"),
        ),
        clock=clock,
    )
    await (
        controller_managed_by(manager)
        .for_(Job)
        .owns(Pod)
        .with_options(ControllerOptions(max_concurrent_reconciles=WORKERS, skip_name_validation=True))
        .complete(JobReconciler(manager.get_client(), manager.get_event_recorder("job-controller"), clock))
    )
    return manager
