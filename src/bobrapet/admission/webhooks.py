"""Which kinds have webhooks, under which names and paths (spec admission A1).

The names and paths are those of the Go operator, so that its configurations and certificates fit ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bobrapet.api import (
    EffectClaim,
    Engram,
    Impulse,
    KubernetesObject,
    StepRun,
    Story,
    StoryRun,
    StoryTrigger,
    Transport,
    TransportBinding,
)


@dataclass(frozen=True, slots=True)
class KindWebhooks:
    """The webhooks of one kind."""

    kind: type[KubernetesObject]
    validating: str
    """Name of the validating webhook."""

    mutating: str = ""
    """Name of the mutating webhook; empty: nothing is filled in for this kind."""

    @property
    def group(self) -> str:
        return self.kind.API_VERSION.partition("/")[0]

    @property
    def version(self) -> str:
        return self.kind.API_VERSION.partition("/")[2]

    @property
    def validating_path(self) -> str:
        return f"/validate-{self._suffix}"

    @property
    def mutating_path(self) -> str:
        return f"/mutate-{self._suffix}"

    @property
    def _suffix(self) -> str:
        return f"{self.group.replace('.', '-')}-{self.version}-{self.kind.KIND.lower()}"


WEBHOOKS: Final = (
    KindWebhooks(Story, "vstory-v1alpha1.kb.io", "mstory-v1alpha1.kb.io"),
    KindWebhooks(Engram, "vengram-v1alpha1.kb.io", "mengram-v1alpha1.kb.io"),
    KindWebhooks(Impulse, "vimpulse-v1alpha1.kb.io", "mimpulse-v1alpha1.kb.io"),
    KindWebhooks(StoryRun, "vstoryrun-v1alpha1.kb.io"),
    KindWebhooks(StepRun, "vsteprun-v1alpha1.kb.io", "msteprun-v1alpha1.kb.io"),
    KindWebhooks(StoryTrigger, "vstorytrigger-v1alpha1.kb.io"),
    KindWebhooks(EffectClaim, "veffectclaim-v1alpha1.kb.io"),
    KindWebhooks(Transport, "vtransport.kb.io"),
    KindWebhooks(TransportBinding, "vtransportbinding.kb.io"),
)
"""Engram and Impulse have nothing to fill in; their mutating webhooks exist because the Go operator's do."""
