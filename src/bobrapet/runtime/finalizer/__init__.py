"""Clean-up before objects go."""

from bobrapet.runtime.finalizer.finalizer import CleanupFailed, FinalizationFailed, Finalizer, Finalizers, Result

__all__ = ["CleanupFailed", "FinalizationFailed", "Finalizer", "Finalizers", "Result"]
