"""Webhooks."""

from bobrapet.runtime.webhook.server import Options, Server, WebhookServerError

__all__ = ["Options", "Server", "WebhookServerError"]
