"""Sources of events."""

from bobrapet.runtime.source.source import (
    Channel,
    Func,
    Informer,
    Source,
    StoppableSource,
    SyncingSource,
    channel,
    func,
    kind,
)

__all__ = [
    "Channel",
    "Func",
    "Informer",
    "Source",
    "StoppableSource",
    "SyncingSource",
    "channel",
    "func",
    "kind",
]
