"""Requests, results and reconcilers."""

from bobrapet.runtime.reconcile.reconcile import (
    Func,
    ReconcileError,
    Reconciler,
    ReconcileTimeout,
    Request,
    Result,
    ResultWithError,
    TerminalError,
    as_reconciler,
    is_terminal,
)

__all__ = [
    "Func",
    "ReconcileError",
    "ReconcileTimeout",
    "Reconciler",
    "Request",
    "Result",
    "ResultWithError",
    "TerminalError",
    "as_reconciler",
    "is_terminal",
]
