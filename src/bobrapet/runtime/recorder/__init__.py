"""Event recorders."""

from bobrapet.runtime.recorder.recorder import NORMAL, WARNING, EventRecorder

__all__ = ["NORMAL", "WARNING", "EventRecorder"]
