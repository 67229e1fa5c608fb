"""Settings in one line: templates, Engrams, Stories and runs as a user would write them."""

from __future__ import annotations

from typing import Any

from bobrapet.api.names import input_hash, storytrigger_name

Object = dict[str, Any]


def template(mode: str, **spec: Any) -> Object:
    """The EngramTemplate of a test component (tests/behaviour/components.py)."""
    return {
        "apiVersion": "catalog.bubustack.io/v1alpha1",
        "kind": "EngramTemplate",
        "metadata": {"name": f"test-{mode}"},
        "spec": {"version": "1.0.0", "supportedModes": ["job"], "image": f"test/{mode}:1.0.0", **spec},
    }


def engram(mode: str, namespace: str, *, name: str | None = None, of: str | None = None, **spec: Any) -> Object:
    """An Engram of a test component; `of` names another template than the mode's."""
    return {
        "apiVersion": "bubustack.io/v1alpha1",
        "kind": "Engram",
        "metadata": {"name": name or mode, "namespace": namespace},
        "spec": {"templateRef": {"name": of or f"test-{mode}", "version": "1.0.0"}, "mode": "job", **spec},
    }


def step(name: str, engram_name: str, *needs: str, **fields: Any) -> Object:
    """One step; fields in wire names (`with` as `with_`, `if` as `if_`)."""
    result: Object = {"name": name, "ref": {"name": engram_name}}
    if needs:
        result["needs"] = list(needs)
    return result | {key.rstrip("_"): value for key, value in fields.items()}


def story(name: str, namespace: str, *steps: Object, **spec: Any) -> Object:
    return {
        "apiVersion": "bubustack.io/v1alpha1",
        "kind": "Story",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"pattern": "batch", "steps": list(steps), **spec},
    }


def storyrun(name: str, namespace: str, story_name: str, inputs: Object | None = None) -> Object:
    spec: Object = {"storyRef": {"name": story_name}}
    if inputs:
        spec["inputs"] = inputs
    return {
        "apiVersion": "runs.bubustack.io/v1alpha1",
        "kind": "StoryRun",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def storytrigger(namespace: str, story_name: str, key: str, inputs: Object | None = None) -> Object:
    """A request to run a Story once for a business key, as the SDK sends it."""
    identity = {"mode": "key", "key": key, "inputHash": input_hash(inputs), "submissionId": f"send-{key}"}
    spec: Object = {"storyRef": {"name": story_name}, "deliveryIdentity": identity}
    if inputs is not None:
        spec["inputs"] = inputs
    return {
        "apiVersion": "runs.bubustack.io/v1alpha1",
        "kind": "StoryTrigger",
        "metadata": {"name": storytrigger_name(namespace, story_name, key, f"send-{key}"), "namespace": namespace},
        "spec": spec,
    }
