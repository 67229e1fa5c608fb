"""X.509 certificates and the authorities that sign them.

Elliptic keys: they are made and used in a fraction of the time of RSA. Key identifiers are set everywhere, because
strict verification (Python 3.13) asks for them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate counts."""

    now: datetime
    lifetime: timedelta
    backdate: timedelta = timedelta(hours=1)
    """How far the clocks of others may be behind ours."""


class Authority:
    """Signs serving and client certificates, whose names cannot be signed further."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str, validity: Validity) -> Authority:
        """A new one, signed by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key.public_key(), key.public_key(), validity)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, pair: KeyPair) -> Authority:
        """One that was kept. Raises ValueError."""
        return cls(x509.load_pem_x509_certificate(pair.certificate), load_key(pair.key))

    @property
    def pair(self) -> KeyPair:
        """What `load` takes."""
        return KeyPair(self.certificate, key_pem(self._key))

    @property
    def certificate(self) -> bytes:
        """PEM of what others trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def serving(self, common_name: str, names: Iterable[str], validity: Validity) -> KeyPair:
        """A certificate of a server for DNS names and IP addresses."""
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        return self._issue(common_name, (), ExtendedKeyUsageOID.SERVER_AUTH, validity, alternatives)

    def client(self, user: str, groups: Iterable[str], validity: Validity) -> KeyPair:
        """A certificate that Kubernetes reads as a user with groups."""
        return self._issue(user, groups, ExtendedKeyUsageOID.CLIENT_AUTH, validity)

    def _issue(
        self,
        common_name: str,
        organizations: Iterable[str],
        usage: x509.ObjectIdentifier,
        validity: Validity,
        alternatives: x509.SubjectAlternativeName | None = None,
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        builder = (
            _builder(
                x509.Name(attributes), self._certificate.subject, key.public_key(), self._key.public_key(), validity
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), key_pem(key))


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key for whatever is to be signed."""
    return ec.generate_private_key(ec.SECP256R1())


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A key as `key_pem` wrote it. Raises ValueError."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{type(key).__name__} is no elliptic key")
    return key


def key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """A key as it is kept, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePublicKey,
    validity: Validity,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.now - validity.backdate)
        .not_valid_after(validity.now + validity.lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
