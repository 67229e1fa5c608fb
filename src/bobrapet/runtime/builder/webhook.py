"""The fluent way to webhooks (controller-runtime pkg/builder, spec runtime BLD-5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

from bobrapet.runtime.builder.controller import BuilderError
from bobrapet.runtime.client.apiutil import gvk_for_class
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.scheme import GroupVersionKind

if TYPE_CHECKING:
    from bobrapet.runtime.manager.internal import ControllerManager
    from bobrapet.runtime.webhook.admission import CustomDefaulter, CustomValidator, Webhook

_PATH = re.compile(r"((/[a-zA-Z0-9-_]+)+|/)")

log = get_logger("builder")


class WebhookBuilder:
    """Collects the webhooks of one kind. Ends with `complete`."""

    def __init__(self, manager: ControllerManager, cls: type[Any]) -> None:
        self._manager = manager
        self._cls = cls
        self._defaulter: CustomDefaulter[Any] | None = None
        self._validator: CustomValidator[Any] | None = None
        self._defaulter_path = ""
        self._validator_path = ""
        self._recover_panic = True

    def with_defaulter(self, defaulter: CustomDefaulter[Any]) -> Self:
        self._defaulter = defaulter
        return self

    def with_validator(self, validator: CustomValidator[Any]) -> Self:
        self._validator = validator
        return self

    def with_defaulter_custom_path(self, path: str) -> Self:
        """A path other than `/mutate-<group>-<version>-<kind>`."""
        self._defaulter_path = path
        return self

    def with_validator_custom_path(self, path: str) -> Self:
        """A path other than `/validate-<group>-<version>-<kind>`."""
        self._validator_path = path
        return self

    def recover_panic(self, recover: bool) -> Self:
        """Whether faults in the code answer 500 (the default), or are not caught."""
        self._recover_panic = recover
        return self

    def complete(self) -> None:
        """Registers the webhooks at the server of the manager. Raises `BuilderError`."""
        from bobrapet.runtime.webhook.admission import with_custom_defaulter, with_custom_validator

        if self._defaulter is None and self._validator is None:
            raise BuilderError("a webhook needs with_defaulter() or with_validator()")
        gvk = gvk_for_class(self._cls, self._manager.scheme)
        if self._defaulter is not None:
            webhook = with_custom_defaulter(self._cls, self._defaulter, recover_panic=self._recover_panic)
            self._register(self._defaulter_path or mutating_path(gvk), webhook)
        if self._validator is not None:
            webhook = with_custom_validator(self._cls, self._validator, recover_panic=self._recover_panic)
            self._register(self._validator_path or validating_path(gvk), webhook)

    def _register(self, path: str, webhook: Webhook) -> None:
        if not _PATH.fullmatch(path):
            raise BuilderError(f"webhook path {path!r} does not match {_PATH.pattern}")
        server = self._manager.get_webhook_server()
        if server.is_registered(path):
            log.debug("a webhook is registered for this path already", path=path)
            return
        server.register(path, webhook)


def webhook_managed_by(manager: ControllerManager, cls: type[Any]) -> WebhookBuilder:
    """Begins to build the webhooks of a class."""
    return WebhookBuilder(manager, cls)


def mutating_path(gvk: GroupVersionKind) -> str:
    """Where the API server finds the defaulter of a kind."""
    return f"/mutate-{_suffix(gvk)}"


def validating_path(gvk: GroupVersionKind) -> str:
    """Where the API server finds the validator of a kind."""
    return f"/validate-{_suffix(gvk)}"


def _suffix(gvk: GroupVersionKind) -> str:
    return f"{gvk.group.replace('.', '-')}-{gvk.version}-{gvk.kind.lower()}"
