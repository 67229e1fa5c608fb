"""The size of what a step can see, for people who look for what fills it (spec workloads R-7.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bobrapet.api import labels

if TYPE_CHECKING:
    from bobrapet.api import StepRun, StoryRun

_TRUE: Final = frozenset({"1", "true", "yes", "y", "on"})
_SHOWN: Final = 50  # largest steps first


def context_annotations(step: StepRun, run: StoryRun | None, context: Mapping[str, Any] | None) -> dict[str, str]:
    """Annotations with the size of the template context, part by part; none unless step or run ask for them.

    They hold sizes and names only: an annotation is read by more people than an input.
    """
    asking = [step.metadata.annotations, run.metadata.annotations if run is not None else {}]
    wanted = any(found.get(labels.ANNOTATION_DEBUG_TEMPLATE_CONTEXT, "").strip().lower() in _TRUE for found in asking)
    if not wanted or context is None:
        return {}
    steps = {name: _size(value) for name, value in context.get("steps", {}).items()}
    largest = sorted(steps, key=lambda name: (-steps[name], name))[:_SHOWN]
    summary = {"inputs": _size(context.get("inputs", {})), "steps": {name: steps[name] for name in largest}}
    return {
        labels.ANNOTATION_TEMPLATE_CONTEXT_SIZE: str(_size(context)),
        labels.ANNOTATION_TEMPLATE_CONTEXT_SUMMARY: msgspec.json.encode(summary).decode(),
    }


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value))
