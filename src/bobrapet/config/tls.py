"""Which TLS Secret a component uses (spec workloads 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bobrapet.api import labels

if TYPE_CHECKING:
    from bobrapet.api import Engram


def tls_secret(engram: Engram) -> str:
    """The Secret of a batch step: the Engram's spec, then its annotations; empty when there is none."""
    tls = engram.spec.transport.tls if engram.spec.transport is not None else None
    if tls is not None and tls.secret_ref is not None and tls.secret_ref.name:
        return tls.secret_ref.name
    annotations = engram.metadata.annotations
    return annotations.get(labels.ANNOTATION_ENGRAM_TLS_SECRET) or annotations.get(labels.ANNOTATION_TLS_SECRET) or ""
