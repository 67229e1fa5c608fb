"""Certificates."""

from bobrapet.runtime.certwatcher.certwatcher import CertificateError, CertWatcher, self_signed, self_signed_pair

__all__ = ["CertWatcher", "CertificateError", "self_signed", "self_signed_pair"]
