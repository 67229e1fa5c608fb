"""The server's own certificate authority, serving certificate and signing key."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from bobrapet.runtime.certificates import Authority, KeyPair, Validity, key_pem, load_key, new_key

_LIFETIME = timedelta(days=3650)
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True)
class Pki:
    """PEM texts, and the key that signs ServiceAccount tokens."""

    ca_certificate: str
    ca_key: str
    certificate: str
    key: str
    token_key: ec.EllipticCurvePrivateKey

    def serving(self, host: str, now: datetime) -> Pki:
        """The same authority with a serving certificate for another host."""
        authority = Authority.load(KeyPair(self.ca_certificate.encode(), self.ca_key.encode()))
        pair = _serving(authority, host, now)
        return replace(self, certificate=pair.certificate.decode(), key=pair.key.decode())

    def token_key_pem(self) -> str:
        """The token key as it is kept on disk."""
        return key_pem(self.token_key).decode()

    def server_context(self, folder: Path) -> ssl.SSLContext:
        """A TLS context. `folder`: where the two files that OpenSSL wants to read are for a moment."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        path = folder / "serving.pem"
        context.load_cert_chain(path)
        return context


def create(host: str, now: datetime) -> Pki:
    """A new authority with one serving certificate for `host` and the names of the kubernetes service."""
    authority = Authority.create("bobrapet-ca", Validity(now, _LIFETIME))
    ca, pair = authority.pair, _serving(authority, host, now)
    return Pki(ca.certificate.decode(), ca.key.decode(), pair.certificate.decode(), pair.key.decode(), new_key())


def load(ca: str, ca_key: str, certificate: str, key: str, token_key: str) -> Pki:
    """What was kept on disk, all PEM. Raises ValueError for what cannot be used, TypeError for what is no text."""
    for pair in (KeyPair(ca.encode(), ca_key.encode()), KeyPair(certificate.encode(), key.encode())):
        Authority.load(pair)  # parses both; a serving certificate signs nothing
    return Pki(ca, ca_key, certificate, key, load_key(token_key.encode()))


def _serving(authority: Authority, host: str, now: datetime) -> KeyPair:
    return authority.serving("kube-apiserver", _alternative_names(host), Validity(now, _LIFETIME))


def _alternative_names(host: str) -> list[str]:
    addresses = {"127.0.0.1", "::1"}
    try:
        ipaddress.ip_address(host)
        addresses.add(host)
    except ValueError:
        return [*_NAMES, *([host] if host not in _NAMES else []), *sorted(addresses)]
    return [*_NAMES, *sorted(addresses)]
