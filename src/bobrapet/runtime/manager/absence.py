"""A start while the API server is away: to wait is better than to end.

A leader that cannot renew its lease has to end. Whatever restarts it would find a process that ends at once for as long
as the API server is away, and would soon leave minutes between two starts.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

from bobrapet.runtime.clock import Clock
from bobrapet.runtime.errors import NO_SERVER, ApiError
from bobrapet.runtime.healthz import Handler
from bobrapet.runtime.internal.tasks import TaskSet
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.manager.endpoints import OFF, Probes
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.toolscache.backoff import Backoff

PATH: Final = "/version"
"""Everybody may read it."""

ANSWER_TIMEOUT: Final = 5.0
LONGEST_PAUSE: Final = 5.0

log = get_logger("setup")


async def wait_for_api_server(config: RestConfig, why: Exception, *, probes: Probes, clock: Clock) -> None:
    """Returns when the API server answers. `why` is the failure that led here.

    Meanwhile `probes` are answered: the process is alive, and not ready. Raises `CredentialError`, and `OSError` when
    the port of the probes is taken.
    """
    pauses = Backoff(clock, initial=1.0, maximum=LONGEST_PAUSE, jitter=0.2)
    async with AsyncExitStack() as stack:
        rest = await stack.enter_async_context(RestClient(config))
        await _answer(probes, stack)
        while True:
            log.warning("the API server cannot be reached; waiting for it", server=config.host, reason=str(why))
            await clock.sleep(pauses.next())
            try:
                await rest.request("GET", PATH, timeout=ANSWER_TIMEOUT)
                return
            except NO_SERVER as error:
                why = error
            except ApiError:
                return  # a refusal is an answer


async def _answer(probes: Probes, stack: AsyncExitStack) -> None:
    if probes.address in OFF:
        return
    server = probes.server(Handler("healthz"), Handler("readyz", {"api-server": _not_ready}))
    stack.callback(server.close)
    tasks = TaskSet()
    stack.push_async_callback(tasks.stop)
    tasks.spawn(server.start(), name=str(server))
    await server.ready()


async def _not_ready() -> None:
    raise ConnectionError("waiting for the API server")
