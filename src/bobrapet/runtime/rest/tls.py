"""TLS settings of a client, and noticing when their files change."""

from __future__ import annotations

import os
import ssl
import tempfile
from dataclasses import dataclass

from bobrapet.runtime.errors import ConfigError
from bobrapet.runtime.rest.config import RestConfig


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate and its key, PEM, that a credential plugin handed out."""

    certificate: bytes
    key: bytes


def ssl_context(config: RestConfig, certificate: ClientCertificate | None = None) -> ssl.SSLContext | bool:
    """The context for a configuration; True (the library's default) for plain HTTP.

    `certificate` wins over that of the configuration. Raises `ConfigError` naming the file that cannot be used.
    """
    if not config.host.startswith("https://"):
        return True
    try:
        context = ssl.create_default_context(
            cafile=None if config.ca_data else config.ca_file,
            cadata=config.ca_data.decode("ascii") if config.ca_data else None,
        )
    except (OSError, ssl.SSLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the certificate authority of {config.host} cannot be loaded: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if config.disable_strict_x509:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if config.insecure_skip_tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load_certificate(context, config, certificate)
    return context


def _load_certificate(context: ssl.SSLContext, config: RestConfig, certificate: ClientCertificate | None) -> None:
    cert = certificate.certificate if certificate else config.cert_data
    key = certificate.key if certificate else config.key_data
    if not cert and not config.cert_file:
        return
    try:
        if cert is None and key is None:
            context.load_cert_chain(config.cert_file or "", config.key_file)
            return
        # OpenSSL reads certificate chains from files only. The folder is private to us and gone at once.
        with tempfile.TemporaryDirectory(prefix="bobrapet-tls-") as folder:
            cert_path = _as_file(folder, "tls.crt", cert) or config.cert_file or ""
            key_path = _as_file(folder, "tls.key", key) or config.key_file
            context.load_cert_chain(cert_path, key_path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the client certificate for {config.host} cannot be loaded: {error}") from error


def _as_file(folder: str, name: str, data: bytes | None) -> str | None:
    if data is None:
        return None
    path = os.path.join(folder, name)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return path


def fingerprint(config: RestConfig) -> tuple[object, ...]:
    """Changes when a file that `ssl_context` would read has changed. Data in the configuration never does."""
    paths = (
        None if config.ca_data else config.ca_file,
        None if config.cert_data else config.cert_file,
        None if config.key_data else config.key_file,
    )
    return tuple(_stat(path) for path in paths)


def _stat(path: str | None) -> tuple[int, ...] | None:
    if not path:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
