"""Certificates."""

from bobrapet.runtime.certwatcher.certwatcher import (
    CertificateError,
    CertWatcher,
    load_pair,
    self_signed,
    self_signed_pair,
    server_context,
)

__all__ = ["CertWatcher", "CertificateError", "load_pair", "self_signed", "self_signed_pair", "server_context"]
