"""The default queue of controllers."""

from bobrapet.runtime.controller.priorityqueue.priorityqueue import AddOpts, PriorityQueue

__all__ = ["AddOpts", "PriorityQueue"]
