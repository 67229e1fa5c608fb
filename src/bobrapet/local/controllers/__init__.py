"""The workload controllers of the embedded control plane."""

from .manager import controllers

__all__ = ["controllers"]
