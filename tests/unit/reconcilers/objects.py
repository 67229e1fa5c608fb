"""Settings in one line: the objects of a Story and its runs, as they look once an API server has them."""

from __future__ import annotations

from itertools import count
from typing import Any

from bobrapet.api import EngramTemplate, Story, StoryRun

NAMESPACE = "team-a"
Object = dict[str, Any]

_uids = count(1)  # as on a cluster, no two objects ever share one


class Recorder:
    """Keeps events; each costs the operator a write."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(self, regarding: Any, related: Any, type: str, reason: str, action: str, note: str, **_: Any) -> None:
        self.events.append((type, reason, note))


def template(name: str = "http", **spec: Any) -> EngramTemplate:
    return EngramTemplate.model_validate(
        {
            "metadata": {"name": name, "generation": 1, "uid": f"t{next(_uids)}"},
            "spec": {"version": "1.0.0", "image": f"example/{name}:1", "supportedModes": ["job"], **spec},
        }
    )


def engram(name: str = "http", **spec: Any) -> Object:
    return {
        "apiVersion": "bubustack.io/v1alpha1",
        "kind": "Engram",
        "metadata": {"name": name, "namespace": NAMESPACE, "generation": 1, "uid": f"e{next(_uids)}"},
        "spec": {"templateRef": {"name": name}, **spec},
    }


def story(*steps: Object, name: str = "etl", **spec: Any) -> Story:
    return Story.model_validate(
        {
            "metadata": {"name": name, "namespace": NAMESPACE, "generation": 1, "uid": f"s{next(_uids)}"},
            "spec": {"steps": list(steps), **spec},
        }
    )


def step(name: str, *needs: str, ref: str = "http", **fields: Any) -> Object:
    """One step; a trailing underscore keeps Python's own words apart (`with_`, `if_`)."""
    result: Object = {"name": name, "ref": {"name": ref}}
    if needs:
        result["needs"] = list(needs)
    return result | {key.rstrip("_"): value for key, value in fields.items()}


def storyrun(name: str = "run1", story: str = "etl", **inputs: Any) -> Object:
    spec: Object = {"storyRef": {"name": story}}
    if inputs:
        spec["inputs"] = inputs
    metadata = {"name": name, "namespace": NAMESPACE, "generation": 1, "uid": f"r{next(_uids)}"}
    return {"apiVersion": StoryRun.API_VERSION, "kind": StoryRun.KIND, "metadata": metadata, "spec": spec}
