"""One pass over the graph of a run: what every step does at this moment.

Each block is swept once, dependencies first, so that whatever a step decides at once (a condition, a skip, a failed
expression) is known to its dependents in the same pass. Steps that need a StepRun are collected during the sweep and
started after it, when it is clear that nothing failed meanwhile and that there is a slot for them.
Rules: spec runs 10 to 14, 16.3, 19; decisions 2, 4, 14.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bobrapet.api import labels
from bobrapet.api.enums import Phase, StepType
from bobrapet.api.names import label
from bobrapet.engine import attempts, ending, evaluation, launch
from bobrapet.engine.explain import explain, running, told
from bobrapet.engine.graph import Block, Node
from bobrapet.engine.launch import is_left_over, is_owned, steprun_name
from bobrapet.engine.materialize import Site
from bobrapet.engine.outcome import final_phase
from bobrapet.engine.plans import Event
from bobrapet.engine.primitives import stories, timed
from bobrapet.engine.reasons import (
    AwaitsBranches,
    AwaitsRun,
    Ended,
    Runs,
    Starting,
    WaitsFor,
    Wake,
)
from bobrapet.engine.starts import Starts
from bobrapet.engine.states import State, from_api, moment
from bobrapet.engine.work import Given

if TYPE_CHECKING:
    from bobrapet.api import StepRun, StoryRun
    from bobrapet.api.story import Step


class Pass(Starts):
    """One pass; `run` decides everything."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self._begun: list[Node] = []
        """Steps whose child run, or StepRun that was lost, this sweep starts."""
        policy = given.story.spec.policy
        retries = policy.retries if policy is not None else None
        self._fails_fast = not (retries is not None and retries.continue_on_step_failure)

    # The pass

    def run(self) -> None:
        for node in self.graph.nodes.values():
            if node.step.ref is not None:
                self._observe(node)
        if self.ending is not None and not self.ending.is_recorded and self.is_all_done():
            self.ending = None  # everything ended in time; only we look at it late
        stopped = ending.stopped(self)
        if stopped is not None and (self.ending is None or stopped.since <= self.ending.since):
            self.ending = stopped
        ending.end_topology(self)
        for block in Block:
            if not self._block(block):
                break
        else:
            self.finished = True
        ending.follow_up(self)
        explain(self)

    def _block(self, block: Block) -> bool:
        """Advances one block; says whether it is done."""
        if not self.graph.has(block):
            return True
        if block is Block.COMPENSATIONS and not ending.is_compensation_due(self):
            self.skip_unstarted(block, "NotNeeded", "not needed: no step failed")
            return True
        is_cleanup = block is not Block.MAIN
        if is_cleanup and (deadline := ending.cleanup_deadline(self)) is not None:
            if self.now >= deadline:
                ending.cut_off(self, block)
                return True
            self.wakes.append(Wake(deadline, "the time for cleaning up is over"))
        self._sweep(block)
        if not is_cleanup:
            if self.ending is not None:
                self._start_nothing()
                ending.end_main(self, self.ending)
            elif self._fails_fast and self.has_failed:
                self._start_nothing()
                self.skip_unstarted(block, "FailFast", f"not started: step {self.failures(Block.MAIN)[0]} failed")
        self._launch()
        return self.is_done(block)

    def _start_nothing(self) -> None:
        """Takes back what the sweep was about to start, before it came to the step that ends the run."""
        self._prepared.clear()
        for node in self._begun:
            self.children = [
                child for child in self.children if child.metadata.labels[labels.PARENT_STEP] != label(node.name)
            ]
            if node.name not in self.run_object.status.step_states:
                self.forget(node.name)
            elif self.ending is None:
                self._too_late(node)
        told = {f"created StoryRun {child.metadata.name}" for child in self.children}
        self.events = [each for each in self.events if each.reason != "SubStoryRunCreated" or each.message in told]
        self._begun.clear()

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
        steprun = self.steprun(node.name)
        if steprun is None or (state is not None and state.is_terminal):
            return
        if launch.drift(steprun, self.run_object, node.step):
            return  # it has the name, but is another one's: told when the step is reached
        started = moment(steprun.status.started_at)
        final = final_phase(steprun)
        if final is not None:
            finished = moment(steprun.status.finished_at) or self.now
            # Components may report whole seconds; a step does not end before it began.
            finished = max(finished, started or finished)
            message, reason = told(steprun, final)
            begun = replace(state or State(final), started_at=started or finished)
            self.record(node.name, begun.ended(final, message, reason, at=finished))
        elif state is None or state.is_unstarted:
            self.record(node.name, State(Phase.RUNNING, started_at=self.now))
        elif state.is_held:
            self.record(node.name, state.served())  # it has got its slot after all

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
                self.settle(name, timed.sleeping(node.step, state, self.now))
            case StepType.GATE:
                gate = self.run_object.status.gates.get(name)
                self.settle(name, timed.gated(node.step, state, gate, self.now))
            case StepType.WAIT:
                self.settle(name, timed.waiting(node.step, state, self._condition_of_wait(node), self.now))
            case StepType.CONDITION | StepType.STOP:
                self.settle(name, timed.Step(state.ended(Phase.SUCCEEDED, at=self.now)))

    def _advance_engram(self, node: Node, state: State) -> None:
        steprun = self.steprun(node.name)
        if steprun is None:
            self._recreate(node, state)
            return
        refused = launch.drift(steprun, self.run_object, node.step)
        if refused:
            self._drifted(node.name, steprun, refused)
            return
        self.reasons[node.name] = running(steprun)

    def _recreate(self, node: Node, state: State) -> None:
        """The state says that it runs, but there is no StepRun: not visible yet, never created, or deleted."""
        if self.ending is not None and node.block is Block.MAIN:
            return  # a run that is ending makes nothing again
        existing = self.snapshot.steps.get(steprun_name(self.run_object, node.name))
        if existing is not None:
            self._foreign(node, existing)
            return
        if not self._may_be_absent(state):
            self.reasons[node.name] = Starting()
            return
        if self._must_not_start(node):
            self._make_certain(node)
            self._too_late(node)
            return
        if self._collect(node, node.step, node.name):  # by now others may have its slot: they count StepRuns
            self._begun.append(node)

    def _may_be_absent(self, state: State) -> bool:
        """Whether a StepRun that the cache does not show was never created, or is gone: certainly, or because something
        of the step stands in line for a slot, perhaps just this. It is made certain before it gets one."""
        return state.is_held or self.is_certainly_gone(state)

    def _too_late(self, node: Node) -> None:
        """A step was to start, but what it starts was never created, and by now a step has failed."""
        failed = self.failures(Block.MAIN)
        because = f"step {failed[0]} failed" if failed else "the run is ending"
        self.finish(node.name, Phase.SKIPPED, f"not started: {because}", "FailFast")

    def _drifted(self, name: str, steprun: StepRun, why: str, parent: str = "") -> None:
        told = f'StepRun "{steprun.metadata.name}" exists, but {why}'
        self.events.append(Event("Warning", "ChildStepRunDrift", told))
        self.fail(parent or name, "ChildStepRunDrift", told)

    # Steps that have not begun

    def _consider(self, node: Node, state: State | None) -> None:
        """Decides whether a step may start, and starts what needs no StepRun at once."""
        if self._must_not_start(node):
            return  # it is skipped when the sweep is over
        blocked = self._blocked_by(node)
        if isinstance(blocked, State):
            self.record(node.name, blocked)
            return
        if blocked:
            self.reasons[node.name] = WaitsFor(blocked)
            return
        if node.step.if_ and not self._flows(node):
            verdict = self.templates(Site("if", node.name)).condition(node.step.if_)
            match verdict:
                case True:
                    pass
                case False:
                    self.finish(node.name, Phase.SKIPPED, "`if` is false", "ConditionFalse")
                    return
                case evaluation.Needs(references=references):
                    self.load(node.name, references, "`if`")
                    return
                case evaluation.Failed(message=message):
                    self.fail(node.name, "ExpressionFailed", f"`if`: {message}")
                    return
        self._start(node, state)

    def _blocked_by(self, node: Node) -> tuple[str, ...] | State:
        """What a step waits for; or its state, when a dependency decides that it will not run."""
        waiting = []
        for name in node.dependencies:
            other = self.graph.nodes[name]
            state = self.states.get(name)
            if state is not None and state.phase is Phase.SUCCEEDED and not self.shows_output(other, state):
                waiting.append(name)
                continue
            if other.block is not node.block:
                continue  # earlier blocks are over, whatever became of the step
            if state is None:
                # Nothing wakes a run for what it has just created, so a stream starts all in one pass.
                if not (self._flows(node) and name in self._prepared):
                    waiting.append(name)
            elif not state.is_terminal:
                if not self._flows(node):
                    waiting.append(name)
            elif node.block is not Block.MAIN or state.phase is Phase.SUCCEEDED:
                continue
            elif state.phase is Phase.SKIPPED:
                if state.reason == "DependencyFailed":  # passed on; a step skipped by its own `if` is not
                    return self.skipped(node, state.message, "DependencyFailed")
            elif not other.step.allow_failure:
                return self.skipped(node, f"step {name} failed", "DependencyFailed")
        return tuple(waiting)

    def _flows(self, node: Node) -> bool:
        """Whether a step runs beside what it needs: the main steps of a streaming Story."""
        return node.block is Block.MAIN and self.story.spec.is_streaming

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
                    self.fail(name, "InvalidConfiguration", fault)
                else:
                    self._parallel(node, replace(begun, phase=Phase.RUNNING))
            case StepType.EXECUTE_STORY:
                self._start_child(node, state)
            case StepType.CONDITION:
                self.settle(name, timed.Step(begun.ended(Phase.SUCCEEDED, at=self.now)))
            case StepType.STOP:
                self.settle(name, timed.stop(step, self.now))
                self.ending = self.ending or ending.stopped(self)
            case StepType.SLEEP:
                self.settle(name, timed.sleep(step, self.now))
            case StepType.GATE:
                timeouts = self.snapshot.config.timeouts
                gate = self.run_object.status.gates.get(name)
                self.settle(name, timed.gate(step, gate, timeouts.approval, self.now))
            case StepType.WAIT:
                timeouts = self.snapshot.config.timeouts
                self.settle(
                    name,
                    timed.wait(step, lambda: self._condition_of_wait(node), timeouts.external_data, self.now),
                )

    def _foreign(self, node: Node, existing: StepRun) -> None:
        if existing.metadata.deletion_timestamp or is_left_over(existing, self.run_object):
            self.reasons[node.name] = Runs(note=f"waits for the earlier StepRun {existing.metadata.name} to go")
            return
        self._drifted(node.name, existing, "it does not belong to this StoryRun")

    # Parallel

    def _parallel(self, node: Node, state: State) -> None:
        """Starts branches that have none yet, and ends the step when all branches have ended."""
        if state.is_held and not state.is_unstarted:
            state = state.served()  # said again below if branches still wait
            self.record(node.name, state)
        if node.name not in self.states:
            self.record(node.name, state)
        open_: list[str] = []
        failed: list[str] = []
        allowed: list[str] = []
        canceled: list[str] = []
        for branch in node.branches:
            phase = self._branch(node, state, branch)
            if self.states[node.name].is_terminal:
                return  # a branch was refused
            if phase is None:
                open_.append(branch.name)
            elif phase is Phase.CANCELED:
                canceled.append(branch.name)
            elif phase not in (Phase.SUCCEEDED, Phase.SKIPPED):
                (allowed if branch.allow_failure else failed).append(branch.name)
        if open_:
            current = self.states[node.name]
            if current.is_unstarted or current.phase is Phase.RUNNING:
                self.reasons[node.name] = AwaitsBranches(tuple(open_))
            return
        if failed:
            self.finish(node.name, Phase.FAILED, f"failed branches: {', '.join(failed)}", "BranchFailed")
        elif canceled and self.ending is not None and node.block is Block.MAIN:
            pass  # the end of the run is that of the step
        elif canceled and not self._has_begun(node):
            self._too_late(node)
        elif canceled:
            self.finish(
                node.name, Phase.CANCELED, f"branches that were not carried out: {', '.join(canceled)}", "Canceled"
            )
        else:
            note = f"allowed failures: {', '.join(allowed)}" if allowed else ""
            self.finish(node.name, Phase.SUCCEEDED, note)

    def _branch(self, node: Node, state: State, branch: Step) -> Phase | None:
        """The phase of a branch at its end; None while it is open."""
        key = f"{node.name}/{branch.name}"
        steprun = self.steprun(branch.name, node.name)
        if steprun is not None:
            if why := launch.drift(steprun, self.run_object, branch, node.name):
                self._drifted(branch.name, steprun, why, node.name)
                return None
            final = final_phase(steprun)
            self.reasons[key] = Ended(final, told(steprun, final)[0]) if final is not None else running(steprun)
            return final
        if branch.if_:
            match self.templates(Site("if", f"{node.name}-{branch.name}", node=node.name)).condition(branch.if_):
                case False:
                    self.reasons[key] = Ended(Phase.SKIPPED, "`if` is false")
                    return Phase.SKIPPED
                case evaluation.Needs(references=references):
                    self.load(key, references, "`if`")
                    return None
                case evaluation.Failed(message=message):
                    self.reasons[key] = Ended(Phase.FAILED, message)
                    return Phase.FAILED
                case _:
                    pass
        begun = self.run_object.status.step_states.get(node.name)
        if begun is not None and begun.phase is Phase.RUNNING and not self._may_be_absent(from_api(begun)):
            # The branch may run already. And starting it changes no status, so nothing would stop a plan that was made
            # from an old copy of the run: it takes an authoritative one.
            self.reasons[key] = Starting()
            return None
        if self._must_not_start(node):
            self._make_certain(node)
            self.reasons[key] = Ended(Phase.CANCELED, "the run is ending")
            return Phase.CANCELED
        self._collect(node, branch, key, node.name)
        return None

    def _has_begun(self, node: Node) -> bool:
        """Whether any branch of a parallel step has a StepRun."""
        return any(self.steprun(branch.name, node.name) is not None for branch in node.branches)

    def _must_not_start(self, node: Node) -> bool:
        """Whether nothing new may begin in the block of a step."""
        if node.block is not Block.MAIN:
            return False
        return self.ending is not None or (self._fails_fast and self.has_failed)

    # Child runs

    def _start_child(self, node: Node, state: State | None) -> None:
        templates = self.templates(Site("execute-story", node.name))
        match stories.child(self.snapshot, self.story, node.step, self.place, templates):
            case stories.Child(run=child):
                self._begun.append(node)
                self.children.append(attempts.mark(child, self.attempt_of(node.name)))
                self.events.append(Event("Normal", "SubStoryRunCreated", f"created StoryRun {child.metadata.name}"))
                self.record(node.name, State(Phase.RUNNING, started_at=self.now))
                self.reasons[node.name] = AwaitsRun(child.metadata.name or "")
            case launch.Missing(kind=kind, name=missing):
                self._await_reference(node, kind, missing)
            case launch.Refused(reason=reason, message=message, event=event):
                if event:
                    self.events.append(Event("Warning", reason, message))
                self.fail(node.name, reason, message)
            case evaluation.Needs(references=references):
                self.load(node.name, references, "`with`")

    def _await_child(self, node: Node, state: State) -> None:
        name = state.child or stories.child_name(self.run_object, node.name)
        child = self.snapshot.children.get(name)
        if child is None:
            if not self.is_certainly_gone(state):
                self.reasons[node.name] = AwaitsRun(name)
            elif self.ending is not None and node.block is Block.MAIN:
                pass  # the end of the run is that of the step
            elif state.child:
                self.fail(node.name, "ReferenceNotFound", f'StoryRun "{name}" was deleted')
            elif self._must_not_start(node):
                self._too_late(node)
            else:
                self._start_child(node, state)
            return
        if why := stories.spoofed(child, self.run_object, node.step, self.story):
            told = f'StoryRun "{name}" exists, but {why}'
            self.events.append(Event("Warning", "SubStoryRunSpoofed", told))
            self.fail(node.name, "SubStoryRunSpoofed", told)
            return
        state = replace(state, child=name)
        phase = child.status.phase
        if not stories.waits(node.step):
            self.record(node.name, state.ended(Phase.SUCCEEDED, f"started StoryRun {name}", at=self.now))
        elif phase is Phase.FINISHED and self._was_canceled_with_us(node, child):
            self.finish(node.name, Phase.CANCELED, "canceled", "Canceled")
        elif phase is not None and phase.is_terminal:
            self.record(node.name, state.ended(phase, child.status.message or "", at=self.now))
        else:
            self.record(node.name, state)
            self.reasons[node.name] = AwaitsRun(name)

    def _was_canceled_with_us(self, node: Node, child: StoryRun) -> bool:
        """Whether a child run ended for no other reason than that this run is being ended (decision 14)."""
        return self.ending is not None and node.block is Block.MAIN and bool(child.spec.cancel_requested)

    # Shared

    def _condition_of_wait(self, node: Node) -> bool | evaluation.Failed | evaluation.Needs:
        return self.templates(Site("until", node.name)).condition(str((node.step.with_ or {}).get("until") or ""))
