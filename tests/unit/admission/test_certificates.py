"""The webhook certificate that the manager makes: when it is made, renewed and replaced."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from bobrapet.admission import certificates
from bobrapet.admission.certificates import Material, Pair, Policy, Step, plan

T0 = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = certificates.service_names("bobrapet-", "bobrapet-system")
POLICY = Policy()
DUE = T0 + POLICY.lifetime * 2 / 3


def step(stored: Material | None, now: datetime, *, trusted: bool = True) -> Step:
    return plan(None if stored is None else stored.data(), NAMES, trusted=trusted, now=now, policy=POLICY)


def verified(pair: Pair, bundle: bytes, at: datetime) -> bool:
    """As an API server does it: the name of the Service, the bundle of the configuration, the moment."""
    store = Store(x509.load_pem_x509_certificates(bundle))
    verifier = PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(NAMES[0]))
    try:
        verifier.verify(pair.parsed, [])
    except x509.verification.VerificationError:
        return False
    return True


def test_the_first_certificate_is_made_at_once_and_is_trusted_by_its_own_bundle() -> None:
    first = step(None, T0)
    assert first.write
    assert verified(first.material.current, first.material.bundle, T0)
    assert first.look_again == DUE


def test_what_is_stored_is_used_as_it_is_until_two_thirds_of_its_life_are_over() -> None:
    stored = step(None, T0).material
    kept = step(stored, DUE - timedelta(seconds=1))
    assert not kept.write
    assert kept.material == stored
    assert kept.look_again == DUE


def test_a_renewal_is_announced_before_it_is_used() -> None:
    stored = step(None, T0).material
    announced = step(stored, DUE)
    assert announced.write
    assert announced.material.current == stored.current
    assert announced.material.next is not None
    for pair in (announced.material.current, announced.material.next):
        assert verified(pair, announced.material.bundle, DUE)
    assert announced.look_again == DUE + POLICY.settle


def test_the_announced_certificate_is_used_once_it_has_settled() -> None:
    announced = step(step(None, T0).material, DUE).material
    assert not step(announced, DUE + POLICY.settle / 2).write
    used = step(announced, DUE + POLICY.settle)
    assert used.write
    assert used.material.current == announced.next
    assert used.material.next is None
    assert verified(announced.current, used.material.bundle, DUE + POLICY.settle), "replicas that lag still serve it"


def test_the_announced_certificate_is_not_used_while_a_configuration_does_not_trust_it() -> None:
    announced = step(step(None, T0).material, DUE).material
    later = DUE + POLICY.settle * 5
    waiting = step(announced, later, trusted=False)
    assert not waiting.write
    assert waiting.look_again > later


def test_a_bundle_holds_two_authorities_at_most_however_often_it_was_renewed() -> None:
    held, now = step(None, T0).material, T0
    for _ in range(4):
        now += POLICY.lifetime * 2 / 3
        held = step(step(held, now).material, now + POLICY.settle).material
        now += POLICY.settle
        assert len(held.authorities) == 2
        assert verified(held.current, held.bundle, now)


def test_no_signing_key_is_kept() -> None:
    stored = step(None, T0).material
    authority = x509.load_pem_x509_certificate(stored.authorities[0])
    kept = [value for key, value in step(stored, DUE).material.data().items() if key.endswith(".key")]
    assert len(kept) == 2
    for key in kept:
        assert certificates.serialization.load_pem_private_key(key, None).public_key() != authority.public_key()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: {}, "there is no certificate"),
        (lambda data: data | {"tls.crt": b"nonsense"}, "damaged"),
        (lambda data: data | {"tls.key": b"nonsense"}, "damaged"),
        (lambda data: data | {"tls.key": step(None, T0).material.current.key}, "does not belong"),
        (lambda data: data | {"ca.crt": b""}, "damaged"),
    ],
)
def test_what_cannot_be_used_is_replaced_at_once(spoil: object, why: str) -> None:
    data = spoil(step(None, T0).material.data())  # type: ignore[operator]
    fresh = plan(data, NAMES, trusted=True, now=T0, policy=POLICY)
    assert fresh.write
    assert why in fresh.why
    assert verified(fresh.material.current, fresh.material.bundle, T0)


def test_an_expired_certificate_is_replaced_at_once() -> None:
    fresh = step(step(None, T0).material, T0 + POLICY.lifetime)
    assert fresh.write
    assert fresh.why == "the certificate has expired"


def test_a_certificate_for_another_service_is_replaced_at_once() -> None:
    stored = step(None, T0).material
    other = certificates.service_names("mine-", "elsewhere")
    fresh = plan(stored.data(), other, trusted=True, now=T0, policy=POLICY)
    assert fresh.write
    assert set(other) <= set(certificates.names_of(fresh.material.current.parsed))


def test_a_long_service_name_still_makes_a_certificate() -> None:
    names = certificates.service_names("a" * 60 + "-", "b" * 63)
    fresh = plan(None, names, trusted=True, now=T0, policy=POLICY)
    assert set(names) <= set(certificates.names_of(fresh.material.current.parsed))
    assert dataclasses.asdict(POLICY)["lifetime"] > POLICY.settle
