"""Probes."""

from bobrapet.runtime.healthz.healthz import Checker, Handler, ping

__all__ = ["Checker", "Handler", "ping"]
