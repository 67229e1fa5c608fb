"""Decisions about runs: pure functions from a snapshot and a moment to a plan.

`plan` drives a StoryRun, `steprun.plan` a StepRun. Neither awaits, reads a clock or keeps state: the same snapshot and
moment give the same plan, so a plan may be made again at any time, and `explain` prints what the engine acted on.
"""

from bobrapet.engine.run import plan

__all__ = ["plan"]
