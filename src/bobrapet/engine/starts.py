"""Starting the StepRuns of a pass: what a step needs for it, and the limits that hold it.

A pass collects what is ready while it goes over the graph, and starts it afterwards, when it is clear that nothing
failed meanwhile. Rules: spec runs 12, 19; decisions 4, 19.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from bobrapet.api.enums import Phase
from bobrapet.config import policy as execution_policy
from bobrapet.engine import attempts, evaluation, launch
from bobrapet.engine.graph import Node
from bobrapet.engine.launch import is_owned
from bobrapet.engine.materialize import is_materialize
from bobrapet.engine.outcome import final_phase
from bobrapet.engine.plans import Event
from bobrapet.engine.reasons import Queued, Starting, WaitsForAccount, WaitsForReference, Wake
from bobrapet.engine.scheduling import admit
from bobrapet.engine.states import IDENTITY_REFUSED, State, from_api
from bobrapet.engine.work import Given, Work

if TYPE_CHECKING:
    from bobrapet.api.story import Step
    from bobrapet.engine.snapshot import Occupancy


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A StepRun that may be created when there is a slot."""

    node: Node
    key: str
    """The step, or `parallel/branch`."""
    ready: launch.Ready


class Starts(Work):
    """The part of a pass that starts steps and branches."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self._prepared: dict[str, _Prepared] = {}

    def _collect(self, node: Node, step: Step, key: str, parent: str = "") -> bool:
        """Prepares the StepRun of a step or branch; says whether one will be created when there is a slot."""
        found = self._prepare(node, step, parent)
        match found:
            case launch.Ready():
                self._prepared[key] = _Prepared(node, key, found)
                return True
            case launch.Missing(kind=kind, name=missing):
                self._await_reference(node, kind, missing)
            case launch.Refused(reason=reason, message=message):
                self.fail(node.name, reason, f"branch {step.name}: {message}" if parent else message)
        return False

    def _prepare(self, node: Node, step: Step, parent: str = "") -> launch.Ready | launch.Missing | launch.Refused:
        key = ""
        if step.idempotency_key_template:
            match self.templates().text(step.idempotency_key_template):
                case evaluation.Value(value=text):
                    key = str(text).strip()
                case _:
                    key = ""  # without a key of its own it has the derived one (12.1)
        found = launch.prepare(self.snapshot, self.story, step, parent=parent, key=key, place=self.place)
        if isinstance(found, launch.Ready):
            attempts.mark(found.steprun, self.attempt_of(node.name))
        return found

    def _await_reference(self, node: Node, kind: str, name: str) -> None:
        """Something that the step names is missing: shown at once, failed after the step's timeout (decision 4).

        The timeout counts from when nothing but the reference kept the step from starting. Time in a queue is not part
        of it: an Engram that is replaced while a hundred steps stand in line would fail all of them at once.
        """
        state = self.states.get(node.name)
        if state is None or state.until is None:
            settings = execution_policy.resolve(self.snapshot.config, story=self.story, step=node.step)
            since = state.started_at if state is not None and state.started_at else self.now
            state = State(Phase.PENDING, started_at=since, until=self.now + settings.timeout.value)
        assert state.until is not None
        told = WaitsForReference(kind, name, state.until)
        is_due = self.now >= state.until
        if is_due and self.snapshot.authoritative:
            self.record(node.name, state)
            self.fail(node.name, "ReferenceNotFound", f'{kind} "{name}" does not exist')
            return
        if is_due:
            self.needs_confirmation = True  # the time may have passed without an operator, whose cache just began
        else:
            self.wakes.append(Wake(state.until, f'step {node.name} fails without {kind} "{name}"'))
        self.record(node.name, replace(state, reason="ReferenceNotFound", message=f'{kind} "{name}" does not exist'))
        self.reasons[node.name] = told

    # Within limits

    def _launch(self) -> None:
        """Starts what is prepared as far as there are slots; the rest stands in line."""
        prepared, self._prepared = list(self._prepared.values()), {}
        if self.snapshot.identity_fault:
            self.starts.clear()
            self._questions.clear()
            for item in prepared:
                self._hold(item, WaitsForAccount(self.snapshot.identity_fault), IDENTITY_REFUSED)
            return
        if not prepared:
            return
        policy = self.story.spec.policy
        admission = admit(
            [item.key for item in prepared],
            story_limit=(policy.concurrency or 0) if policy is not None else 0,
            place=self.place,
            config=self.snapshot.config,
            occupancy=self._occupancy(),
            own_active=self._own_active(but={item.key for item in prepared}),
            queued_since=self._queued_since(),
            now=self.now,
        )
        if admission.wake_at is not None:
            self.wakes.append(Wake(admission.wake_at, "its priority grows by waiting"))
        admitted = set(admission.admitted)
        for item in prepared:
            if item.key in admitted:
                self._admit(item)
            else:
                queued = admission.queued[item.key]
                self._hold(item, queued, queued.cause)

    def _make_certain(self, node: Node) -> None:
        """Asks for the newest objects before something is done in the belief that a step which has begun has no
        StepRun: the cache may only not show it yet."""
        begun = self.run_object.status.step_states.get(node.name)
        if begun is not None and begun.phase is Phase.RUNNING:
            self.needs_confirmation = self.needs_confirmation or not self.snapshot.authoritative

    def _admit(self, item: _Prepared) -> None:
        self._make_certain(item.node)
        self.starts.append(item.ready.steprun)
        self.reasons[item.key] = Starting()
        if item.ready.near_limit:
            self.events.append(Event("Warning", "StepInputNearLimit", item.ready.near_limit))
        state = self.states.get(item.node.name)
        if state is None or state.is_unstarted:
            self.record(item.node.name, State(Phase.RUNNING, started_at=self.now))
        elif state.is_held and item.key == item.node.name:
            self.record(item.node.name, state.served())

    def _hold(self, item: _Prepared, reason: Queued | WaitsForAccount, word: str) -> None:
        """Keeps a step from starting; `word` is what its state says about why."""
        self.reasons[item.key] = reason
        state = self.states.get(item.node.name)
        if state is not None and not state.is_unstarted:
            # A parallel step of which some branches run, or a step that was to start and lost its slot: the state says
            # that something waits, or no slot would wake it.
            self.record(item.node.name, replace(state, message=str(reason), reason=word))
            return
        since = state.started_at if state is not None and state.started_at else self.now
        self.record(item.node.name, State(Phase.PENDING, str(reason), word, started_at=since))

    def _occupancy(self) -> Occupancy:
        ancestors = {f"{run.metadata.namespace}/{run.metadata.name}" for run in self.snapshot.ancestors}
        found = self.snapshot.occupancy
        return replace(found, rivals=[rival for rival in found.rivals if rival.key not in ancestors])

    def _own_active(self, *, but: set[str]) -> int:
        """Slots that this run holds: its StepRuns that go on, and those that are created but not visible yet.

        Args:
            but: steps of which it is known that they have no StepRun, whatever their state says.
        """
        visible = sum(
            final_phase(steprun) is None and steprun.status.phase not in (Phase.PAUSED, Phase.BLOCKED)
            for steprun in self.snapshot.steps.values()
            if is_owned(steprun, self.run_object) and not is_materialize(steprun)
        )
        unseen = sum(
            state.phase is Phase.RUNNING and self.steprun(name) is None
            for name, state in self.states.items()
            if self.graph.nodes[name].step.ref is not None and name not in but
        )
        return visible + unseen

    def _queued_since(self) -> datetime | None:
        """Since when the run stands in line, as its recorded states say it to everybody else."""
        recorded = map(from_api, self.run_object.status.step_states.values())
        times = [state.started_at for state in recorded if state.is_queued and state.started_at]
        return min(times, default=None)
