"""Pages for people who look for what hangs; where Go has pprof (spec runtime LOG-6)."""

from __future__ import annotations

import asyncio
import io

from aiohttp import web

from bobrapet.runtime.cache.internal.informers import RUNNING
from bobrapet.runtime.internal.httpserver.server import listen
from bobrapet.runtime.manager.server import Server
from bobrapet.runtime.metrics.workqueue import WORKQUEUES


def debug_server(address: str) -> Server:
    """Serves /debug/tasks, /debug/queues and /debug/informers."""
    app = web.Application()
    app.router.add_get("/debug/tasks", _tasks)
    app.router.add_get("/debug/queues", _queues)
    app.router.add_get("/debug/informers", _informers)
    return Server("pprof", app, listen(address))


async def _tasks(request: web.Request) -> web.Response:
    text = io.StringIO()
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        task.print_stack(file=text)
        text.write("\n")
    return web.Response(text=text.getvalue())


async def _queues(request: web.Request) -> web.Response:
    lines = [
        f"{queue.name}: {sum(queue.depth.values())} ready, {queue.adds} adds, {queue.retries} retries, "
        f"{queue.longest_running:.1f} s longest running, {queue.unfinished:.1f} s unfinished"
        for queue in WORKQUEUES.queues()
    ]
    return web.Response(text="\n".join([*sorted(lines), ""]))


async def _informers(request: web.Request) -> web.Response:
    lines = [
        f"{entry.informer.name}: {len(entry.informer.store)} objects, synced {entry.informer.has_synced()}, "
        f"at {entry.informer.progress}"
        for entry in RUNNING
    ]
    return web.Response(text="\n".join([*sorted(lines), ""]))
