"""One pass over the graph of a run: what every step does at this moment.

Each block is swept once, dependencies first, so that whatever a step decides at once (a condition, a skip, a failed
expression) is known to its dependents in the same pass. Steps that need a StepRun are collected during the sweep and
started after it, when it is clear that nothing failed meanwhile and that there is a slot for them.
Rules: spec runs 10 to 14, 16.3, 19; decisions 2, 4, 14.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api import labels
from bobrapet.api.enums import Phase, StepType
from bobrapet.config import policy as execution_policy
from bobrapet.engine import evaluation, launch
from bobrapet.engine.context import steps_context
from bobrapet.engine.graph import Block, Graph, Node
from bobrapet.engine.launch import is_left_over, is_owned, steprun_name
from bobrapet.engine.outcome import final_phase
from bobrapet.engine.plans import Annotate, Delete, Event
from bobrapet.engine.primitives import stories, timed
from bobrapet.engine.reasons import (
    AwaitsBranches,
    AwaitsRun,
    Ended,
    Queued,
    Reason,
    Retries,
    Runs,
    Starting,
    Stops,
    WaitsFor,
    WaitsForBlock,
    WaitsForPayload,
    WaitsForReference,
)
from bobrapet.engine.scheduling import QueuePlace, admit
from bobrapet.engine.states import State, from_api, moment

if TYPE_CHECKING:
    from bobrapet.api import StepRun, Story, StoryRun
    from bobrapet.api.story import Step
    from bobrapet.engine.snapshot import RunSnapshot

VISIBLE_WITHIN: Final = timedelta(seconds=2)
"""How long a child that was just created may take to show up in the cache before somebody asks the API server."""


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


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A StepRun that may be created when there is a slot."""

    node: Node
    key: str
    """The step, or `parallel/branch`."""
    ready: launch.Ready


