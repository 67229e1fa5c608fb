"""Events."""

from bobrapet.runtime.event.event import CreateEvent, DeleteEvent, GenericEvent, UpdateEvent

__all__ = ["CreateEvent", "DeleteEvent", "GenericEvent", "UpdateEvent"]
