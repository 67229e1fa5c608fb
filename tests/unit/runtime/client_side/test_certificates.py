"""Certificates are what strict verification accepts, and an authority can be kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from bobrapet.runtime.certificates import Authority, KeyPair, Validity, load_key

NOW = datetime(2026, 1, 2, tzinfo=UTC)
VALIDITY = Validity(NOW, timedelta(days=1))


def verified(authority: Authority, pair: KeyPair, subject: x509.GeneralName, at: datetime = NOW) -> None:
    store = Store([x509.load_pem_x509_certificate(authority.certificate)])
    assert isinstance(subject, x509.DNSName | x509.IPAddress)
    verifier = PolicyBuilder().store(store).time(at).build_server_verifier(subject)
    verifier.verify(x509.load_pem_x509_certificate(pair.certificate), [])


def test_a_serving_certificate_counts_for_its_names_and_addresses_in_its_time() -> None:
    authority = Authority.create("ca", VALIDITY)
    pair = authority.serving("first", ["a.example", "127.0.0.1"], VALIDITY)
    verified(authority, pair, x509.DNSName("a.example"))
    verified(authority, pair, x509.IPAddress(ip_address("127.0.0.1")), NOW - timedelta(minutes=59))
    for subject, at in (("b.example", NOW), ("a.example", NOW + timedelta(days=2))):
        with pytest.raises(VerificationError):
            verified(authority, pair, x509.DNSName(subject), at)


def test_an_authority_that_was_kept_goes_on_signing() -> None:
    first = Authority.create("ca", VALIDITY)
    again = Authority.load(first.pair)
    assert again.certificate == first.certificate
    verified(first, again.serving("a", ["a.example"], VALIDITY), x509.DNSName("a.example"))


def test_a_client_certificate_names_user_and_groups() -> None:
    pair = Authority.create("ca", VALIDITY).client("jane", ["dev", "ops"], VALIDITY)
    subject = x509.load_pem_x509_certificate(pair.certificate).subject.rfc4514_string()
    assert subject == "CN=jane,O=ops,O=dev"


def test_a_key_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="PEM"):
        load_key(b"-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n")
