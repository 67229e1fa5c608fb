"""Handlers: from events to requests."""

from bobrapet.runtime.handler.enqueue import EnqueueRequestForObject
from bobrapet.runtime.handler.enqueue_mapped import EnqueueMapped, MapFunc, enqueue_requests_from_map_func
from bobrapet.runtime.handler.enqueue_owner import EnqueueRequestForOwner, enqueue_request_for_owner
from bobrapet.runtime.handler.eventhandler import LOW_PRIORITY, EventHandler, Funcs, RequestQueue, WithDefaultPriority

__all__ = [
    "LOW_PRIORITY",
    "EnqueueMapped",
    "EnqueueRequestForObject",
    "EnqueueRequestForOwner",
    "EventHandler",
    "Funcs",
    "MapFunc",
    "RequestQueue",
    "WithDefaultPriority",
    "enqueue_request_for_owner",
    "enqueue_requests_from_map_func",
]
