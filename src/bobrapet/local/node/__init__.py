"""The process runner: plays the node of an API server and runs each container as a local process."""

from .errors import InvalidImageCommand, NodeError
from .images import ENTRY_POINT_GROUP, ImageResolver, parse_override
from .logsource import LogUnavailable, PodLogs
from .node import Node, NodeOptions, run

__all__ = [
    "ENTRY_POINT_GROUP",
    "ImageResolver",
    "InvalidImageCommand",
    "LogUnavailable",
    "Node",
    "NodeError",
    "NodeOptions",
    "PodLogs",
    "parse_override",
    "run",
]