class Pass:
    """The working state of one pass; `run` fills it."""

    def __init__(
        self,
        snapshot: RunSnapshot,
        story: Story,
        graph: Graph,
        inputs: dict[str, Any],
        place: QueuePlace,
        now: datetime,
        *,
        cancel: Ending | None,
        timeout: Ending | None,
        grace: timedelta,
    ) -> None:
        self.snapshot, self.story, self.graph, self.now = snapshot, story, graph, now
        self.run_object = snapshot.run
        self.inputs, self.place, self.grace = inputs, place, grace
        self.states: dict[str, State] = {
            name: from_api(state) for name, state in snapshot.run.status.step_states.items() if name in graph.nodes
        }
        self.starts: list[StepRun] = []
        self.children: list[StoryRun] = []
        self.cancels: list[Annotate] = []
        self.deletes: list[Delete] = []
        self.events: list[Event] = []
        self.loads: list[Any] = []
        self.wakes: list[datetime] = []
        self.reasons: dict[str, Reason] = {}
        self.needs_confirmation = False
        self.finished = False
        """Whether every block is done."""
        self.ending = min(
            (ending for ending in (cancel, timeout) if ending is not None),
            key=lambda ending: ending.since,
            default=None,
        )
        self._prepared: list[_Prepared] = []
        self._cut: set[str] = set()
        self._templates: evaluation.Templates | None = None
        policy = story.spec.policy
        retries = policy.retries if policy is not None else None
        self._fails_fast = not (retries is not None and retries.continue_on_step_failure)

    # The pass

    def run(self) -> None:
        for node in self.graph.nodes.values():
            if node.step.ref is not None:
                self._observe(node)
        if self.ending is not None and not self.ending.is_recorded and self._is_all_done():
            self.ending = None  # everything ended in time; only we look at it late
        stopped = self._stopped()
        if stopped is not None and (self.ending is None or stopped.since <= self.ending.since):
            self.ending = stopped
        for block in Block:
            if not self._block(block):
                break
        else:
            self.finished = True
        self._follow_up()
        self._explain()

    def _block(self, block: Block) -> bool:
        """Advances one block; says whether it is done."""
        if not self.graph.has(block):
            return True
        if block is Block.COMPENSATIONS and not self._is_compensation_due():
            self._skip_unstarted(block, "NotNeeded", "not needed: no step failed")
            return True
        is_cleanup = block is not Block.MAIN
        if is_cleanup and (deadline := self._cleanup_deadline()) is not None:
            if self.now >= deadline:
                self._cut_off(block)
                return True
            self.wakes.append(deadline)
        self._sweep(block)
        if not is_cleanup:
            if self.ending is None and (stopped := self._stopped()) is not None:
                self.ending = stopped
            if self.ending is not None:
                self._prepared.clear()
                self._end(self.ending)
            elif self._fails_fast and (failed := self._failures(Block.MAIN)):
                self._prepared.clear()
                self._skip_unstarted(block, "FailFast", f"not started: step {failed[0]} failed")
        self._launch(block)
        return self._is_done(block)

    def _sweep(self, block: Block) -> None:
        for node in self.graph.block(block):
            state = self.states.get(node.name)
            if state is not None and state.is_terminal:
                continue
            if state is None or state.is_unstarted:
                self._consider(node, state)
            else:
                self._advance(node, state)

    # Steps that have begun

    def _observe(self, node: Node) -> None:
        """Takes over what the StepRun of an Engram step says."""
        state = self.states.get(node.name)
        steprun = self._steprun(node.name)
        if steprun is None or (state is not None and state.is_terminal):
            return
        started = moment(steprun.status.started_at)
        final = final_phase(steprun)
        if final is not None:
            finished = moment(steprun.status.finished_at) or self.now
            message, reason = _told(steprun, final)
            begun = replace(state or State(final), started_at=started or finished)
            self.states[node.name] = begun.ended(final, message, reason, at=finished)
        elif state is None or state.is_unstarted:
            self.states[node.name] = State(Phase.RUNNING, started_at=self.now)

    def _advance(self, node: Node, state: State) -> None:
        name = node.name
        match node.step.type:
            case None:
                self._advance_engram(node, state)
            case StepType.PARALLEL:
                self._parallel(node, state)
            case StepType.EXECUTE_STORY:
                self._await_child(node, state)
            case StepType.SLEEP:
                self._set(name, timed.sleeping(state, self.now))
            case StepType.GATE:
                gate = self.run_object.status.gates.get(name)
                self._set(name, timed.gated(node.step, state, gate, self.now))
            case StepType.WAIT:
                self._set(name, timed.waiting(node.step, state, self._condition_of_wait(node), self.now))
            case StepType.CONDITION | StepType.STOP:
                self._set(name, timed.Step(state.ended(Phase.SUCCEEDED, at=self.now)))

    def _advance_engram(self, node: Node, state: State) -> None:
        steprun = self._steprun(node.name)
        if steprun is None:
            self._recreate(node, state)
            return
        refused = launch.drift(steprun, self.run_object, self.story, node.step)
        if refused:
            self._drifted(node.name, steprun, refused)
            return
        self.reasons[node.name] = _running(steprun)

    def _recreate(self, node: Node, state: State) -> None:
        """The state says that it runs, but there is no StepRun: not visible yet, never created, or deleted."""
        if not self._is_certainly_gone(state):
            self.reasons[node.name] = Starting()
            return
        found = self._prepare(node, node.step)
        if isinstance(found, launch.Ready):
            self.starts.append(found.steprun)
            self.reasons[node.name] = Starting()

    def _is_certainly_gone(self, state: State) -> bool:
        """Whether a child that should be there is not; asks for an authoritative snapshot when it might be."""
        if self.snapshot.authoritative:
            return True
        visible_by = (state.started_at or self.now) + VISIBLE_WITHIN
        if self.now < visible_by:
            self.wakes.append(visible_by)
        else:
            self.needs_confirmation = True
        return False

    def _drifted(self, name: str, steprun: StepRun, why: str, parent: str = "") -> None:
        told = f'StepRun "{steprun.metadata.name}" exists, but {why}'
        self.events.append(Event("Warning", "ChildStepRunDrift", told))
        self._fail(parent or name, "ChildStepRunDrift", told)

    # Steps that have not begun

    def _consider(self, node: Node, state: State | None) -> None:
        """Decides whether a step may start, and starts what needs no StepRun at once."""
        blocked = self._blocked_by(node)
        if isinstance(blocked, State):
            self.states[node.name] = blocked
            return
        if blocked:
            self.reasons[node.name] = WaitsFor(blocked)
            return
        if node.step.if_ and not self.story.spec.is_streaming:
            verdict = self.templates().condition(node.step.if_)
            match verdict:
                case True:
                    pass
                case False:
                    self._finish(node.name, Phase.SKIPPED, "`if` is false", "ConditionFalse")
                    return
                case evaluation.Needs(references=references):
                    self._load(node.name, references, "`if`")
                    return
                case evaluation.Failed(message=message):
                    self._fail(node.name, "ExpressionFailed", f"`if`: {message}")
                    return
        self._start(node, state)

    def _blocked_by(self, node: Node) -> tuple[str, ...] | State:
        """What a step waits for; or its state, when a dependency decides that it will not run."""
        waiting = []
        for name in node.dependencies:
            other = self.graph.nodes[name]
            state = self.states.get(name)
            if other.block is not node.block:
                continue  # earlier blocks are over, whatever became of the step
            if state is None or not state.is_terminal:
                waiting.append(name)
            elif node.block is not Block.MAIN or state.phase is Phase.SUCCEEDED:
                continue
            elif state.phase is Phase.SKIPPED:
                if state.reason == "DependencyFailed":  # passed on; a step skipped by its own `if` is not
                    return self._skipped(node, state.message, "DependencyFailed")
            elif not other.step.allow_failure:
                return self._skipped(node, f"step {name} failed", "DependencyFailed")
        return tuple(waiting)

    def _skipped(self, node: Node, message: str, reason: str) -> State:
        begun = self.states.get(node.name) or State(Phase.SKIPPED)
        return begun.ended(Phase.SKIPPED, message, reason, at=self.now)

    def _start(self, node: Node, state: State | None) -> None:
        step, name = node.step, node.name
        begun = State(Phase.RUNNING, started_at=self.now)
        match step.type:
            case None:
                existing = self.snapshot.steps.get(steprun_name(self.run_object, name))
                if existing is not None and not is_owned(existing, self.run_object):
                    self._foreign(node, existing)
                    return
                self._collect(node, step, name)
            case StepType.PARALLEL:
                if fault := stories.parallel_fault(node):
                    self._fail(name, "InvalidConfiguration", fault)
                else:
                    self._parallel(node, replace(begun, phase=Phase.RUNNING))
            case StepType.EXECUTE_STORY:
                self._start_child(node, state)
            case StepType.CONDITION:
                self._set(name, timed.Step(begun.ended(Phase.SUCCEEDED, at=self.now)))
            case StepType.STOP:
                self._set(name, timed.stop(step, self.now))
            case StepType.SLEEP:
                self._set(name, timed.sleep(step, self.now))
            case StepType.GATE:
                timeouts = self.snapshot.config.timeouts
                gate = self.run_object.status.gates.get(name)
                self._set(name, timed.gate(step, gate, timeouts.approval, self.now))
            case StepType.WAIT:
                timeouts = self.snapshot.config.timeouts
                self._set(
                    name,
                    timed.wait(step, lambda: self._condition_of_wait(node), timeouts.external_data, self.now),
                )

    def _foreign(self, node: Node, existing: StepRun) -> None:
        if existing.metadata.deletion_timestamp or is_left_over(existing, self.run_object):
            self.reasons[node.name] = Runs(note=f"waits for the earlier StepRun {existing.metadata.name} to go")
            return
        self._drifted(node.name, existing, "it does not belong to this StoryRun")

    def _collect(self, node: Node, step: Step, key: str, parent: str = "") -> bool:
        """Prepares the StepRun of a step or branch; says whether one will be created when there is a slot."""
        found = self._prepare(node, step, parent)
        match found:
            case launch.Ready():
                self._prepared.append(_Prepared(node, key, found))
                return True
            case launch.Missing(kind=kind, name=missing):
                self._await_reference(node, kind, missing)
            case launch.Refused(reason=reason, message=message):
                self._fail(node.name, reason, f"branch {step.name}: {message}" if parent else message)
        return False

    def _prepare(self, node: Node, step: Step, parent: str = "") -> launch.Ready | launch.Missing | launch.Refused:
        key = ""
        if step.idempotency_key_template:
            match self.templates().text(step.idempotency_key_template):
                case evaluation.Value(value=text):
                    key = str(text).strip()
                case _:
                    key = ""  # without a key of its own it has the derived one (12.1)
        return launch.prepare(self.snapshot, self.story, step, parent=parent, key=key, place=self.place)

    def _await_reference(self, node: Node, kind: str, name: str) -> None:
        """Something that the step names is missing: shown at once, failed after the step's timeout (decision 4)."""
        state = self.states.get(node.name)
        if state is None or state.until is None:
            settings = execution_policy.resolve(self.snapshot.config, story=self.story, step=node.step)
            since = state.started_at if state is not None and state.started_at else self.now
            state = State(Phase.PENDING, started_at=since, until=since + settings.timeout.value)
        assert state.until is not None
        told = WaitsForReference(kind, name, state.until)
        if self.now >= state.until:
            self.states[node.name] = state
            self._fail(node.name, "ReferenceNotFound", f'{kind} "{name}" does not exist')
            return
        self.states[node.name] = replace(state, reason="ReferenceNotFound", message=f'{kind} "{name}" does not exist')
        self.wakes.append(state.until)
        self.reasons[node.name] = told

    # Starting, within limits

    def _launch(self, block: Block) -> None:
        prepared, self._prepared = self._prepared, []
        if not prepared:
            return
        policy = self.story.spec.policy
        admission = admit(
            [item.key for item in prepared],
            story_limit=(policy.concurrency or 0) if policy is not None else 0,
            place=self.place,
            config=self.snapshot.config,
            occupancy=self._occupancy(),
            own_active=self._own_active(),
            queued_since=self._queued_since(),
            now=self.now,
        )
        if admission.wake_at is not None:
            self.wakes.append(admission.wake_at)
        admitted = set(admission.admitted)
        for item in prepared:
            if item.key in admitted:
                self._admit(item)
            else:
                self._queue(item, admission.queued[item.key])

    def _admit(self, item: _Prepared) -> None:
        self.starts.append(item.ready.steprun)
        self.reasons[item.key] = Starting()
        if item.ready.near_limit:
            self.events.append(Event("Warning", "StepInputNearLimit", item.ready.near_limit))
        state = self.states.get(item.node.name)
        if state is None or state.is_unstarted:
            self.states[item.node.name] = State(Phase.RUNNING, started_at=self.now)

    def _queue(self, item: _Prepared, reason: Queued) -> None:
        self.reasons[item.key] = reason
        state = self.states.get(item.node.name)
        if state is not None and not state.is_unstarted:
            return  # a parallel step of which some branches run
        since = state.started_at if state is not None and state.started_at else self.now
        self.states[item.node.name] = State(Phase.PENDING, str(reason), reason.cause, started_at=since)

    def _occupancy(self) -> Any:
        ancestors = {f"{run.metadata.namespace}/{run.metadata.name}" for run in self.snapshot.ancestors}
        found = self.snapshot.occupancy
        return replace(found, rivals=[rival for rival in found.rivals if rival.key not in ancestors])

    def _own_active(self) -> int:
        """Slots that this run holds: its StepRuns that go on, and those that are created but not visible yet."""
        visible = sum(
            final_phase(steprun) is None and steprun.status.phase not in (Phase.PAUSED, Phase.BLOCKED)
            for steprun in self.snapshot.steps.values()
            if is_owned(steprun, self.run_object)
        )
        unseen = sum(
            state.phase is Phase.RUNNING and self._steprun(name) is None
            for name, state in self.states.items()
            if self.graph.nodes[name].step.ref is not None
        )
        return visible + unseen

    def _queued_since(self) -> datetime | None:
        times = [state.started_at for state in self.states.values() if state.is_queued and state.started_at]
        return min(times, default=None)

    # Parallel

    def _parallel(self, node: Node, state: State) -> None:
        """Starts branches that have none yet, and ends the step when all branches have ended."""
        self.states.setdefault(node.name, state)
        open_: list[str] = []
        failed: list[str] = []
        allowed: list[str] = []
        for branch in node.branches:
            phase = self._branch(node, state, branch)
            if self.states[node.name].is_terminal:
                return  # a branch was refused
            if phase is None:
                open_.append(branch.name)
            elif phase not in (Phase.SUCCEEDED, Phase.SKIPPED):
                (allowed if branch.allow_failure else failed).append(branch.name)
        if open_:
            current = self.states[node.name]
            if current.is_unstarted or current.phase is Phase.RUNNING:
                self.reasons[node.name] = AwaitsBranches(tuple(open_))
            return
        if failed:
            self._fail(node.name, "BranchFailed", f"failed branches: {', '.join(failed)}")
        else:
            note = f"allowed failures: {', '.join(allowed)}" if allowed else ""
            self._finish(node.name, Phase.SUCCEEDED, note)

    def _branch(self, node: Node, state: State, branch: Step) -> Phase | None:
        """The phase of a branch at its end; None while it is open."""
        key = f"{node.name}/{branch.name}"
        steprun = self._steprun(branch.name, node.name)
        if steprun is not None:
            if why := launch.drift(steprun, self.run_object, self.story, branch, node.name):
                self._drifted(branch.name, steprun, why, node.name)
                return None
            final = final_phase(steprun)
            self.reasons[key] = Ended(final, _told(steprun, final)[0]) if final is not None else _running(steprun)
            return final
        if branch.if_:
            match self.templates().condition(branch.if_):
                case False:
                    self.reasons[key] = Ended(Phase.SKIPPED, "`if` is false")
                    return Phase.SKIPPED
                case evaluation.Needs(references=references):
                    self._load(key, references, "`if`")
                    return None
                case evaluation.Failed(message=message):
                    self.reasons[key] = Ended(Phase.FAILED, message)
                    return Phase.FAILED
                case _:
                    pass
        if self._must_not_start(node):
            self.reasons[key] = Ended(Phase.SKIPPED, "the run is ending")
            return Phase.SKIPPED
        self._collect(node, branch, key, node.name)
        return None

    def _must_not_start(self, node: Node) -> bool:
        """Whether a running parallel step may not start further branches."""
        if node.block is not Block.MAIN:
            return False
        return self.ending is not None or (self._fails_fast and bool(self._failures(Block.MAIN)))

    # Child runs

    def _start_child(self, node: Node, state: State | None) -> None:
        match stories.child(self.snapshot, self.story, node.step, self.place, self.templates()):
            case stories.Child(run=child):
                self.children.append(child)
                self.events.append(Event("Normal", "SubStoryRunCreated", f"created StoryRun {child.metadata.name}"))
                self.states[node.name] = State(Phase.RUNNING, started_at=self.now)
                self.reasons[node.name] = AwaitsRun(child.metadata.name or "")
            case launch.Missing(kind=kind, name=missing):
                self._await_reference(node, kind, missing)
            case launch.Refused(reason=reason, message=message, event=event):
                if event:
                    self.events.append(Event("Warning", reason, message))
                self._fail(node.name, reason, message)
            case evaluation.Needs(references=references):
                self._load(node.name, references, "`with`")

    def _await_child(self, node: Node, state: State) -> None:
        name = state.child or stories.child_name(self.run_object, node.name)
        child = self.snapshot.children.get(name)
        if child is None:
            if not self._is_certainly_gone(state):
                self.reasons[node.name] = AwaitsRun(name)
            elif state.child:
                self._fail(node.name, "ReferenceNotFound", f'StoryRun "{name}" was deleted')
            else:
                self._start_child(node, state)
            return
        if why := stories.spoofed(child, self.run_object, node.step, self.story):
            told = f'StoryRun "{name}" exists, but {why}'
            self.events.append(Event("Warning", "SubStoryRunSpoofed", told))
            self._fail(node.name, "SubStoryRunSpoofed", told)
            return
        state = replace(state, child=name)
        phase = child.status.phase
        if not stories.waits(node.step):
            self.states[node.name] = state.ended(Phase.SUCCEEDED, f"started StoryRun {name}", at=self.now)
        elif phase is not None and phase.is_terminal:
            self.states[node.name] = state.ended(phase, child.status.message or "", at=self.now)
        else:
            self.states[node.name] = state
            self.reasons[node.name] = AwaitsRun(name)

    # Ending early

    def _stopped(self) -> Ending | None:
        """The stop step that was reached first, if any."""
        reached = [
            (state.finished_at or self.now, node)
            for node in self.graph.block(Block.MAIN)
            if node.step.type is StepType.STOP
            and (state := self.states.get(node.name)) is not None
            and state.phase is Phase.SUCCEEDED
        ]
        if not reached:
            return None
        since, node = min(reached, key=lambda entry: (entry[0], entry[1].index))
        phase = timed.stop_phase(node.step) or Phase.SUCCEEDED
        message = (node.step.with_ or {}).get("message") or f"stopped by step {node.name}"
        return Ending(Cause.STOP, since, phase, str(message), f"stopped by step {node.name}")

    def _end(self, ending: Ending) -> None:
        """Leaves unstarted main steps unstarted, and drains or cuts off those that run."""
        self._skip_unstarted(Block.MAIN, ending.cause.name.title(), ending.skip_reason)
        until = ending.since + self.grace
        for node in self.graph.block(Block.MAIN):
            state = self.states.get(node.name)
            if state is None or state.is_terminal:
                continue
            if ending.cause is Cause.TIMEOUT:
                self._finish(node.name, Phase.TIMEOUT, ending.message, "TimedOut")
            elif not self._is_drained(node, state):
                self._request_end(node, state, delete=False)
                if self.now >= until:
                    self._finish(node.name, Phase.CANCELED, "did not end in time", "Canceled")
                    self._cut.add(node.name)
                else:
                    self.reasons[node.name] = Stops(until)
                    self.wakes.append(until)

    def _follow_up(self) -> None:
        """Deletes what still runs of steps that were cut off, when it had its time."""
        for node in self.graph.nodes.values():
            state = self.states.get(node.name)
            if state is None or not state.is_terminal or not self._has_children(node):
                continue
            if node.step.type is StepType.EXECUTE_STORY and not stories.waits(node.step):
                continue
            had_its_time = node.name in self._cut
            until = self.now if had_its_time else (state.finished_at or self.now) + self.grace
            if any(self._live_children(node, state)):
                self._request_end(node, state, delete=self.now >= until)
                self.wakes.append(until)

    def _has_children(self, node: Node) -> bool:
        return node.step.ref is not None or node.step.type in (StepType.PARALLEL, StepType.EXECUTE_STORY)

    def _is_drained(self, node: Node, state: State) -> bool:
        """Whether nothing of a step runs any more; then it has its end."""
        if self._has_children(node) and (any(self._live_children(node, state)) or not self._is_known_gone(node, state)):
            return False
        self._finish(node.name, Phase.CANCELED, "canceled", "Canceled")
        return True

    def _is_known_gone(self, node: Node, state: State) -> bool:
        """For a step without a visible child: whether there really is none."""
        if node.step.ref is not None and self._steprun(node.name) is None:
            return self._is_certainly_gone(state)
        if node.step.type is StepType.EXECUTE_STORY:
            name = state.child or stories.child_name(self.run_object, node.name)
            return name in self.snapshot.children or self._is_certainly_gone(state)
        return True

    def _live_children(self, node: Node, state: State) -> Iterable[StepRun | StoryRun]:
        if node.step.type is StepType.EXECUTE_STORY:
            child = self.snapshot.children.get(state.child or stories.child_name(self.run_object, node.name))
            if child is not None and is_owned(child, self.run_object) and not _is_over(child.status.phase):
                yield child
            return
        names = [(branch.name, node.name) for branch in node.branches] or [(node.name, "")]
        for name, parent in names:
            steprun = self._steprun(name, parent)
            if steprun is not None and final_phase(steprun) is None:
                yield steprun

    def _request_end(self, node: Node, state: State, *, delete: bool) -> None:
        for child in self._live_children(node, state):
            self.request_end(child, delete=delete)

    def request_end(self, child: StepRun | StoryRun, *, delete: bool) -> None:
        """Asks a child to end, once; or deletes it when it had its time."""
        end = ending_of(child, delete=delete)
        if isinstance(end, Delete):
            self.deletes.append(end)
        elif end is not None:
            self.cancels.append(end)

    def _is_compensation_due(self) -> bool:
        match self.ending:
            case None:
                return bool(self._failures(Block.MAIN))
            case Ending(cause=Cause.STOP, phase=phase):
                return phase is Phase.FAILED
            case Ending(cause=Cause.TIMEOUT):
                return True
            case _:
                return False

    def _cleanup_deadline(self) -> datetime | None:
        """When compensations and finally of a run that is being ended must be over."""
        match self.ending:
            case Ending(cause=Cause.TIMEOUT, since=since):
                return since + self.grace
            case Ending(cause=Cause.CANCEL, since=since):
                return since + 2 * self.grace  # one for the drain, one for the cleanup
            case _:
                return None

    def _cut_off(self, block: Block) -> None:
        self._skip_unstarted(block, "TimedOut", "not started: the time for cleaning up is over")
        for node in self.graph.block(block):
            state = self.states.get(node.name)
            if state is not None and not state.is_terminal:
                self._finish(node.name, Phase.TIMEOUT, "the time for cleaning up is over", "TimedOut")
                self._cut.add(node.name)

    # Shared

    def _skip_unstarted(self, block: Block, reason: str, message: str) -> None:
        for node in self.graph.block(block):
            state = self.states.get(node.name)
            if state is None or state.is_unstarted:
                self.states[node.name] = self._skipped(node, message, reason)
                self.reasons.pop(node.name, None)

    def _failures(self, block: Block) -> list[str]:
        """Failed steps of a block that are not allowed to fail, in declaration order."""
        return [
            name
            for name, node in self.graph.nodes.items()
            if node.block is block
            and not node.step.allow_failure
            and (state := self.states.get(name)) is not None
            and state.is_failed
        ]

    failures = _failures

    def _is_done(self, block: Block) -> bool:
        return all(
            (state := self.states.get(node.name)) is not None and state.is_terminal for node in self.graph.block(block)
        )

    def _is_all_done(self) -> bool:
        if not self._is_done(Block.MAIN) or not self._is_done(Block.FINALLY):
            return False
        return not self._failures(Block.MAIN) or self._is_done(Block.COMPENSATIONS)

    def _set(self, name: str, result: timed.Step) -> None:
        self.states[name] = result.state
        if result.reason is not None:
            self.reasons[name] = result.reason
        if result.wake_at is not None:
            self.wakes.append(result.wake_at)
        if result.loads:
            self.loads.extend(result.loads)

    def _finish(self, name: str, phase: Phase, message: str = "", reason: str = "") -> None:
        begun = self.states.get(name) or State(phase)
        self.states[name] = begun.ended(phase, message, reason, at=self.now)
        self.reasons.pop(name, None)

    def _fail(self, name: str, reason: str, message: str) -> None:
        self._finish(name, Phase.FAILED, message, reason)

    def _load(self, key: str, references: Sequence[Any], what: str) -> None:
        self.loads.extend(references)
        self.reasons[key] = WaitsForPayload(f"the data that {what} reads")

    def _steprun(self, name: str, parent: str = "") -> StepRun | None:
        steprun = self.snapshot.steps.get(steprun_name(self.run_object, name, parent))
        return steprun if steprun is not None and is_owned(steprun, self.run_object) else None

    def templates(self) -> evaluation.Templates:
        """Templates over what is known at this point of the pass."""
        return evaluation.Templates(self.context(), self.snapshot.config, self.snapshot.payloads)

    def context(self) -> dict[str, Any]:
        steps = steps_context(self.run_object, self.graph, self.states, self.snapshot.steps, self.snapshot.children)
        return {"inputs": self.inputs, "steps": steps}

    def _condition_of_wait(self, node: Node) -> bool | evaluation.Failed | evaluation.Needs:
        return self.templates().condition(str((node.step.with_ or {}).get("until") or ""), is_waiting=True)

    def _explain(self) -> None:
        """A reason for every step, in declaration order; branches stand behind their step."""
        ordered: dict[str, Reason] = {}
        for name, node in self.graph.nodes.items():
            ordered[name] = self._reason(node)
            for branch in node.branches:
                key = f"{name}/{branch.name}"
                if key in self.reasons:
                    ordered[key] = self.reasons[key]
        self.reasons = ordered

    def _reason(self, node: Node) -> Reason:
        state = self.states.get(node.name)
        if state is not None and state.is_terminal:
            return Ended(state.phase, state.message)
        if node.name in self.reasons:
            return self.reasons[node.name]
        if state is not None and not state.is_unstarted:
            return Runs(state.started_at)
        if node.block is not Block.MAIN:
            earlier = Block.MAIN if not self._is_done(Block.MAIN) else Block.COMPENSATIONS
            return WaitsForBlock(earlier.value)
        return WaitsFor(node.dependencies)


