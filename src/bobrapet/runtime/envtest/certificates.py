"""The certificate authority of one test environment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bobrapet.runtime import certificates
from bobrapet.runtime.certificates import KeyPair, Validity, key_pem

LIFETIME = timedelta(days=7)

__all__ = ["LIFETIME", "Authority", "KeyPair", "signing_keys"]


class Authority:
    """Signs serving and client certificates that outlive any test."""

    def __init__(self, name: str = "envtest") -> None:
        self._authority = certificates.Authority.create(name, _from_now())
        self.certificate = self._authority.certificate

    def serving(self, *names: str) -> KeyPair:
        """A certificate for DNS names and IP addresses."""
        return self._authority.serving(names[0], names, _from_now())

    def client(self, user: str, *groups: str) -> KeyPair:
        """A certificate that Kubernetes reads as a user with groups."""
        return self._authority.client(user, groups, _from_now())


def signing_keys() -> tuple[bytes, bytes]:
    """A private key for service account tokens, and its public half."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key_pem(key), public


def _from_now() -> Validity:
    return Validity(datetime.now(UTC), LIFETIME)
