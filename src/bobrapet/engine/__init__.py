"""Decisions about runs: pure functions from a snapshot and a moment to a plan.

`plan` drives a StoryRun, `steprun.plan` a StepRun, `trigger.plan` a StoryTrigger, `effectclaim.plan` an EffectClaim.
None of them awaits, reads a clock or keeps state: the same snapshot and moment give the same plan, so a plan may be
made again at any time, and `explain` prints what the engine acted on.

How a run is decided, from the outside in:

    snapshot, plans, reasons    what goes in, what comes out, and why
    run                         the life of a run: redrive, afterlife, or one pass
    dag                         one pass over the steps, on the state that work keeps
    graph, states               which step needs which; where each one stands
    launch, primitives          starting a step: a StepRun, or what its type does itself
    inputs, context, evaluation what templates see and give
    scheduling                  who may start when a limit is reached
    ending, finish              ending early; how a run ends
    steprun                     the state machine of one step; outcome says how it ended
"""

from bobrapet.engine.run import plan

__all__ = ["plan"]