def ending_of(child: StepRun | StoryRun, *, delete: bool) -> Annotate | Delete | None:
    """What asks a child to end: a request, its deletion when it had its time, or nothing when that is under way."""
    kind: Any = child.KIND
    name, uid = child.metadata.name or "", child.metadata.uid
    if child.metadata.deletion_timestamp:
        return None
    if delete:
        return Delete(kind, name, uid)
    if kind == "StoryRun":
        if getattr(child.spec, "cancel_requested", None):
            return None
        return Annotate(kind, name, uid, {"spec": {"cancelRequested": True}})
    if child.metadata.annotations.get(labels.ANNOTATION_CANCEL_REQUESTED) == "true":
        return None
    return Annotate(kind, name, uid, {"metadata": {"annotations": {labels.ANNOTATION_CANCEL_REQUESTED: "true"}}})


def _is_over(phase: Phase | None) -> bool:
    return phase is not None and phase.is_terminal


def _running(steprun: StepRun) -> Reason:
    """What a StepRun that goes on is doing."""
    status = steprun.status
    attempt = status.retries or 0
    retry_at = moment(status.next_retry_at)
    if retry_at is not None and status.phase is Phase.PENDING:
        return Retries(retry_at, attempt, status.last_failure_msg or "")
    ready = next((condition for condition in status.conditions if condition.type == "Ready"), None)
    if ready is not None and ready.reason in ("ReferenceNotFound", "TemplateNotFound"):
        return Runs(note=ready.message)
    note = ""
    if ready is not None and ready.reason not in ("Scheduled", "Running", "Pending", "RetryScheduled"):
        note = ready.message
    return Runs(moment(status.started_at), attempt, note)


def _told(steprun: StepRun, phase: Phase) -> tuple[str, str]:
    """Message and reason of a step's end, as its StepRun tells them."""
    ready = next((condition for condition in steprun.status.conditions if condition.type == "Ready"), None)
    if phase is Phase.SUCCEEDED or ready is None:
        return ("", "")
    return steprun.status.last_failure_msg or ready.message, ready.reason
