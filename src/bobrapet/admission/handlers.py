"""The two handlers behind every path: one fills in, one judges (spec admission A2, A11.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pydantic import ValidationError

from bobrapet.admission.answers import answer, undecided, unreadable
from bobrapet.admission.lookups import LookupFailed, Readers, examine
from bobrapet.admission.webhooks import WEBHOOKS
from bobrapet.api import Engram, Impulse, KubernetesObject, Story, Transport
from bobrapet.config.operator import OperatorConfig
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.webhook.admission import Request, Response, Webhook, allowed, json_patch, patched
from bobrapet.validation import Findings, Scene, check_manifest, check_object, kind_of, with_defaults
from bobrapet.validation.values import same_json

if TYPE_CHECKING:
    from bobrapet.runtime.manager import ControllerManager

Config = Callable[[], OperatorConfig]
"""The operator's configuration as it is now."""

_JUDGED: Final = {"CREATE": "creation", "UPDATE": "update"}

_SPEC_ONLY: Final = frozenset({Story, Engram, Impulse, Transport})
"""Kinds of which nothing but the spec is judged: an update that leaves it alone needs no closer look (A2.1)."""

_decoder = msgspec.json.Decoder(dict[str, Any])


class Defaulter:
    """Fills in what the author left open.

    What cannot be read passes unchanged, so that the API server's own error, with its path, reaches the author. So
    does what an update does not touch: who adds a label to an old object does not change what it means.
    """

    def __init__(self, kind: type[KubernetesObject], config: Config) -> None:
        self._kind = kind
        self._config = config
        self._log = get_logger(f"{kind.KIND.lower()}-resource")

    async def handle(self, request: Request) -> Response:
        given = _read(request.object, self._kind) if _concerns_spec(request) else None
        if given is None or _is_untouched(given, _read(request.old_object, self._kind)):
            return allowed()
        self._log.debug(f"Defaulting {self._kind.KIND}", name=request.name)
        before = {**given, "metadata": _placed(given.get("metadata"), request)}
        filled = with_defaults(before, self._config())
        return patched("", *json_patch(before, filled))


class Validator:
    """Says what is wrong with an object, all of it, and what its author should know."""

    def __init__(self, kind: type[KubernetesObject], readers: Readers, config: Config) -> None:
        self._kind = kind
        self._readers = readers
        self._config = config
        self._log = get_logger(f"{kind.KIND.lower()}-resource")

    async def handle(self, request: Request) -> Response:
        if not _concerns_spec(request):
            return allowed()
        self._log.debug(f"Validation for {self._kind.KIND} upon {_JUDGED[request.operation]}", name=request.name)
        given = _read(request.object, self._kind)
        if given is None:
            return unreadable(f"the object is no {self._kind.KIND} of {self._kind.API_VERSION}")
        given["metadata"] = _placed(given.get("metadata"), request)
        old = _read(request.old_object, self._kind)
        if self._kind in _SPEC_ONLY and old is not None and _has_spec_of(given, old):
            return allowed()
        subject = self._typed(given)
        if subject is None and _is_untouched(given, old):
            return allowed()  # it was stored like this, before there was a webhook or by a newer version
        before = self._typed(old) if old is not None else None

        def check(scene: Scene) -> Findings:
            if subject is None:
                return check_manifest(given, scene, unknown_fields=False)
            return check_object(subject, scene, old=before, wire=given)

        try:
            findings = await examine(check, subject, self._config(), self._readers)
        except LookupFailed as error:
            self._log.info("undecided", name=request.name, namespace=request.namespace, reason=str(error))
            return undecided(error)
        return answer(findings, self._kind, request)

    def _typed(self, manifest: dict[str, Any]) -> KubernetesObject | None:
        try:
            return self._kind.model_validate(manifest)
        except (ValidationError, RecursionError):
            return None


def add_webhooks(manager: ControllerManager, config: Config) -> None:
    """Serves the webhooks of all kinds on the webhook server of `manager`, from when it starts.

    Raises `WebhookServerError` when one of the paths is taken.
    """
    server = manager.get_webhook_server()
    readers = Readers(cached=manager.get_client(), live=manager.get_api_reader())
    for row in WEBHOOKS:
        server.register(row.validating_path, Webhook(Validator(row.kind, readers, config)))
        if row.mutating:
            server.register(row.mutating_path, Webhook(Defaulter(row.kind, config)))


def _concerns_spec(request: Request) -> bool:
    """Deletion is never refused, and the status has its own rules, kept by those who write it."""
    return request.operation in _JUDGED and not request.sub_resource


def _read(raw: bytes, kind: type[KubernetesObject]) -> dict[str, Any] | None:
    """The object, None when it is not one of `kind`."""
    try:
        manifest = _decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    return manifest if kind_of(manifest) is kind else None


def _is_untouched(given: dict[str, Any], old: dict[str, Any] | None) -> bool:
    """Whether an update concerns metadata only, or an object that is going away."""
    if old is None:
        return False
    metadata = given.get("metadata")
    if isinstance(metadata, dict) and metadata.get("deletionTimestamp"):
        return True
    return _has_spec_of(given, old)


def _has_spec_of(given: dict[str, Any], old: dict[str, Any]) -> bool:
    try:
        return same_json(given.get("spec"), old.get("spec"))
    except RecursionError:
        return False


def _placed(metadata: Any, request: Request) -> Any:
    """The metadata with the namespace of the request, which API servers before 1.24 leave out of new objects."""
    if not isinstance(metadata, dict) or metadata.get("namespace") or not request.namespace:
        return metadata
    return {**metadata, "namespace": request.namespace}
