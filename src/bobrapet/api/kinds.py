"""Every kind of the API in one tuple."""

from typing import Final

from bobrapet.api.catalog import EngramTemplate, ImpulseTemplate
from bobrapet.api.claims import EffectClaim, StoryTrigger
from bobrapet.api.engram import Engram
from bobrapet.api.impulse import Impulse
from bobrapet.api.meta import KubernetesObject
from bobrapet.api.policy import ReferenceGrant
from bobrapet.api.runs import StepRun, StoryRun
from bobrapet.api.story import Story
from bobrapet.api.transport import Transport, TransportBinding

KINDS: Final[tuple[type[KubernetesObject], ...]] = (
    Story,
    Engram,
    Impulse,
    EngramTemplate,
    ImpulseTemplate,
    StoryRun,
    StepRun,
    StoryTrigger,
    EffectClaim,
    Transport,
    TransportBinding,
    ReferenceGrant,
)
