"""The working state of one pass over a run: what is known, what was decided so far, and the small verbs of deciding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api import labels
from bobrapet.api.enums import Phase, StepType
from bobrapet.engine import attempts, evaluation, materialize
from bobrapet.engine.context import StepsContext
from bobrapet.engine.graph import Block, Graph, Node
from bobrapet.engine.launch import is_owned, steprun_name
from bobrapet.engine.outcome import final_phase
from bobrapet.engine.primitives import stories, timed
from bobrapet.engine.reasons import Reason, WaitsForPayload, Wake
from bobrapet.engine.states import State, from_api, recorded_timers

if TYPE_CHECKING:
    from bobrapet.api import StepRun, Story, StoryRun
    from bobrapet.engine.plans import Annotate, Delete, Event
    from bobrapet.engine.scheduling import QueuePlace
    from bobrapet.engine.snapshot import RunSnapshot

VISIBLE_WITHIN: Final = timedelta(seconds=2)
"""How long a child that was just created may take to show up in the cache before somebody asks the API server."""


_KINDS: Final = {"story-output": "output", "execute-story": "with"}


class Cause(Enum):
    """Why a run ends before its steps are done."""

    CANCEL = "cancel"
    STOP = "stop"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Ending:
    """A run that is being ended: what is unstarted stays so, what runs is drained or cut off."""

    cause: Cause
    since: datetime
    phase: Phase
    """The phase that the run gets."""
    message: str
    skip_reason: str
    is_recorded: bool = True
    """Whether an earlier plan has already acted on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What a pass is made from."""

    snapshot: RunSnapshot
    story: Story
    graph: Graph
    inputs: Mapping[str, Any]
    place: QueuePlace
    now: datetime
    attempt: int
    """The one that the run is in, counted from 1."""
    ending: Ending | None
    grace: timedelta


class Work:
    """What a pass knows and has decided. Lists of writes are in the order in which they were decided."""

    def __init__(self, given: Given) -> None:
        snapshot, graph, attempt = given.snapshot, given.graph, given.attempt
        recorded = {name: from_api(state) for name, state in snapshot.run.status.step_states.items()}
        if not snapshot.authoritative:  # else what is there was made in time, by whomever
            snapshot = replace(
                snapshot,
                steps=attempts.current(snapshot.run, graph, recorded, snapshot.steps, attempt),
                children=attempts.current(snapshot.run, graph, recorded, snapshot.children, attempt),
            )
        self.snapshot, self.story, self.graph, self.now = snapshot, given.story, graph, given.now
        self._attempt = attempt
        self._attempts = {name: state.attempt for name, state in recorded.items()}
        self.run_object = snapshot.run
        self.inputs, self.place, self.grace = given.inputs, given.place, given.grace
        self.ending = given.ending
        self.states: dict[str, State] = {}
        self.starts: list[StepRun] = []
        self._questions: list[tuple[str, materialize.Wanted]] = []
        """What is to evaluate a template, and the step whose template it is; empty: the Story's own."""
        self.children: list[StoryRun] = []
        self.cancels: list[Annotate] = []
        self.deletes: list[Delete] = []
        self.events: list[Event] = []
        self.loads: list[Mapping[str, Any]] = []
        self.wakes: list[Wake] = []
        self.reasons: dict[str, Reason] = {}
        self.cut: set[str] = set()
        """Steps that had their time to drain; what still runs of them is deleted now."""
        self.needs_confirmation = False
        """Whether something was decided, or could not be, that only authoritative objects allow to decide."""
        self.has_failed = False
        """Whether a main step failed that was not allowed to."""
        self.finished = False
        """Whether every block is done."""
        self._context = StepsContext(snapshot.run, graph, self.states, snapshot.steps, snapshot.children)
        timers = recorded_timers(snapshot.run.metadata.annotations.get(labels.ANNOTATION_STEP_TIMERS))
        for name, state in recorded.items():
            if name in graph.nodes:
                if state.until is None and not state.is_terminal and name in timers:
                    state = replace(state, until=timers[name])
                self.record(name, state)

    # Deciding

    def record(self, name: str, state: State) -> None:
        """Gives a step a state."""
        if state.attempt != (attempt := self.attempt_of(name)):
            state = replace(state, attempt=attempt)
        self.states[name] = state
        self._context.invalidate(name)
        node = self.graph.nodes[name]
        if state.is_failed and node.block is Block.MAIN and not node.step.allow_failure:
            self.has_failed = True

    def forget(self, name: str) -> None:
        """Takes back the state of a step that began in this pass."""
        del self.states[name]
        self._context.invalidate(name)
        self.reasons.pop(name, None)

    def finish(self, name: str, phase: Phase, message: str = "", reason: str = "") -> None:
        """Ends a step."""
        begun = self.states.get(name) or State(phase)
        self.record(name, begun.ended(phase, message, reason, at=self.now))
        self.reasons.pop(name, None)

    def fail(self, name: str, reason: str, message: str) -> None:
        """Fails a step for what the objects around it say: the newest ones shall be asked, since nothing revives it."""
        self.needs_confirmation = True
        self.finish(name, Phase.FAILED, message, reason)

    def settle(self, name: str, result: timed.Step) -> None:
        """Takes over what a timed step decided."""
        self.record(name, result.state)
        self.needs_confirmation = self.needs_confirmation or result.state.phase is Phase.FAILED
        if result.reason is not None:
            self.reasons[name] = result.reason
        if result.wake is not None:
            self.wakes.append(result.wake)
        self.loads.extend(result.loads)

    def load(self, key: str, references: Sequence[Mapping[str, Any]], what: str) -> None:
        """Waits for offloaded data."""
        self.loads.extend(references)
        self.reasons[key] = WaitsForPayload(f"the data that {what} reads")

    def skip_unstarted(self, block: Block, reason: str, message: str) -> None:
        """Skips every step of a block that has not begun."""
        for node in self.graph.block(block):
            state = self.states.get(node.name)
            if state is None or state.is_unstarted:
                self.record(node.name, self.skipped(node, message, reason))
                self.reasons.pop(node.name, None)

    def skipped(self, node: Node, message: str, reason: str) -> State:
        begun = self.states.get(node.name) or State(Phase.SKIPPED)
        return begun.ended(Phase.SKIPPED, message, reason, at=self.now)

    # Knowing

    def attempt_of(self, name: str) -> int:
        """The attempt of the run that a step belongs to: that of its recorded state, else the one that goes on."""
        return self._attempts.get(name, self._attempt)

    def failures(self, block: Block) -> list[str]:
        """Failed steps of a block that were not allowed to fail, in declaration order."""
        return [
            name
            for name, node in self.graph.nodes.items()
            if node.block is block
            and not node.step.allow_failure
            and (state := self.states.get(name)) is not None
            and state.is_failed
        ]

    def is_done(self, block: Block) -> bool:
        """Whether every step of a block has ended."""
        return all(
            (state := self.states.get(node.name)) is not None and state.is_terminal for node in self.graph.block(block)
        )

    def is_all_done(self) -> bool:
        if not self.is_done(Block.MAIN) or not self.is_done(Block.FINALLY):
            return False
        return not self.has_failed or self.is_done(Block.COMPENSATIONS)

    def steprun(self, name: str, parent: str = "") -> StepRun | None:
        """The StepRun of a step, or of a branch of `parent`, as far as the cache shows one that is ours."""
        steprun = self.snapshot.steps.get(steprun_name(self.run_object, name, parent))
        return steprun if steprun is not None and is_owned(steprun, self.run_object) else None

    def shows_output(self, node: Node, state: State) -> bool:
        """Whether the snapshot has what a step that succeeded gave: its end may be known before its output is.

        The run's own record of the end may come from another process, or be newer in the cache than the child that
        it tells about. Asks for an authoritative snapshot when it is; what that does not show is gone for good.
        """
        if self.snapshot.authoritative or not self.has_children(node):
            return True
        if node.step.type is StepType.EXECUTE_STORY:
            child = self.snapshot.children.get(state.child or stories.child_name(self.run_object, node.name))
            phase = child.status.phase if child is not None else None
            is_shown = not stories.waits(node.step) or (phase is not None and phase.is_terminal)
        elif node.branches:
            begun = [self.steprun(branch.name, node.name) for branch in node.branches if not branch.if_]
            is_shown = all(steprun is not None and final_phase(steprun) is not None for steprun in begun)
        else:
            steprun = self.steprun(node.name)
            is_shown = steprun is not None and final_phase(steprun) is not None
        self.needs_confirmation = self.needs_confirmation or not is_shown
        return is_shown

    def has_children(self, node: Node) -> bool:
        return node.step.ref is not None or node.step.type in (StepType.PARALLEL, StepType.EXECUTE_STORY)

    def live_children(self, node: Node, state: State) -> Iterator[StepRun | StoryRun]:
        """What a step started and what goes on."""
        if node.step.type is StepType.EXECUTE_STORY:
            child = self.snapshot.children.get(state.child or stories.child_name(self.run_object, node.name))
            if child is not None and is_owned(child, self.run_object):
                phase = child.status.phase
                if phase is None or not phase.is_terminal:
                    yield child
            return
        for name, parent in [(branch.name, node.name) for branch in node.branches] or [(node.name, "")]:
            steprun = self.steprun(name, parent)
            if steprun is not None and final_phase(steprun) is None:
                yield steprun

    def is_certainly_gone(self, state: State) -> bool:
        """Whether a child that should be there is not; asks for an authoritative snapshot when it might be."""
        if self.snapshot.authoritative:
            return True
        visible_by = (state.started_at or self.now) + VISIBLE_WITHIN
        if self.now < visible_by:
            self.wakes.append(Wake(visible_by, "what was just created is asked for, should it not show up"))
        else:
            self.needs_confirmation = True
        return False

    def templates(self, site: materialize.Site | None = None) -> evaluation.Templates:
        """Templates over what is known at this point of the pass.

        Args:
            site: the place of the template, where a component may evaluate it when the controller cannot.
        """
        context = {"inputs": self.inputs, "steps": self._context.entries()}
        ask = None
        if site is not None and self.snapshot.can_materialize:

            def ask(mode: materialize.Mode, template: Any, variables: Mapping[str, Any]) -> evaluation.Value | Any:
                return self._materialized(site, mode, template, variables)

        kind = _KINDS.get(site.purpose, site.purpose) if site is not None else "idempotencyKey"
        return evaluation.Templates(context, self.snapshot.config, evaluation.offloaded(self.snapshot), ask, kind=kind)

    def questions(self) -> list[materialize.Wanted]:
        """What components are to evaluate, but for steps that have ended since the question came up."""
        return [
            question
            for step, question in self._questions
            if step not in self.states or not self.states[step].is_terminal
        ]

    def _materialized(
        self, site: materialize.Site, mode: materialize.Mode, template: Any, variables: Mapping[str, Any]
    ) -> evaluation.Value | evaluation.Failed | evaluation.Needs:
        """What a component found; starts it when nobody has asked it yet."""
        steps = {name: self.steprun(name) for name in evaluation.references_in(template)}
        question = materialize.wanted(
            self.run_object,
            site,
            mode,
            template,
            variables,
            engram=self.snapshot.config.templating.materialize_engram,
            sources={name: steprun for name, steprun in steps.items() if steprun is not None},
        )
        existing = self.snapshot.steps.get(question.name)
        if existing is None:
            self._questions.append((site.node or site.step, question))
            return evaluation.Needs(())
        found = materialize.answer(existing, self.run_object, mode)
        return evaluation.Needs(()) if found is None else found
