"""Starts Stories from inside a component, and waits for them.

The runs belong to the StepRun: they go when it goes. Their names follow from the step, a key and a number, so an
attempt that comes after a crash finds the runs of the one before, takes the results of those that succeeded and waits
for those that still run. What failed is started anew by the next attempt.

The component's template must ask for the right to it (`execution.rbac.rules`): create, get, list and patch on
storyruns.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bobrapet.sdk.codec import json_value
from bobrapet.sdk.errors import EngramError, Interrupted, RetryError, TerminalError
from bobrapet.sdk.link import Link
from bobrapet.sdk.log import Log
from bobrapet.sdk.step_run_api import ApiError, ComponentApi, Refused

STARTED_BY = "bubustack.io/started-by"
STARTED_ATTEMPT = "bubustack.io/started-attempt"

_FIRST_POLL, _LONGEST_POLL = 0.2, 2.0
_PATIENCE = 60.0  # seconds without an answer of the API server
_OVER = frozenset({"Succeeded", "Failed", "Finished", "Canceled", "Compensated", "Timeout", "Aborted", "Skipped"})


@dataclass(frozen=True, slots=True)
class StoryResult:
    """How one run ended. `index` is its place in the list of inputs."""

    index: int
    name: str
    phase: str
    output: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""

    @property
    def succeeded(self) -> bool:
        return self.phase == "Succeeded"


@dataclass(slots=True)
class _Batch:
    """The runs of one `run_many`: what waits, what is under way, what is over."""

    waiting: list[int]
    running: dict[str, int] = field(default_factory=dict)
    over: dict[int, StoryResult] = field(default_factory=dict)


class Stories:
    """`ctx.stories`."""

    def __init__(
        self,
        link: Link,
        *,
        log: Log,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._log = log
        self._sleep = sleep
        self._clock = clock
        self._label = _label(link.step.step_run)

    def run(self, story: str, inputs: Mapping[str, Any], *, key: str = "") -> StoryResult:
        """Runs one Story of the step's namespace and waits for its end, whatever it is. Raises as `run_many`."""
        return self.run_many(story, [inputs], concurrency=1, key=key, fail_fast=False)[0]

    def run_many(
        self,
        story: str,
        inputs: Sequence[Mapping[str, Any]],
        *,
        concurrency: int = 4,
        key: str = "",
        fail_fast: bool = True,
        done: Callable[[StoryResult], None] = lambda _: None,
    ) -> list[StoryResult]:
        """Runs the Story once for each of `inputs`, at most `concurrency` at a time; results in the order of `inputs`.

        `key` tells calls of one component apart. `done` is told of each end as it comes. With `fail_fast` the first
        failure cancels what still runs; runs never started have the phase Skipped. An interruption of the step cancels
        them too. Raises TerminalError when a run is refused, RetryError when the API server stays silent for a minute.
        """
        batch = _Batch(list(range(len(inputs))))
        try:
            self._drive(batch, story, inputs, max(1, concurrency), key, fail_fast, done)
        except (Interrupted, EngramError):
            self._cancel(batch)
            raise
        skipped = {index: StoryResult(index, "", "Skipped") for index in batch.waiting}
        results = batch.over | skipped
        return [results[index] for index in range(len(inputs))]

    def _drive(
        self,
        batch: _Batch,
        story: str,
        inputs: Sequence[Mapping[str, Any]],
        concurrency: int,
        key: str,
        fail_fast: bool,
        done: Callable[[StoryResult], None],
    ) -> None:
        pause, heard_at = _FIRST_POLL, self._clock()
        cancelled = False
        known: dict[str, Mapping[str, Any]] | None = None
        while batch.running or (batch.waiting and not cancelled):
            try:
                with self._link.api() as api:
                    if known is None:
                        known = self._left_by_earlier_attempts(api)
                    ended = self._settle(api, batch, done)
                    while batch.waiting and len(batch.running) < concurrency and not cancelled:
                        self._start(api, batch, known, story, inputs, key, done)
                        if fail_fast and _failed(batch):
                            break
            except ApiError as error:
                if isinstance(error, Refused) and error.code in (400, 401, 403, 404, 422):
                    raise TerminalError(f"Story {story} cannot be run: {error}", code="STORY_REFUSED") from error
                if self._clock() - heard_at > _PATIENCE:
                    raise RetryError(f"runs of Story {story}: {error}", code="STORY_API_UNAVAILABLE") from error
            else:
                heard_at = self._clock()
                if fail_fast and not cancelled and _failed(batch):
                    cancelled = True
                    self._cancel(batch)
                pause = _FIRST_POLL if ended else min(pause * 1.5, _LONGEST_POLL)
            if batch.running:
                self._sleep(pause)

    def _left_by_earlier_attempts(self, api: ComponentApi) -> dict[str, Mapping[str, Any]]:
        """What there is before anything is started; what is started later is asked about by name, so that a look costs
        one small answer for each run under way, however many there have been."""
        return {run["metadata"]["name"]: run for run in api.list_story_runs(f"{STARTED_BY}={self._label}")}

    def _settle(self, api: ComponentApi, batch: _Batch, done: Callable[[StoryResult], None]) -> int:
        """Moves the runs that are over; returns how many there were."""
        ended = 0
        for name, index in list(batch.running.items()):
            try:
                run = api.get_story_run(name)
            except Refused as error:
                if error.code != 404:
                    raise
                result = StoryResult(index, name, "Aborted", message="the run was deleted")
            else:
                if _phase(run) not in _OVER:
                    continue
                result = _result(index, run)
            del batch.running[name]
            batch.over[index] = result
            ended += 1
            done(result)
        return ended

    def _start(
        self,
        api: ComponentApi,
        batch: _Batch,
        known: Mapping[str, Mapping[str, Any]],
        story: str,
        inputs: Sequence[Mapping[str, Any]],
        key: str,
        done: Callable[[StoryResult], None],
    ) -> None:
        """The next run: an existing one where there is one that did not fail in an earlier attempt."""
        index = batch.waiting[0]
        for generation in range(len(known) + 2):
            name = self._name(key, index, generation)
            found = known.get(name)
            if found is not None and self._is_failure_of_earlier_attempt(found):
                continue
            if found is None:
                try:
                    found = api.create_story_run(self._run(name, story, inputs[index]))
                except Refused as error:
                    if error.code != 409:
                        raise
                    # Ours: the answer to its creation was lost.
                self._log.debug("started", story=story, storyrun=name, index=index)
            batch.waiting.pop(0)
            if _phase(found) in _OVER and found is not None:
                batch.over[index] = _result(index, found)
                done(batch.over[index])
            else:
                batch.running[name] = index
            return

    def _is_failure_of_earlier_attempt(self, run: Mapping[str, Any]) -> bool:
        annotations = run["metadata"].get("annotations") or {}
        earlier = annotations.get(STARTED_ATTEMPT) != str(self._link.step.attempt or 0)
        return earlier and _phase(run) in _OVER and _phase(run) != "Succeeded"

    def _run(self, name: str, story: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        step = self._link.step
        with self._link.api() as api:
            meta = api.get().get("metadata") or {}
        owner = {
            "apiVersion": "runs.bubustack.io/v1alpha1",
            "kind": "StepRun",
            "name": step.step_run,
            "uid": meta.get("uid", ""),
        }
        return {
            "apiVersion": "runs.bubustack.io/v1alpha1",
            "kind": "StoryRun",
            "metadata": {
                "name": name,
                "namespace": step.namespace,
                "labels": {STARTED_BY: self._label},
                "annotations": {STARTED_ATTEMPT: str(step.attempt or 0)},
                "ownerReferences": [owner] if owner["uid"] else [],
            },
            "spec": {"storyRef": {"name": story}, "inputs": json_value(inputs, what="inputs of the Story")},
        }

    def _cancel(self, batch: _Batch) -> None:
        """Asks what still runs to end. Best effort: the runs go with the StepRun anyway."""
        for name in batch.running:
            try:
                with self._link.api() as api:
                    api.patch_story_run(name, {"spec": {"cancelRequested": True}})
            except ApiError as error:
                self._log.warning("not cancelled", storyrun=name, error=str(error))

    def _name(self, key: str, index: int, generation: int) -> str:
        step = self._link.step.step_run
        digest = _digest(f"{step}\0{key}\0{index}\0{generation}")
        return f"{step[:44].rstrip('-.')}-{index}-{digest}"[:63]


def _failed(batch: _Batch) -> bool:
    return any(not result.succeeded for result in batch.over.values())


def _phase(run: Mapping[str, Any] | None) -> str:
    return str(((run or {}).get("status") or {}).get("phase") or "")


def _result(index: int, run: Mapping[str, Any]) -> StoryResult:
    status = run.get("status") or {}
    error = status.get("error") or {}
    return StoryResult(
        index,
        run["metadata"]["name"],
        str(status.get("phase")),
        status.get("output") or {},
        str(status.get("message") or error.get("message") or ""),
    )


def _label(name: str) -> str:
    return name if len(name) <= 63 else f"{name[:52].strip('-.')}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:10]
