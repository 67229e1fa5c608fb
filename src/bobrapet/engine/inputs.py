"""What a run and a step get as input: defaults, templates, schemas.

Rules: spec runs 6, workloads 7; decisions 3, 5, 8, 11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bobrapet.api import labels
from bobrapet.api.enums import Phase, StepType
from bobrapet.api.names import compose
from bobrapet.engine import attempts, evaluation, materialize
from bobrapet.engine.context import steps_context
from bobrapet.engine.graph import Graph, Node, graph_of
from bobrapet.engine.launch import is_owned, steprun_name
from bobrapet.engine.outcome import final_phase
from bobrapet.engine.states import State, from_api
from bobrapet.validation.json_schema import InvalidSchema, compile_schema

if TYPE_CHECKING:
    from bobrapet.api import StoryRun
    from bobrapet.api.story import Step, Story
    from bobrapet.config.policy import StepPolicy
    from bobrapet.engine.snapshot import StepSnapshot

MAX_DELIVERED_BYTES: Final = 124 * 1024
"""What one environment variable can hold on Linux (128 KiB with its name), less some room."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Ready for the component."""

    inputs: Mapping[str, Any]
    configuration: Mapping[str, Any]
    context: Mapping[str, Any] | None
    is_complete: bool
    """Whether no template is left for the component to evaluate."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Steps that the inputs read have not finished, as far as the cache shows."""

    on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Offloaded values must be read first."""

    references: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Materialize:
    """A component must evaluate the templates first, or does so already."""

    question: materialize.Wanted


@dataclass(frozen=True, slots=True)
class Fault:
    """The inputs are wrong; the reason is one word, the message says where and what would be right."""

    reason: str
    message: str


def story_inputs(run: StoryRun, story: Story) -> dict[str, Any] | Fault:
    """The inputs of a run with the defaults of its Story's schema, checked against it before the run begins.

    A run that has begun was checked; a schema that is edited meanwhile is for the runs to come (B-14).
    """
    given = run.spec.inputs or {}
    if run.status.phase is not None and run.status.phase is not Phase.PENDING:
        return _with_defaults(story.spec.inputs_schema, given)
    return _checked(story.spec.inputs_schema, given, "inputs", f"Story {story.metadata.name} inputsSchema")


def given(snapshot: StepSnapshot) -> Resolved | Fault:
    """The inputs of a StepRun that evaluates a template for others: as they are, the template in them too (R-7.3)."""
    assert snapshot.engram is not None
    inputs = snapshot.step.spec.input or {}
    return _too_large(snapshot, inputs) or Resolved(inputs, snapshot.engram.spec.with_ or {}, None, is_complete=True)


def resolve_step(
    snapshot: StepSnapshot, definition: Step, policy: StepPolicy
) -> Resolved | Waiting | Load | Materialize | Fault:
    """The inputs, configuration and template context of a step that is about to start."""
    run, story, engram, template = snapshot.run, snapshot.story, snapshot.engram, snapshot.template
    assert run is not None
    assert story is not None
    assert engram is not None
    assert template is not None
    found = story_inputs(run, story)
    if isinstance(found, Fault):
        return found
    graph = graph_of(story)
    states = {name: from_api(state) for name, state in run.status.step_states.items()}
    if unfinished := _unfinished(snapshot, run, story, definition, states):
        return Waiting(unfinished)
    context = {
        "inputs": found,
        "steps": steps_context(
            run, graph, _settled(snapshot, graph, definition, states), snapshot.siblings, snapshot.children
        ),
    }
    for path in definition.requires:
        if evaluation.is_null(context, path):
            return Fault("DependencyFailed", f"requires {path}, which is missing or null")
    questions: list[materialize.Wanted] = []
    match _templates(snapshot, context, questions).value(snapshot.step.spec.input or {}):
        case evaluation.Value(value=value):
            merged = value
        case evaluation.Needs(references=()):
            return Materialize(questions[0])
        case evaluation.Needs(references=references):
            return Load(references)
        case evaluation.Failed(message=message):
            return Fault("ExpressionFailed", message)
    if not isinstance(merged, dict):
        return Fault("ExpressionFailed", f"`with` must give an object, not {type(merged).__name__}")
    inputs = _checked(
        template.spec.input_schema,
        _declared(template.spec.input_schema, merged, engram.spec.with_ or {}, definition.with_ or {}),
        "input",
        f"inputSchema of EngramTemplate {template.metadata.name}",
    )
    if isinstance(inputs, Fault):
        return inputs
    configuration = _with_defaults(template.spec.config_schema, merged)
    if (fault := _too_large(snapshot, inputs, configuration)) is not None:
        return fault
    return Resolved(inputs, configuration, evaluation.plain(context), is_complete=True)


def _templates(
    snapshot: StepSnapshot, context: Mapping[str, Any], questions: list[materialize.Wanted]
) -> evaluation.Templates:
    """The templates of the step's `with`. What a component must be asked is added to `questions`."""
    run, step, config = snapshot.run, snapshot.step, snapshot.config
    assert run is not None
    site = materialize.Site("with", step.spec.step_id, waiting=step.metadata.name or "")

    def ask(
        mode: materialize.Mode, template: Any, variables: Mapping[str, Any]
    ) -> evaluation.Value | evaluation.Failed | evaluation.Needs:
        read = {name: snapshot.siblings.get(steprun_name(run, name)) for name in evaluation.references_in(template)}
        question = materialize.wanted(
            run,
            site,
            mode,
            template,
            variables,
            engram=config.templating.materialize_engram,
            sources={name: steprun for name, steprun in read.items() if steprun is not None},
        )
        existing = snapshot.siblings.get(question.name)
        found = materialize.answer(existing, run, mode) if existing is not None else None
        if found is None:
            questions.append(question)
            return evaluation.Needs(())
        return found

    resolves_itself = config.templating.offloaded_data_policy == "controller" or (
        snapshot.story is not None
        and snapshot.story.metadata.annotations.get(labels.ANNOTATION_CONTROLLER_RESOLVE, "").strip().lower() == "true"
    )
    return evaluation.Templates(
        context,
        config,
        evaluation.offloaded(snapshot),
        ask if snapshot.can_materialize and not resolves_itself else None,
        kind="with",
        prefers_component=True,
    )


