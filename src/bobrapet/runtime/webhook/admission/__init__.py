"""Admission: requests, responses, and the handlers around defaulters and validators."""

from bobrapet.runtime.webhook.admission.decode import Decoder, UndecodableObject
from bobrapet.runtime.webhook.admission.defaulter_custom import CustomDefaulter, with_custom_defaulter
from bobrapet.runtime.webhook.admission.multi import MultiMutating, MultiValidating
from bobrapet.runtime.webhook.admission.response import (
    Request,
    Response,
    allowed,
    denied,
    errored,
    json_patch,
    patch_response_from_raw,
    patched,
)
from bobrapet.runtime.webhook.admission.validator_custom import (
    AdmissionDenied,
    CustomValidator,
    with_custom_validator,
)
from bobrapet.runtime.webhook.admission.webhook import Handler, Webhook, request_from_context

__all__ = [
    "AdmissionDenied",
    "CustomDefaulter",
    "CustomValidator",
    "Decoder",
    "Handler",
    "MultiMutating",
    "MultiValidating",
    "Request",
    "Response",
    "UndecodableObject",
    "Webhook",
    "allowed",
    "denied",
    "errored",
    "json_patch",
    "patch_response_from_raw",
    "patched",
    "request_from_context",
    "with_custom_defaulter",
    "with_custom_validator",
]
