"""The HTTP servers of a manager: probes, metrics, debug pages. None of them is needed to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bobrapet.runtime.healthz import Handler
from bobrapet.runtime.manager.errors import ManagerError

if TYPE_CHECKING:
    from bobrapet.runtime.manager.internal import ControllerManager
    from bobrapet.runtime.manager.manager import Options
    from bobrapet.runtime.manager.server import Server

OFF = ("", "0")


@dataclass(frozen=True)
class Probes:
    """Where a kubelet asks."""

    address: str
    liveness: str = "/healthz"
    readiness: str = "/readyz"

    def server(self, healthz: Handler, readyz: Handler) -> Server:
        """Binds the socket. Raises `OSError` when the port is taken."""
        # aiohttp is slow to import, so only those who serve pay for it.
        from aiohttp import web

        from bobrapet.runtime.healthz.healthz import HEADERS
        from bobrapet.runtime.internal.httpserver.server import listen
        from bobrapet.runtime.manager.server import Server

        def serve(handler: Handler) -> Any:
            async def answer(request: web.Request) -> web.Response:
                status, text = await handler.answer(request.match_info.get("check", ""), request.query_string)
                return web.Response(status=status, text=text, headers=HEADERS)

            return answer

        app = web.Application()
        for path, handler in ((self.liveness, healthz), (self.readiness, readyz)):
            app.router.add_get(path, serve(handler))
            app.router.add_get(path.rstrip("/") + "/{check:.*}", serve(handler))
        return Server("health probe", app, listen(self.address))


class Endpoints:
    """Binds the sockets that the options ask for; a port that is taken fails here, before anything runs (MGR-17)."""

    def __init__(self, manager: ControllerManager, options: Options) -> None:
        self.healthz = Handler("healthz")
        self.readyz = Handler("readyz")
        self._options = options
        self._servers: list[Any] = []
        self._metrics_server: Any = None
        self._lag: Any = None
        try:
            self._bind(manager, options)
        except BaseException:
            self.close()
            raise

    def _bind(self, manager: ControllerManager, options: Options) -> None:
        if options.health_probe_bind_address not in OFF:
            probes = Probes(
                options.health_probe_bind_address, options.liveness_endpoint_name, options.readiness_endpoint_name
            )
            self._servers.append(probes.server(self.healthz, self.readyz))
        if options.metrics is None or options.metrics.bind_address not in OFF:
            from bobrapet.runtime.metrics.client_go_adapter import observe_requests
            from bobrapet.runtime.metrics.informers import expose_informers
            from bobrapet.runtime.metrics.registry import expose_process
            from bobrapet.runtime.metrics.server import Options as MetricsOptions
            from bobrapet.runtime.metrics.server import Server as MetricsServer

            observe_requests()
            expose_informers()
            expose_process()
            self._metrics_server = MetricsServer(options.metrics or MetricsOptions(), clock=manager.clock)
            self._servers.append(self._metrics_server)
        if options.pprof_bind_address not in OFF:
            from bobrapet.runtime.manager.debug import debug_server

            self._servers.append(debug_server(options.pprof_bind_address))
        if self._servers:
            from bobrapet.runtime.metrics.looplag import LoopLag

            self._lag = LoopLag(manager.clock)
            self.healthz.checks["event-loop"] = self._lag.check

    def servers(self) -> list[Any]:
        """What the manager shall run."""
        return self._servers if self._lag is None else [*self._servers, self._lag]

    def close(self) -> None:
        """Gives the ports back, also of what never ran. May be repeated."""
        for server in self._servers:
            server.close()

    def add_metrics_handler(self, path: str, handler: Any) -> None:
        if path == "/metrics":
            raise ManagerError("the path /metrics is taken by the metrics themselves")
        if self._metrics_server is not None:
            self._metrics_server.add_extra_handler(path, handler)
