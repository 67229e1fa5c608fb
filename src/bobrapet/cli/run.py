"""`bobrapet run`: one Story on a control plane of its own, from manifests to output."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import string
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bobrapet.api.duration import DurationError, parse_duration
from bobrapet.cli import inputs as story_inputs
from bobrapet.cli import report
from bobrapet.cli.checks import check_images, check_inputs, check_manifests
from bobrapet.cli.errors import EXIT_INTERRUPTED, EXIT_TIMEOUT, EXIT_USAGE, ManifestError, UsageError
from bobrapet.cli.loops import on_signals
from bobrapet.cli.loops import run as run_in_loop
from bobrapet.cli.manifests import Manifest, load
from bobrapet.cli.progress import open_display, restore_terminal
from bobrapet.cli.state import temporary_folder
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.client.patch import raw_patch
from bobrapet.runtime.errors import AlreadyExists, ApiError
from bobrapet.runtime.rest.interface import MERGE_PATCH
from bobrapet.validation.scene import Absent

if TYPE_CHECKING:
    from bobrapet.cli.following import Outcome
    from bobrapet.local.node.images import ImageResolver
    from bobrapet.runtime.client.client import ApiClient

_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """The command line of `bobrapet run`."""

    paths: tuple[str, ...]
    story: str | None = None
    namespace: str = "default"
    inputs: tuple[str, ...] = ()
    inputs_file: str | None = None
    name: str | None = None
    images: tuple[str, ...] = ()
    timeout: str | None = None
    output: str = "text"
    data_dir: str | None = None
    verbose: bool = False
    approve: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()
    strict: bool = False


def main(request: RunRequest) -> int:
    """Runs a Story and returns the exit code."""
    try:
        return _main(request)
    except ManifestError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        return EXIT_USAGE


def _main(request: RunRequest) -> int:
    started = datetime.now(UTC)
    if "-" in request.paths and request.inputs_file == "-":
        raise UsageError("standard input cannot hold both the manifests (PATH -) and the inputs (--inputs -)")
    timeout = _seconds(request.timeout)
    manifests = load(request.paths)
    # What a kept control plane already holds is only known once it is up: references are judged there.
    absent = Absent.REFUSES if request.data_dir is None else Absent.WARNS
    check_manifests(manifests, request.namespace, absent=absent)
    story = choose_story(manifests, request.story, request.namespace)
    gates = _decisions(story, request)
    inputs = story_inputs.gather(request.inputs, request.inputs_file)
    check_inputs(story, request.namespace, inputs)

    from bobrapet.cli.stack import image_resolver

    images = image_resolver(request.images)
    check_images(manifests, story, request.namespace, images.resolve)
    with _folder(request.data_dir) as folder:
        outcome = run_in_loop(_run(request, manifests, story, inputs, images, folder, timeout, started, gates))
        report.print_result(outcome, request)
        if outcome.timed_out:
            return EXIT_TIMEOUT
        if outcome.interrupted:
            return EXIT_INTERRUPTED
        return 0 if outcome.succeeded else 1


async def _run(
    request: RunRequest,
    manifests: list[Manifest],
    story: Manifest,
    inputs: dict[str, Any],
    images: ImageResolver,
    folder: Path,
    timeout: float | None,
    started: datetime,
    gates: dict[str, dict[str, str]],
) -> Outcome:
    from bobrapet.cli.apply import apply_all, existing_objects
    from bobrapet.cli.following import follow
    from bobrapet.cli.payloads import with_payloads
    from bobrapet.cli.stack import StackOptions, control_plane, tell_about_trouble
    from bobrapet.runtime.log import log

    interrupted = asyncio.Event()
    tell_about_trouble(log.INFO if request.verbose else log.ERROR)
    options = StackOptions(folder=folder, persistent=request.data_dir is not None, images=images, strict=request.strict)

    def interrupt() -> None:
        if interrupted.is_set():
            _kill(folder, temporary=request.data_dir is None)
        interrupted.set()
        print("\ncancelling the run; once more kills it", file=sys.stderr)

    with on_signals(interrupt):
        async with control_plane(options) as stack:
            if request.verbose:
                ready = (datetime.now(UTC) - started).total_seconds()
                print(f"control plane ready after {ready:.2f} s", file=sys.stderr)
            if request.data_dir is not None:
                existing = await existing_objects(stack.client)
                check_manifests(manifests, request.namespace, existing=existing.objects, secrets=existing.secrets)
            placed = await apply_all(stack.client, manifests, request.namespace)
            home = next(m.namespace for m in placed if m.kind == "Story" and m.name == story.name)
            key = ObjectKey(home, request.name or _run_name(story.name))
            spec: dict[str, Any] = {"storyRef": {"name": story.name}}
            if inputs:
                spec["inputs"] = inputs
            await _start(stack.client, key, spec)
            if gates:
                await _decide(stack.client, key, gates)
            display = open_display(lambda: datetime.now(UTC))
            try:
                outcome = await follow(stack, key, display, interrupted=interrupted, timeout=timeout)
            finally:
                display.close()
            if request.output == "text":
                outcome = await with_payloads(stack, folder, outcome)
            return await report.with_logs(stack, outcome)


async def _start(client: ApiClient, key: ObjectKey, spec: dict[str, Any]) -> None:
    """Creates the StoryRun. Raises UsageError when its name is taken."""
    metadata = {"name": key.name, "namespace": key.namespace}
    run = {"apiVersion": "runs.bubustack.io/v1alpha1", "kind": "StoryRun", "metadata": metadata, "spec": spec}
    try:
        await client.create(Unstructured(run))
    except AlreadyExists as error:
        raise UsageError(f"--name {key.name}: {error.message}; choose another name") from error
    except ApiError as error:
        raise ManifestError([f'StoryRun "{key.name}": {error.message}']) from error


async def _decide(client: ApiClient, key: ObjectKey, gates: dict[str, dict[str, str]]) -> None:
    """Writes the decisions before their gates are reached; they apply as soon as they are (runs 12.8)."""
    run = Unstructured(
        {
            "apiVersion": "runs.bubustack.io/v1alpha1",
            "kind": "StoryRun",
            "metadata": {"name": key.name, "namespace": key.namespace},
        }
    )
    patch = json.dumps({"status": {"gates": gates}}).encode()
    await client.status().patch(run, raw_patch(MERGE_PATCH, patch))


def _decisions(story: Manifest, request: RunRequest) -> dict[str, dict[str, str]]:
    """`--approve` and `--reject` as `status.gates`. Raises UsageError for a step that is no gate, or both at once."""
    steps = story.object["spec"].get("steps") or []
    known = [step["name"] for step in steps if isinstance(step, dict) and step.get("type") == "gate"]
    gates: dict[str, dict[str, str]] = {}
    for option, state, names in (
        ("--approve", "Approved", request.approve),
        ("--reject", "Rejected", request.reject),
    ):
        for text in names:
            name, _, message = text.partition("=")
            if name not in known:
                there = f"its gates: {', '.join(known)}" if known else "it has no gate"
                raise UsageError(f"{option} {name}: Story {story.name} has no such gate; {there}")
            if name in gates:
                raise UsageError(f"{option} {name}: the gate was decided twice")
            gates[name] = {"state": state, "message": message or f"{option} of bobrapet run"}
    return gates


def choose_story(manifests: list[Manifest], name: str | None, namespace: str) -> Manifest:
    """The Story to run: the only one, or the one that is named.

    Raises:
        UsageError: there is none, there are several and none is named, or none has that name.
    """
    stories = [manifest for manifest in manifests if manifest.kind == "Story"]
    names = ", ".join(sorted({story.name for story in stories}))
    if name is not None:
        found = [story for story in stories if story.name == name]
        if not found:
            raise UsageError(
                f"--story {name}: the manifests have no such Story" + (f"; they have {names}" if names else "")
            )
        if len(found) > 1:
            here = [story for story in found if (story.namespace or namespace) == namespace]
            found = here or found
        return found[0]
    if not stories:
        raise UsageError("the manifests have no Story, so there is nothing to run")
    if len(stories) > 1:
        raise UsageError(f"the manifests have several Stories ({names}); name one with --story")
    return stories[0]


def _run_name(story: str) -> str:
    return f"{story}-{''.join(secrets.choice(_ALPHABET) for _ in range(5))}"


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = parse_duration(text) / 1e9
    except DurationError as error:
        raise UsageError(f"--timeout: {error}") from error
    if seconds <= 0:
        raise UsageError(f"--timeout {text}: must be longer than nothing, for example 5m")
    return seconds


@contextmanager
def _folder(data_dir: str | None) -> Iterator[Path]:
    if data_dir is None:
        with temporary_folder() as folder:
            yield folder
        return
    folder = Path(data_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"--data-dir {data_dir}: is no folder") from error
    except OSError as error:
        raise UsageError(f"--data-dir {data_dir}: {error.strerror}") from error
    yield folder


def _kill(folder: Path, *, temporary: bool) -> None:
    """Ends this process without farewell; the components' supervisors notice and end them."""
    restore_terminal()
    if temporary:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(EXIT_INTERRUPTED)
