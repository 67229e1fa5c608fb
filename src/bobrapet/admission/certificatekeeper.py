"""Keeps the manager's own webhook certificate: in one Secret, in the server that uses it, in the configurations.

Every replica runs one. Who comes second finds its write refused and takes what the first one stored. Where cert-manager
is at work (its annotations tell), nothing is written. Nothing is polled: the Secret and the configurations are watched,
each by its name, and the next step of a renewal has a date.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from prometheus_client import Gauge

from bobrapet.admission import certificates
from bobrapet.admission.certificates import Material, Policy
from bobrapet.runtime.certwatcher import load_pair, server_context
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.client.patch import raw_patch
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import AlreadyExists, ApiError, Conflict, ControllerRuntimeError, NotFound, TransportError
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.metrics.registry import REGISTRY
from bobrapet.runtime.rest.interface import STRATEGIC_MERGE_PATCH

RETRY_SECONDS: Final = 5.0
"""After a failure, and before a watch that ended is opened again."""

TRIES: Final = 10
FIELD_OWNER: Final = "bobrapet-webhook-certificate"
INJECTED_BY_CERT_MANAGER: Final = "cert-manager.io/inject-ca-from"
MADE_BY_CERT_MANAGER: Final = "cert-manager.io/certificate-name"

EXPIRES = Gauge(
    "bobrapet_webhook_certificate_expiration_timestamp_seconds",
    "When the webhook certificate in use expires, in seconds since 1970",
    registry=REGISTRY,
)

Secret: Final = Unstructured.of("v1", "Secret")
log = get_logger("webhook-certificate")


class CertificateUnavailable(ControllerRuntimeError):
    """There is no webhook certificate to serve with."""


class CertificateKeeper:
    """A runnable of every replica. `context` serves with the current certificate, whatever it is by then."""

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        prefix: str,
        *,
        clock: Clock = REAL_CLOCK,
        policy: Policy = Policy(),  # noqa: B008 - immutable
    ) -> None:
        self.context = server_context()
        self._client = client
        self._key = ObjectKey(namespace, certificates.secret_name(prefix))
        self._names = certificates.service_names(prefix, namespace)
        self._configurations = certificates.configuration_names(prefix)
        self._clock = clock
        self._policy = policy
        self._loaded: certificates.Pair | None = None
        self._changed = asyncio.Event()
        """Something that we watch is not as it was at the last look, or may not be."""

    def need_leader_election(self) -> bool:
        return False

    async def start(self) -> None:
        """Looks whenever something changes or a step is due, until cancelled."""
        watched = [
            (Secret, self._key),
            *((_class(kind), ObjectKey("", name)) for kind, name in self._configurations.items()),
        ]
        watches = [asyncio.create_task(self._watch(cls, key), name=f"watching {key}") for cls, key in watched]
        try:
            while True:
                self._changed.clear()
                try:
                    due = await self.look()
                except (ControllerRuntimeError, ssl.SSLError) as error:
                    log.error("the webhook certificate could not be looked after", error=error)
                    due = self._clock.now() + timedelta(seconds=RETRY_SECONDS)
                await self._wait(due)
        finally:
            for each in watches:
                each.cancel()
            await asyncio.wait(watches)

    async def _watch(self, cls: type[Unstructured], key: ObjectKey) -> None:
        """Notes every change of one object. A watch that begins tells how it is now, which may be different already."""
        while True:
            try:
                events = self._client.watch(cls, namespace=key.namespace or None, fields={"metadata.name": key.name})
                async with events as told:
                    self._changed.set()
                    async for _ in told:
                        self._changed.set()
            except (ControllerRuntimeError, OSError) as error:
                log.error("cannot be watched", object=str(key), error=error)
            await self._clock.sleep(RETRY_SECONDS)

    async def _wait(self, due: datetime) -> None:
        changed = asyncio.create_task(self._changed.wait())
        sleeping = asyncio.ensure_future(self._clock.sleep(max((due - self._clock.now()).total_seconds(), 0.05)))
        try:
            await asyncio.wait([changed, sleeping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            sleeping.cancel()

    async def look(self) -> datetime:
        """Takes the step that is due, if any; says when the next one is.

        Afterwards `context` serves and the configurations that exist trust it. Raises `ApiError`, `TransportError`,
        and `CertificateUnavailable` when other replicas keep getting in first.
        """
        for _ in range(TRIES):
            stored = await get_or_none(self._client, Secret, self._key)
            if stored is not None and MADE_BY_CERT_MANAGER in (stored.metadata.annotations or {}):
                return self._follow(stored)
            configurations = await self._untrusting(_data(stored))
            step = certificates.plan(
                _data(stored), self._names, trusted=not configurations, now=self._clock.now(), policy=self._policy
            )
            if step.write:
                try:
                    await self._store(stored, step.material)
                except (Conflict, AlreadyExists, NotFound):
                    continue  # another replica was first: what it stored is as good as ours
                log.info("webhook certificate stored", secret=str(self._key), reason=step.why)
                continue  # and look whether somebody has to be told
            for configuration in configurations:
                await self._trust(configuration, step.material)
            self._use(step.material.current)
            return step.look_again
        raise CertificateUnavailable(f"Secret {self._key} changes faster than it can be read")

    async def close(self) -> None:
        await self._client.close()

    def _follow(self, secret: Unstructured) -> datetime:
        held = certificates.read(_data(secret) or {})
        if isinstance(held, str):
            raise CertificateUnavailable(f"Secret {self._key} of cert-manager: {held}")
        self._use(held.current)
        return held.current.expires

    def _use(self, pair: certificates.Pair) -> None:
        if pair != self._loaded:
            load_pair(server_context(), pair.certificate, pair.key)  # a pair that does not fit must not spoil ours
            load_pair(self.context, pair.certificate, pair.key)
            self._loaded = pair
            EXPIRES.set(pair.expires.timestamp())
            log.info("serving with the webhook certificate", until=pair.expires.isoformat(timespec="seconds"))

    async def _store(self, stored: Unstructured | None, material: Material) -> None:
        data = {key: base64.b64encode(value).decode() for key, value in material.data().items()}
        if stored is None:
            meta = {
                "name": self._key.name,
                "namespace": self._key.namespace,
                "labels": {"app.kubernetes.io/name": "bobrapet"},
            }
            await self._client.create(
                Secret({"metadata": meta, "type": "kubernetes.io/tls", "data": data}), field_owner=FIELD_OWNER
            )
        else:
            await self._client.update(Secret({**stored.object, "data": data}), field_owner=FIELD_OWNER)

    async def _untrusting(self, data: Mapping[str, bytes] | None) -> list[Unstructured]:
        """The webhook configurations that do not trust exactly these authorities, and are ours to change."""
        wanted = base64.b64encode((data or {}).get(certificates.AUTHORITIES, b"")).decode()
        found = []
        for kind, name in self._configurations.items():
            configuration = await get_or_none(self._client, _class(kind), ObjectKey("", name))
            if configuration is None or INJECTED_BY_CERT_MANAGER in (configuration.metadata.annotations or {}):
                continue
            bundles = {hook["clientConfig"].get("caBundle", "") for hook in configuration.get("webhooks") or ()}
            if bundles - {wanted}:
                found.append(configuration)
        return found

    async def _trust(self, configuration: Unstructured, material: Material) -> None:
        bundle = base64.b64encode(material.bundle).decode()
        webhooks: list[dict[str, Any]] = [
            {"name": hook["name"], "clientConfig": {"caBundle": bundle}} for hook in configuration.get("webhooks") or ()
        ]
        patch = raw_patch(STRATEGIC_MERGE_PATCH, msgspec.json.encode({"webhooks": webhooks}))
        try:
            await self._client.patch(configuration, patch, field_owner=FIELD_OWNER)
        except NotFound:
            return
        log.info("webhook configuration trusts the certificate", configuration=configuration.metadata.name)


async def ready_keeper(keeper: CertificateKeeper, *, patience: float, clock: Clock) -> None:
    """Looks until there is a certificate to serve with. Raises what stood in the way `patience` seconds long."""
    deadline = clock.monotonic() + patience
    while True:
        try:
            await keeper.look()
            return
        except (ApiError, TransportError, CertificateUnavailable) as error:
            if clock.monotonic() >= deadline:
                raise
            log.warning("no webhook certificate yet", error=error)
            await clock.sleep(1.0)


def _class(kind: str) -> type[Unstructured]:
    return Unstructured.of("admissionregistration.k8s.io/v1", kind)


def _data(secret: Unstructured | None) -> dict[str, bytes] | None:
    if secret is None:
        return None
    decoded = {}
    for key, text in (secret.get("data") or {}).items():
        try:
            decoded[key] = base64.b64decode(text, validate=True)
        except ValueError:
            decoded[key] = b""
    return decoded
