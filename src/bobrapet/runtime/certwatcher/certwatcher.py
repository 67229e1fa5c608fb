"""Serving certificates that change while they are used (controller-runtime pkg/certwatcher, spec runtime 12)."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import Counter

from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.metrics.registry import REGISTRY

RELOAD_PERIOD = 10.0
"""Seconds between two looks at the files. They are mounted through symlinks, whose change no file event tells."""

GENERATION_TRIES = 5

READS = Counter("certwatcher_read_certificate_total", "Times that the certificate files were read", registry=REGISTRY)
READ_ERRORS = Counter(
    "certwatcher_read_certificate_errors_total",
    "Failed reads of the certificate files",
    registry=REGISTRY,
)

log = get_logger("certwatcher")


class CertificateError(ControllerRuntimeError):
    """Certificate and key cannot be used."""


class CertWatcher:
    """Keeps an `ssl.SSLContext` at what two files contain. New handshakes use the new pair, open connections go on."""

    def __init__(self, cert: Path, key: Path, *, clock: Clock = REAL_CLOCK, period: float = RELOAD_PERIOD) -> None:
        """Raises `CertificateError` when the files cannot be used now."""
        self.context = server_context()
        self._cert = cert
        self._key = key
        self._clock = clock
        self._period = period
        self._loaded: tuple[bytes, bytes] | None = None
        self._load()

    async def start(self) -> None:
        """Looks at the files again and again, until cancelled. A pair that is not whole is left for the next look."""
        while True:
            await self._clock.sleep(self._period)
            self.reload()

    def reload(self) -> None:
        """Looks at the files now."""
        try:
            self._load()
        except CertificateError as error:
            log.error("certificate is not reloaded, the old one stays in use", error=error)

    def _load(self) -> None:
        READS.inc()
        try:
            pair = self._read()
            if pair != self._loaded:
                # Loading into a context changes it before it finds out that the key does not fit.
                load_pair(server_context(), *pair)
                load_pair(self.context, *pair)
                self._loaded = pair
        except (OSError, ssl.SSLError) as error:
            READ_ERRORS.inc()
            raise CertificateError(f"certificate {self._cert} and key {self._key} cannot be used: {error}") from error

    def _read(self) -> tuple[bytes, bytes]:
        """Both files of one generation: they may be swapped between two reads."""
        cert = self._cert.read_bytes()
        for _ in range(GENERATION_TRIES):
            key = self._key.read_bytes()
            again = self._cert.read_bytes()
            if again == cert:
                break
            cert = again
        return cert, key


def server_context() -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/1.1 only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def load_pair(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    """Serves with this pair from now on: new handshakes use it, open connections go on. Raises `ssl.SSLError`."""
    # The ssl module loads from files only, and the real ones may be swapped between its two reads.
    with tempfile.TemporaryDirectory() as folder:
        cert_file, key_file = Path(folder, "tls.crt"), Path(folder, "tls.key")
        cert_file.write_bytes(cert)
        key_file.touch(mode=0o600)
        key_file.write_bytes(key)
        context.load_cert_chain(cert_file, key_file)


def self_signed(names: Iterable[str]) -> ssl.SSLContext:
    """A context with a certificate for these names that nobody signed, valid for a year."""
    context = server_context()
    load_pair(context, *self_signed_pair(names))
    return context


def self_signed_pair(names: Iterable[str]) -> tuple[bytes, bytes]:
    """PEM of a certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    listed = [*names]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, listed[0])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in listed]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
