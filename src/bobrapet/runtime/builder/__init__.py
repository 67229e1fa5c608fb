"""Builders."""

from bobrapet.runtime.builder.controller import BuilderError, ControllerBuilder, controller_managed_by

__all__ = ["BuilderError", "ControllerBuilder", "controller_managed_by"]
