"""Decisions about one step: `plan` says what to do for a StepRun at a moment (spec workloads 2 to 4, 14 to 18)."""

from bobrapet.engine.steprun.machine import not_created, plan, storage_unavailable, too_large

__all__ = ["not_created", "plan", "storage_unavailable", "too_large"]
