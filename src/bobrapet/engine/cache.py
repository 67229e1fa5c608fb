"""Outputs that later runs may reuse: where an entry lies, what is in it, and when it counts (spec workloads 17.4).

The key is made once, before the step starts, and recorded on the StepRun; what is stored after the success is stored
under it. So reading and writing cannot disagree, whatever was edited meanwhile.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bobrapet.api import labels
from bobrapet.api.enums import CacheMode
from bobrapet.api.names import compose
from bobrapet.api.timestamps import format_deadline, parse_time
from bobrapet.engine import evaluation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bobrapet.api import Engram, StepRun
    from bobrapet.api.execution import CachePolicy
    from bobrapet.engine.snapshot import StepSnapshot

PREFIX: Final = "cache/"
LATEST: Final = "latest"
HIT: Final = "hit"
STORED: Final = "stored"

_READS: Final = frozenset({CacheMode.READ, CacheMode.READ_WRITE})
_WRITES: Final = frozenset({CacheMode.WRITE, CacheMode.READ_WRITE})
_PLAIN_VERSION: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9+_-]|\.(?!\.))*")


@dataclass(frozen=True, slots=True)
class Place:
    """The entry that a step may read, write or both."""

    path: str
    key: str
    mode: CacheMode
    ttl_seconds: int
    """0: entries never expire."""

    @property
    def is_read(self) -> bool:
        return self.mode in _READS

    @property
    def is_written(self) -> bool:
        return self.mode in _WRITES


@dataclass(frozen=True, slots=True)
class Unusable:
    """The step has a cache that cannot be used; it runs without."""

    message: str


def place(
    snapshot: StepSnapshot, policy: CachePolicy | None, inputs: Mapping[str, Any], configuration: Mapping[str, Any]
) -> Place | Unusable | None:
    """Where the output of a step with these inputs and configuration lies; None when its policy wants no cache.

    Configuration that is no input decides about the output too, so it is part of the key (decision 11).
    """
    engram, step = snapshot.engram, snapshot.step
    if policy is None or policy.enabled is False or engram is None:
        return None
    name, version = engram.metadata.name or "", _version(step, engram)
    material = f"engram:{name}|version:{version}"
    if policy.key is None:
        material += f"|step:{step.spec.step_id}|input:{_canonical({**configuration, **inputs})}"
    else:
        text = _key_text(snapshot, policy.key, inputs, version)
        if isinstance(text, Unusable):
            return text
        material += f"|key:{text}"
    if policy.salt and policy.salt.strip():
        material += f"|salt:{policy.salt}"
    key = hashlib.sha256(material.encode()).hexdigest()
    return Place(_path(step, engram, key), key, policy.mode or CacheMode.READ_WRITE, max(policy.ttl_seconds or 0, 0))


def entry(output: Mapping[str, Any], ttl_seconds: int, now: datetime) -> bytes:
    """What is stored. The time to live is that of the writer."""
    body: dict[str, Any] = {"createdAt": format_deadline(now)}
    if ttl_seconds > 0:
        body["ttlSeconds"] = ttl_seconds
    return msgspec.json.encode({**body, "output": output}, order="sorted")


def reusable_output(body: bytes | None, now: datetime) -> dict[str, Any] | None:
    """The output of an entry; None when there is none, or it expired, is empty or cannot be read."""
    if body is None:
        return None
    try:
        found = msgspec.json.decode(body)
        output, ttl = found["output"], found.get("ttlSeconds") or 0
        created = parse_time(found["createdAt"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
    if not isinstance(output, dict) or not output:
        return None
    if ttl > 0 and now > created + timedelta(seconds=ttl):
        return None
    return output


def may_be_stored(output: Mapping[str, Any] | None) -> bool:
    """Whether an output outlives its run: what it refers to in storage is deleted with the run, unless it is cache."""
    if not output:
        return False
    return all(str(found[evaluation.REFERENCE]).startswith(PREFIX) for found in evaluation.stored_in(output))


def recorded_annotations(found: Place) -> dict[str, str]:
    """What the StepRun says about its cache, from before it starts."""
    annotations = {labels.ANNOTATION_CACHE_KEY: found.key, labels.ANNOTATION_CACHE_MODE: found.mode.value}
    if found.ttl_seconds:
        annotations[labels.ANNOTATION_CACHE_TTL_SECONDS] = str(found.ttl_seconds)
    return annotations


def recorded_place(step: StepRun, engram: Engram | None) -> Place | None:
    """The place that was recorded when the step started, if nothing was stored or found there yet."""
    annotations = step.metadata.annotations
    key = annotations.get(labels.ANNOTATION_CACHE_KEY, "")
    if engram is None or not key or labels.ANNOTATION_CACHE_STATUS in annotations:
        return None
    try:
        mode = CacheMode(annotations.get(labels.ANNOTATION_CACHE_MODE, ""))
        ttl = int(annotations.get(labels.ANNOTATION_CACHE_TTL_SECONDS, "0"))
    except ValueError:
        return None
    return Place(_path(step, engram, key), key, mode, ttl)


def _path(step: StepRun, engram: Engram, key: str) -> str:
    version = _version(step, engram)
    folder = version if _PLAIN_VERSION.fullmatch(version) else compose(version)
    return f"{PREFIX}{step.metadata.namespace}/{engram.metadata.name}/{folder}/{key}.json"


def _version(step: StepRun, engram: Engram) -> str:
    pinned = step.spec.engram_ref.version if step.spec.engram_ref is not None else None
    return (pinned or "").strip() or (engram.spec.version or "").strip() or LATEST


def _key_text(snapshot: StepSnapshot, template: str, inputs: Mapping[str, Any], version: str) -> str | Unusable:
    step, engram = snapshot.step, snapshot.engram
    assert engram is not None
    context = {
        "inputs": inputs,
        "steps": {},
        # Names as in the Go operator: `run` is the StepRun, `story` the StoryRun (spec expressions 14.1).
        "step": {
            "id": step.spec.step_id,
            "run": step.metadata.name or "",
            "story": step.spec.story_run_ref.name,
        },
        "engram": {"name": engram.metadata.name or "", "version": version},
    }
    templates = evaluation.Templates(context, snapshot.config, evaluation.offloaded(snapshot), kind="cacheKey")
    match templates.text(template):
        case evaluation.Value(value=text) if str(text).strip():
            return str(text).strip()
        case evaluation.Value():
            return Unusable("cache.key gives an empty text")
        case evaluation.Needs():
            return Unusable("cache.key reads offloaded data; name its reference, or a part that is small")
        case evaluation.Failed(message=message):
            return Unusable(f"cache.key: {message}")


def _canonical(value: Any) -> str:
    """Equal values give the same text, whatever the order of their keys."""
    return msgspec.json.encode(value, order="sorted").decode()
