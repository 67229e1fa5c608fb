"""What `bobrapet run` prints at the end: the output on stdout, what went wrong on stderr."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml

from bobrapet.api.names import compose
from bobrapet.runtime.errors import ControllerRuntimeError

if TYPE_CHECKING:
    from bobrapet.api import StepRun
    from bobrapet.cli.following import Outcome
    from bobrapet.cli.run import RunRequest
    from bobrapet.cli.stack import Stack

LOG_LINES = 10


def print_result(outcome: Outcome, request: RunRequest) -> None:
    """Prints the result in the form that was asked for, and on failure what to know and to do."""
    match request.output:
        case "json":
            print(json.dumps(_object(outcome), indent=2, ensure_ascii=False))
        case "yaml":
            print(yaml.safe_dump(_object(outcome), sort_keys=False, allow_unicode=True), end="")
        case _:
            if outcome.succeeded:
                output = outcome.output if outcome.output is not None else story_output(outcome)
                print(json.dumps(output, indent=2, ensure_ascii=False))
    sys.stdout.flush()
    if not outcome.succeeded:
        for line in failure_report(outcome, request):
            print(line, file=sys.stderr)


def story_output(outcome: Outcome) -> Any:
    """The Story's output; of a Story without one, the outputs of the steps that nobody needs, by step."""
    status = outcome.run.status
    if outcome.story is None or outcome.story.spec.output is not None:
        return status.output if status else None
    from bobrapet.engine.graph import Block, graph_of

    nodes = list(graph_of(outcome.story).block(Block.MAIN))
    needed = {need for node in nodes for need in node.dependencies}
    states = (status.step_states if status else None) or {}
    outputs: dict[str, Any] = {}
    for node in nodes:
        if node.name in needed or node.name not in states:
            continue
        child = outcome.steps.get(compose(outcome.run.metadata.name or "", node.name))
        if child is not None and child.status is not None:
            outputs[node.name] = child.status.output
    return outputs


async def with_logs(stack: Stack, outcome: Outcome) -> Outcome:
    """The outcome with the last log lines of its failed steps."""
    logs: dict[str, str] = {}
    for child in failed_steps(outcome):
        namespace, name = child.metadata.namespace or "", child.metadata.name or ""
        pods = f"/api/v1/namespaces/{namespace}/pods"
        try:
            found = json.loads(
                await stack.client.rest.request("GET", pods, {"labelSelector": f"batch.kubernetes.io/job-name={name}"})
            )
            for pod in sorted(found["items"], key=lambda item: item["metadata"]["creationTimestamp"]):
                path = f"{pods}/{quote(pod['metadata']['name'])}/log"
                text = await stack.client.rest.request("GET", path, {"tailLines": str(LOG_LINES)}, accept="*/*")
                logs[child.spec.step_id] = text.decode(errors="replace").rstrip()
        except ControllerRuntimeError as error:
            logs.setdefault(child.spec.step_id, f"(no log: {error})")
    return dataclasses.replace(outcome, logs=logs)


def failed_steps(outcome: Outcome) -> list[StepRun]:
    """StepRuns that ended badly, in the order in which they ended."""
    bad = {"Failed", "Timeout", "Aborted"}
    found = [
        child
        for child in outcome.steps.values()
        if child.status is not None and child.status.phase is not None and child.status.phase.value in bad
    ]
    return sorted(found, key=lambda child: (child.status and child.status.finished_at) or "")


def failure_report(outcome: Outcome, request: RunRequest) -> Iterator[str]:
    """What went wrong, where, what the step said last, and the next command to try."""
    run, status = outcome.run, outcome.run.status
    phase = status.phase.value if status and status.phase else "Pending"
    yield ""
    if outcome.timed_out:
        yield f"run {run.metadata.name} was cancelled after --timeout {request.timeout}; it ended as {phase}"
    elif outcome.interrupted:
        yield f"run {run.metadata.name} was interrupted; it ended as {phase}"
    else:
        yield f"run {run.metadata.name} ended as {phase}: {_message(status)}"
    for child in failed_steps(outcome):
        assert child.status is not None
        error = child.status.error
        kind = error.type.value if error is not None else ""
        message = (error.message if error else None) or child.status.last_failure_msg or ""
        tries = f" after {child.status.retries} retries" if child.status.retries else ""
        yield f"  step {child.spec.step_id} {child.status.phase.value if child.status.phase else ''}{tries}"
        yield f"    error:  {kind + ': ' if kind else ''}{message}"
        if child.status.exit_code:
            yield f"    exit:   {child.status.exit_code} ({child.status.exit_class or 'unknown'})"
        if log := outcome.logs.get(child.spec.step_id):
            yield f"    log:    (last {LOG_LINES} lines)"
            yield from (f"      {line}" for line in log.splitlines())
    yield from _next_command(outcome, request)


def _next_command(outcome: Outcome, request: RunRequest) -> Iterator[str]:
    name, namespace = outcome.run.metadata.name, outcome.run.metadata.namespace
    if request.data_dir is None:
        again = shlex.join(["bobrapet", *sys.argv[1:], "--data-dir", "./state"])
        yield f"next: {again}   # keeps the objects and logs to look at"
        return
    yield f"next: bobrapet dev --data-dir {request.data_dir}"
    yield f"      kubectl --kubeconfig {request.data_dir}/kubeconfig -n {namespace} describe storyrun {name}"


def _message(status: Any) -> str:
    if status is None:
        return ""
    error = status.error
    if isinstance(error, dict) and error.get("message"):
        return f"{error.get('type', 'error')}: {error['message']}"
    return status.message or ""


def _object(outcome: Outcome) -> Any:
    run = outcome.run.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {"apiVersion": "runs.bubustack.io/v1alpha1", "kind": "StoryRun", **run}
