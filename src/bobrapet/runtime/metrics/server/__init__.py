"""The metrics endpoint."""

from bobrapet.runtime.metrics.server.server import Filter, MetricsServerError, Options, Server

__all__ = ["Filter", "MetricsServerError", "Options", "Server"]
