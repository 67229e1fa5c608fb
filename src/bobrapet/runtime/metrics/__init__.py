"""Metrics."""

from bobrapet.runtime.metrics.registry import REGISTRY

__all__ = ["REGISTRY"]
