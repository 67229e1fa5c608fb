"""Admission over the wire: what the API server asks about our objects before it stores them.

    add_webhooks(manager, config)       serves all webhooks on the manager's webhook server
    webhook_configurations(endpoint)    the objects that make an API server call them
    RULES                               what the manager must be allowed to read for it

The checks themselves live in `validation`; this room finds the objects that they look at and puts findings into words
of the API server. Nothing here writes, so a dry run is a run like any other.
"""

from __future__ import annotations

from bobrapet.admission.configuration import Endpoint, Service, Url, webhook_configurations
from bobrapet.admission.handlers import Defaulter, Validator, add_webhooks
from bobrapet.admission.lookups import RULES
from bobrapet.admission.webhooks import WEBHOOKS, KindWebhooks

__all__ = [
    "RULES",
    "WEBHOOKS",
    "Defaulter",
    "Endpoint",
    "KindWebhooks",
    "Service",
    "Url",
    "Validator",
    "add_webhooks",
    "webhook_configurations",
]
