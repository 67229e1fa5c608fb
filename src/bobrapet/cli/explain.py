"""`bobrapet explain`: why a run is where it is, as the engine sees it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bobrapet import engine
from bobrapet.api import StepRun, StoryRun
from bobrapet.cli.errors import EXIT_OK, CliError, UsageError
from bobrapet.cli.explanation import Explanation, explain, ongoing, to_json, to_text
from bobrapet.cli.loops import run as run_in_loop
from bobrapet.cli.reading import Indexed, Stored
from bobrapet.engine import steprun as step_engine
from bobrapet.engine.plans import StepPlan
from bobrapet.engine.states import IDENTITY_REFUSED
from bobrapet.local import store
from bobrapet.manager import Options as ManagerOptions
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.operatorconfig import ConfigSource
from bobrapet.reconcilers.snapshots import run_snapshot, step_snapshot
from bobrapet.runtime.client.interfaces import Reader, get_or_none
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.clock import REAL_CLOCK
from bobrapet.runtime.errors import ConfigError, Forbidden


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """The command line of `bobrapet explain`."""

    name: str
    namespace: str = "default"
    kubeconfig: str = ""
    data_dir: str | None = None
    as_json: bool = False


def main(request: ExplainRequest) -> int:
    """Explains a run and returns the exit code. Raises CliError when there is no such run, UsageError on bad usage."""
    if request.data_dir is not None and request.kubeconfig:
        raise UsageError("--kubeconfig and --data-dir name two control planes; give one of them")
    found, note = run_in_loop(_explain(request))
    if request.as_json:
        print(json.dumps(to_json(found), indent=2))
    else:
        print(to_text(found), end="")
    if note:
        print(note, file=sys.stderr)
    return EXIT_OK


async def _explain(request: ExplainRequest) -> tuple[Explanation, str]:
    async with _control_plane(request) as (reader, note):
        return await explanation(reader, ObjectKey(request.namespace, request.name), datetime.now(UTC)), note


async def explanation(reader: Reader, key: ObjectKey, now: datetime) -> Explanation:
    """Plans for a run and its steps as the operator would, and puts it into words. Raises CliError without the run."""
    run = await get_or_none(reader, StoryRun, key)
    if run is None:
        raise CliError(await _not_found(reader, key))
    operator = await _operator(reader)
    # What was just read is what the operator gets when it asks for the newest; plans must not ask again.
    # Offloaded data is not read either: what waits for it says so.
    refused = (state.message for state in run.status.step_states.values() if state.reason == IDENTITY_REFUSED)
    snapshot = replace(
        await run_snapshot(operator, run),
        authoritative=True,
        has_storage=True,
        identity_fault=next(refused, None) or "",
    )
    plan = engine.plan(snapshot, now)
    steps: dict[str, StepPlan] = {}
    for steprun in ongoing(snapshot):
        found = await step_snapshot(operator, steprun)
        found = replace(
            found,
            run=run,
            job_confirmed=True,
            job_confirmed_absent=found.job is None,
            references_confirmed=True,
            has_storage=True,
        )
        steps[steprun.metadata.name or ""] = step_engine.plan(found, now)
    return explain(snapshot, plan, steps, now)


async def _operator(reader: Reader) -> Operator:
    """What gathers snapshots; it cannot write."""
    defaults = ManagerOptions()
    source = ConfigSource(ObjectKey(defaults.config_namespace, defaults.config_name))
    try:
        await source.load(reader)
    except Forbidden:
        print("the operator's ConfigMap cannot be read; its defaults are assumed", file=sys.stderr)
    client: Any = reader
    return Operator(client=client, live=reader, clock=REAL_CLOCK, config=source)


async def _not_found(reader: Reader, key: ObjectKey) -> str:
    """Why there is nothing to explain, with what was probably meant."""
    message = f'namespace "{key.namespace}" has no StoryRun "{key.name}"'
    try:
        runs = [run.metadata for run in await reader.list(StoryRun)]
    except Forbidden:
        runs = [run.metadata for run in await reader.list(StoryRun, namespace=key.namespace)]
    elsewhere = [run.namespace or "" for run in runs if run.name == key.name]
    if elsewhere:
        return f"{message}; there is one in {', '.join(sorted(elsewhere))} (-n {elsewhere[0]})"
    if await get_or_none(reader, StepRun, key) is not None:
        return f"{message}; that is a StepRun: explain the run that it belongs to"
    names = [run.name or "" for run in runs if run.namespace == key.namespace]
    close = get_close_matches(key.name, names, n=3)
    return f"{message}; did you mean {' or '.join(close)}?" if close else message


@asynccontextmanager
async def _control_plane(request: ExplainRequest) -> AsyncIterator[tuple[Reader, str]]:
    """A reader of the control plane, and what a person should know about it."""
    if request.data_dir is None:
        async with _served(request.kubeconfig) as reader:
            yield reader, ""
        return
    folder = Path(request.data_dir)
    objects = folder / "store"  # as the API server lays its folder out
    if not store.exists(objects):
        raise UsageError(f"--data-dir {folder}: no control plane was kept there")
    process = store.holder(objects)
    if process and (folder / "kubeconfig").is_file():
        async with _served(str(folder / "kubeconfig")) as reader:
            yield reader, ""
        return
    note = "" if process else f"nobody serves {folder}: nothing goes on until `bobrapet dev --data-dir {folder}` does"
    yield Indexed(Stored(store.read(objects))), note


@asynccontextmanager
async def _served(kubeconfig: str) -> AsyncIterator[Reader]:
    from bobrapet.cli.stack import scheme
    from bobrapet.runtime.client.client import ApiClient
    from bobrapet.runtime.client.config import get_config
    from bobrapet.runtime.rest.client import RestClient

    try:
        config = get_config(kubeconfig or None)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    async with ApiClient(RestClient(config), scheme()) as client:
        yield Indexed(client)
