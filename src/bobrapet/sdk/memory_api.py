"""A component's API server in memory: one StepRun, its EffectClaims, and the StoryRuns that it starts.

`bobrapet engram run` and a Context built by hand use it, and the testkit puts faults and an operator around it. It
keeps the rules that the SDK depends on: resource versions, conflicts, merge patches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.step_run_api import Refused

Object = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")


def _atomic(call: Callable[Concatenate[MemoryApi, P], R]) -> Callable[Concatenate[MemoryApi, P], R]:
    """One call at a time: a component has threads, and the one that renews a claim is ours."""

    @functools.wraps(call)
    def alone(self: MemoryApi, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return call(self, *args, **kwargs)

    return alone


class MemoryApi:
    """Answers every call as an API server without other users would."""

    def __init__(self, step: StepIdentity | None = None, *, phase: str = "Running") -> None:
        step = step or StepIdentity(namespace="default", step_run="test")
        self.step_run: Object = {
            "apiVersion": "runs.bubustack.io/v1alpha1",
            "kind": "StepRun",
            "metadata": {"name": step.step_run, "namespace": step.namespace, "uid": f"uid-of-{step.step_run}"},
            "spec": {"storyRunRef": {"name": step.story_run}, "stepId": step.step},
            "status": {"phase": phase, "retries": step.attempt or 0},
        }
        self.claims: dict[str, Object] = {}
        self.story_runs: dict[str, Object] = {}
        self.core: dict[str, Object] = {}
        """ConfigMaps and Secrets as `configmaps/NAME` and `secrets/NAME`."""
        self.run_story: Callable[[Object], Object] = lambda run: {"phase": "Succeeded", "output": {}}
        """What becomes of a StoryRun that the component starts: its status. Replace it to play the operator."""
        self._version = 0
        self._lock = RLock()
        self._stamp(self.step_run)

    @_atomic
    def get(self) -> Object:
        return _copy(self.step_run)

    @_atomic
    def patch_status(self, patch: Mapping[str, Any]) -> None:
        self._expect(self.step_run, patch)
        self.step_run["status"] = _merged(self.step_run.get("status") or {}, patch.get("status") or {})
        self._stamp(self.step_run)

    @_atomic
    def get_claim(self, name: str) -> Object:
        return _copy(self._found(self.claims, "effectclaims", name))

    def create_claim(self, claim: Mapping[str, Any]) -> Object:
        return self._created(self.claims, "effectclaims", claim)

    @_atomic
    def update_claim(self, claim: Mapping[str, Any]) -> Object:
        name = claim["metadata"]["name"]
        self._expect(self._found(self.claims, "effectclaims", name), claim)
        self.claims[name] = _copy(claim)
        self._stamp(self.claims[name])
        return _copy(self.claims[name])

    def create_story_run(self, run: Mapping[str, Any]) -> Object:
        created = self._created(self.story_runs, "storyruns", run)
        self.story_runs[created["metadata"]["name"]]["status"] = self.run_story(created)
        return created

    @_atomic
    def get_story_run(self, name: str) -> Object:
        return _copy(self._found(self.story_runs, "storyruns", name))

    @_atomic
    def list_story_runs(self, selector: str) -> list[Object]:
        wanted = dict(pair.split("=", 1) for pair in selector.split(","))
        return [
            _copy(run)
            for run in self.story_runs.values()
            if wanted.items() <= (run["metadata"].get("labels") or {}).items()
        ]

    @_atomic
    def patch_story_run(self, name: str, patch: Mapping[str, Any]) -> None:
        run = self._found(self.story_runs, "storyruns", name)
        self.story_runs[name] = _merged(run, patch)
        self._stamp(self.story_runs[name])

    @_atomic
    def get_core(self, plural: str, name: str) -> Object:
        return _copy(self._found(self.core, plural, f"{plural}/{name}"))

    def close(self) -> None:
        pass

    @_atomic
    def _created(self, objects: dict[str, Object], plural: str, new: Mapping[str, Any]) -> Object:
        name = new["metadata"]["name"]
        if name in objects:
            raise Refused(409, f'{plural}.runs.bubustack.io "{name}" already exists')
        objects[name] = _copy(new)
        self._stamp(objects[name])
        return _copy(objects[name])

    def _found(self, objects: dict[str, Object], plural: str, name: str) -> Object:
        if name not in objects:
            raise Refused(404, f'{plural}.runs.bubustack.io "{name}" not found')
        return objects[name]

    def _expect(self, stored: Object, written: Mapping[str, Any]) -> None:
        version = (written.get("metadata") or {}).get("resourceVersion")
        if version and version != stored["metadata"]["resourceVersion"]:
            raise Refused(409, "the object has been modified; please apply your changes to the latest version")

    def _stamp(self, stored: Object) -> None:
        self._version += 1
        stored["metadata"]["resourceVersion"] = str(self._version)


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return msgspec.json.decode(msgspec.json.encode(patch))
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _copy(value: Mapping[str, Any]) -> Object:
    """As it would come back over the wire."""
    return msgspec.json.decode(msgspec.json.encode(value), type=Object)
