"""Builders."""

from bobrapet.runtime.builder.controller import BuilderError, ControllerBuilder, controller_managed_by
from bobrapet.runtime.builder.webhook import WebhookBuilder, webhook_managed_by

__all__ = ["BuilderError", "ControllerBuilder", "WebhookBuilder", "controller_managed_by", "webhook_managed_by"]
