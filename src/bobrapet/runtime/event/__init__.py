"""Events."""

from bobrapet.runtime.event.event import CreateEvent, DeleteEvent, GenericEvent, Metadata, UpdateEvent

__all__ = ["CreateEvent", "DeleteEvent", "GenericEvent", "Metadata", "UpdateEvent"]
