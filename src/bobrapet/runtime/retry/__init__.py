"""Retries with back-off."""

from bobrapet.runtime.retry.util import DEFAULT_BACKOFF, DEFAULT_RETRY, Backoff, on_error, retry_on_conflict

__all__ = ["DEFAULT_BACKOFF", "DEFAULT_RETRY", "Backoff", "on_error", "retry_on_conflict"]
