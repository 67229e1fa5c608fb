"""The webhook certificate that the manager makes for itself: what it holds, when it is renewed, who must be told.

Pure: a state and a moment give the next state. Every certificate is signed by an authority of its own, whose key is
thrown away at once, so there is no signing key to steal. A renewal has two steps, because API servers must trust the
new authority before anybody serves with it:

    announced   the next pair is stored beside the current one; webhook configurations trust both authorities
    in use      SETTLE later, and once they all do, the next pair becomes the current one

Any replica may take a step: they all look at one Secret, and an update of a version that is not the latest fails.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from bobrapet.runtime.certificates import Authority, KeyPair, Validity

CERTIFICATE, KEY, AUTHORITIES = "tls.crt", "tls.key", "ca.crt"  # the keys that cert-manager uses
NEXT_CERTIFICATE, NEXT_KEY = "next.crt", "next.key"

BACKDATE: Final = datetime.timedelta(minutes=5)
"""How far the clocks of API servers may be behind ours."""


def secret_name(prefix: str) -> str:
    return f"{prefix}webhook-server-cert"


def service_names(prefix: str, namespace: str) -> tuple[str, ...]:
    """The names by which an API server calls the webhook Service; localhost is for port forwards."""
    service = f"{prefix}webhook-service.{namespace}"
    return (f"{service}.svc", f"{service}.svc.cluster.local", service, "localhost")


def configuration_names(prefix: str) -> dict[str, str]:
    """Kind and name of the objects that have to trust the authorities."""
    return {
        "MutatingWebhookConfiguration": f"{prefix}mutating-webhook-configuration",
        "ValidatingWebhookConfiguration": f"{prefix}validating-webhook-configuration",
    }


_Rules = tuple[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...]


def rules(prefix: str) -> tuple[_Rules, _Rules]:
    """Group, resources, verbs, names: what this needs in the manager's namespace, and in the cluster."""
    names = configuration_names(prefix)
    group = "admissionregistration.k8s.io"
    return (
        (
            ("", ("secrets",), ("create",), ()),  # what has no name yet cannot be allowed by name
            ("", ("secrets",), ("get", "update", "watch"), (secret_name(prefix),)),
        ),
        (
            (
                group,
                ("mutatingwebhookconfigurations",),
                ("get", "patch", "watch"),
                (names["MutatingWebhookConfiguration"],),
            ),
            (
                group,
                ("validatingwebhookconfigurations",),
                ("get", "patch", "watch"),
                (names["ValidatingWebhookConfiguration"],),
            ),
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How long certificates live."""

    lifetime: datetime.timedelta = datetime.timedelta(days=90)
    """Two thirds of it pass before a renewal is announced, so that a month is left to notice that renewals fail."""

    settle: datetime.timedelta = datetime.timedelta(minutes=1)
    """From the announcement until the next pair is used: API servers see a changed configuration within seconds."""


class Pair(KeyPair):
    """A certificate with its key, and what can be read from it."""

    __slots__ = ()

    @property
    def parsed(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate)

    @property
    def issued(self) -> datetime.datetime:
        return self.parsed.not_valid_before_utc + BACKDATE

    @property
    def expires(self) -> datetime.datetime:
        return self.parsed.not_valid_after_utc


@dataclass(frozen=True, slots=True)
class Material:
    """What the Secret holds."""

    current: Pair
    authorities: tuple[bytes, ...]
    """PEM of each authority to trust; the last one is the newest."""

    next: Pair | None = None

    @property
    def bundle(self) -> bytes:
        return b"".join(self.authorities)

    def data(self) -> dict[str, bytes]:
        data = {CERTIFICATE: self.current.certificate, KEY: self.current.key, AUTHORITIES: self.bundle}
        if self.next is not None:
            data |= {NEXT_CERTIFICATE: self.next.certificate, NEXT_KEY: self.next.key}
        return data


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done at a moment."""

    material: Material
    write: bool
    """Whether the Secret does not hold `material` yet."""

    look_again: datetime.datetime
    """When the next step is due at the earliest."""

    why: str = ""


def plan(
    stored: Mapping[str, bytes] | None,
    names: Iterable[str],
    *,
    trusted: bool,
    now: datetime.datetime,
    policy: Policy = Policy(),
) -> Step:
    """Decides from what is stored (None: nothing) and whether every configuration trusts it.

    What cannot be used is replaced at once: missing or damaged data, an expired certificate, one for other names.
    """
    names = tuple(names)
    held = read(stored or {})
    if isinstance(held, str):
        return _fresh(names, now, policy, held)
    if held.current.expires <= now:
        return _fresh(names, now, policy, "the certificate has expired")
    if not set(names) <= set(names_of(held.current.parsed)):
        return _fresh(names, now, policy, "the certificate is for other names")
    if held.next is not None:
        ready = held.next.issued + policy.settle
        if now < ready or not trusted:
            return Step(held, write=False, look_again=max(ready, now + policy.settle))
        held = Material(held.next, held.authorities)
        return Step(held, write=True, look_again=_renewal(held.current), why="the next certificate is trusted")
    if now < (due := _renewal(held.current)):
        return Step(held, write=False, look_again=due)
    pair, authority = issue(names, now, policy.lifetime)
    # The authority of the current pair is kept, older ones have nothing left to vouch for.
    announced = replace(held, next=pair, authorities=(*held.authorities[-1:], authority))
    return Step(announced, write=True, look_again=pair.issued + policy.settle, why="the certificate is due for renewal")


def read(data: Mapping[str, bytes]) -> Material | str:
    """The contents of a Secret, or why they are of no use."""
    if not data.get(CERTIFICATE) or not data.get(KEY):
        return "there is no certificate"
    current = Pair(data[CERTIFICATE], data[KEY])
    following = None
    if data.get(NEXT_CERTIFICATE) and data.get(NEXT_KEY):
        following = Pair(data[NEXT_CERTIFICATE], data[NEXT_KEY])
    try:
        for pair in filter(None, (current, following)):
            key = serialization.load_pem_private_key(pair.key, None)
            if key.public_key() != pair.parsed.public_key():
                return "the key does not belong to the certificate"
        authorities = x509.load_pem_x509_certificates(data.get(AUTHORITIES, b""))
    except (ValueError, TypeError) as error:
        return f"the stored certificate is damaged: {error}"
    return Material(current, tuple(each.public_bytes(serialization.Encoding.PEM) for each in authorities), following)


def names_of(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def issue(names: Iterable[str], now: datetime.datetime, lifetime: datetime.timedelta) -> tuple[Pair, bytes]:
    """A serving certificate, and the PEM of the authority that signed nothing else."""
    validity = Validity(now, lifetime, BACKDATE)
    # API servers find an authority by its subject; two of the same name in one bundle would hide each other.
    authority = Authority.create(f"bobrapet-webhook-ca-{x509.random_serial_number():x}"[:64], validity)
    listed = [*names]
    issued = authority.serving(listed[0][:64], listed, validity)
    return Pair(issued.certificate, issued.key), authority.certificate


def _fresh(names: tuple[str, ...], now: datetime.datetime, policy: Policy, why: str) -> Step:
    pair, authority = issue(names, now, policy.lifetime)
    return Step(Material(pair, (authority,)), write=True, look_again=_renewal(pair), why=why)


def _renewal(pair: Pair) -> datetime.datetime:
    return pair.issued + (pair.expires - pair.issued) * 2 / 3
