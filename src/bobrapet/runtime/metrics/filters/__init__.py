"""Filters of the metrics server."""

from bobrapet.runtime.metrics.filters.filters import Reviewer, with_authentication_and_authorization

__all__ = ["Reviewer", "with_authentication_and_authorization"]