def _too_large(snapshot: StepSnapshot, inputs: Mapping[str, Any], configuration: Any = None) -> Fault | None:
    """Whether a process cannot take these; with storage, the controller offloads what is large."""
    if snapshot.has_storage:
        return None
    for name, value in (("inputs", inputs), ("configuration", configuration)):
        if (size := len(msgspec.json.encode(value))) > MAX_DELIVERED_BYTES:
            return Fault(
                "InputTooLarge",
                f"the {name} of the step have {size} bytes; a process receives at most {MAX_DELIVERED_BYTES} "
                "through its environment. Configure storage, so that large values are passed by reference",
            )
    return None


def _unfinished(
    snapshot: StepSnapshot, run: StoryRun, story: Story, definition: Step, states: Mapping[str, State]
) -> tuple[str, ...]:
    """Dependencies that the cache does not show as finished.

    The run creates a StepRun only when its dependencies are done, so one whose StepRun is not there at all has ended
    without one; only an older copy than the run saw makes this wait: of a StepRun, or of the run itself, which comes
    with those of its child runs. A step of a later attempt than that of the run waits for all that it depends on.
    """
    graph = graph_of(story)
    dependencies = _dependencies(graph, definition)
    if attempts.of_child(snapshot.step) > (run.status.attempts or 1):
        return dependencies
    waiting = []
    for name in dependencies:
        state = states.get(name)
        if graph.nodes[name].step.type is StepType.EXECUTE_STORY and not story.spec.is_streaming:
            if state is None or not state.is_terminal:
                waiting.append(name)
            continue
        steprun = snapshot.siblings.get(steprun_name(run, name))
        if state is not None and state.is_terminal:
            if not (state.phase is Phase.SUCCEEDED and steprun is not None and final_phase(steprun) is None):
                continue
            waiting.append(name)
        elif steprun is not None and is_owned(steprun, run) and final_phase(steprun) is None:
            waiting.append(name)
    return tuple(waiting)


def _settled(
    snapshot: StepSnapshot, graph: Graph, definition: Step, states: Mapping[str, State]
) -> Mapping[str, State]:
    """The states of the run, and of dependencies whose end the cached run does not show yet."""
    assert snapshot.run is not None
    settled = {name: state for name, state in states.items() if name in graph.nodes}
    for name in _dependencies(graph, definition):
        known = settled.get(name)
        if known is None or not known.is_terminal:
            settled[name] = State(_end_of(snapshot, snapshot.run, graph.nodes[name]))
    return settled


def _end_of(snapshot: StepSnapshot, run: StoryRun, node: Node) -> Phase:
    """How a dependency must have ended, told by its children; one without any was skipped."""
    if node.branches:
        branches = [snapshot.siblings.get(steprun_name(run, branch.name, node.name)) for branch in node.branches]
        return Phase.SUCCEEDED if any(branches) else Phase.SKIPPED
    child = snapshot.children.get(compose(run.metadata.name or "", node.name))
    if child is not None and child.status.phase is Phase.SUCCEEDED:
        return Phase.SUCCEEDED
    steprun = snapshot.siblings.get(steprun_name(run, node.name))
    return (final_phase(steprun) if steprun is not None else None) or Phase.SKIPPED


def _dependencies(graph: Graph, definition: Step) -> tuple[str, ...]:
    """What a step, or the parallel step that it is a branch of, depends on."""
    node = graph.nodes.get(definition.name)
    if node is None and (parent := graph.parents.get(definition.name)) is not None:
        node = graph.nodes[parent]
    return node.dependencies if node is not None else ()


def _declared(
    schema: Mapping[str, Any] | None, merged: dict[str, Any], of_engram: Mapping[str, Any], of_step: Mapping[str, Any]
) -> dict[str, Any]:
    """Without what only configures the Engram, where the schema forbids what it does not declare (decision 11)."""
    if not schema or schema.get("additionalProperties") is not False:
        return merged
    known = schema.get("properties") or {}
    return {key: value for key, value in merged.items() if key in known or key in of_step or key not in of_engram}


def _checked(schema: Mapping[str, Any] | None, value: dict[str, Any], what: str, where: str) -> dict[str, Any] | Fault:
    if not schema:
        return value
    try:
        compiled = compile_schema(schema)
    except InvalidSchema as error:
        return Fault("InputSchemaFailed", f"{where} is invalid: {error}")
    filled = compiled.with_defaults(value)
    if violations := compiled.violations(filled):
        told = "; ".join(str(violation) for violation in violations[:5])
        return Fault("InputSchemaFailed", f"{what} does not match {where}: {told}")
    return dict(filled)


def _with_defaults(schema: Mapping[str, Any] | None, value: dict[str, Any]) -> dict[str, Any]:
    if not schema:
        return value
    try:
        return dict(compile_schema(schema).with_defaults(value))
    except InvalidSchema:
        return value
