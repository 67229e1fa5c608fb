"""The StoryRun: from created to gone, one plan at a time.

The order of questions is that of a run's life: is it going away, was it asked to begin again, has it ended, can it
begin, and then what its steps do. Rules: spec runs 4 (with our reordering), 5 to 7, 9, 13, 16, 19, 20.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from bobrapet.api import duration, labels
from bobrapet.api.conditions import ConditionType, find_condition
from bobrapet.api.enums import Phase
from bobrapet.api.names import label
from bobrapet.engine import finish, redrive, settings
from bobrapet.engine.afterlife import after_the_end, deletion, live_children
from bobrapet.engine.dag import Pass
from bobrapet.engine.ending import ending_of
from bobrapet.engine.evaluation import distinct
from bobrapet.engine.graph import graph_of
from bobrapet.engine.inputs import Fault, story_inputs
from bobrapet.engine.launch import Refused
from bobrapet.engine.plans import Annotate, Delete, Event, RunPlan
from bobrapet.engine.reasons import WaitsForStory, Wake, some_of
from bobrapet.engine.scheduling import QueuePlace, place_of
from bobrapet.engine.states import moment, timers
from bobrapet.engine.status import RunStatus
from bobrapet.engine.work import Cause, Ending, Given
from bobrapet.validation.references import CORE, RUNS, Referrer, Target, refusal

if TYPE_CHECKING:
    from bobrapet.api import Story
    from bobrapet.engine.plans import Patch
    from bobrapet.engine.snapshot import RunSnapshot


def plan(snapshot: RunSnapshot, now: datetime) -> RunPlan:
    """Decides what to do for a StoryRun at `now`.

    Pure: the same snapshot and moment give the same plan, and a plan whose effects are already in the snapshot is
    empty. Never raises for anything that a user can write.
    """
    run = snapshot.run
    if run.metadata.deletion_timestamp:
        return deletion(snapshot, now)
    if (again := redrive.plan(snapshot, now)) is not None:
        return again
    if run.status.phase is not None and run.status.phase.is_terminal:
        return after_the_end(snapshot, now)
    return _Live(snapshot, now).plan()


@dataclass(slots=True)
class _Live:
    """A run that has not ended."""

    snapshot: RunSnapshot
    now: datetime

    def plan(self) -> RunPlan:
        snapshot = self.snapshot
        if (refused := self._refused()) is not None:
            return self._failed(refused)
        story = snapshot.story
        if story is None:
            return self._without_story()
        if (snapshot.run.status.story_generation or 0) > (
            story.metadata.generation or 0
        ) and not snapshot.authoritative:
            return RunPlan(confirm=True, summary="waits for the cache to show the Story as it is")
        if (refused := _wrong_version(snapshot, story)) is not None:
            return self._failed(refused)
        inputs = story_inputs(snapshot.run, story)
        if isinstance(inputs, Fault):
            return self._failed(Refused(inputs.reason, inputs.message))
        graph = graph_of(story)
        if graph.problems:
            return self._failed(Refused("InvalidConfiguration", "; ".join(graph.problems)))
        return self._proceed(story, inputs)

    # Reasons to end before the first step

    def _refused(self) -> Refused | None:
        """The namespace policy and the size of the inputs, which need no Story."""
        run, config = self.snapshot.run, self.snapshot.config
        reference = run.spec.story_ref
        namespace = (reference.namespace or "").strip() or run.metadata.namespace or ""
        refused = refusal(
            Referrer(RUNS, "StoryRun", run.metadata.namespace or ""),
            Target(CORE, "Story", namespace, reference.name),
            config.references.cross_namespace_policy,
            self.snapshot.grants,
        )
        if refused is not None:
            return Refused("StoryReferenceInvalid", str(refused), event=True)
        if run.spec.inputs and labels.PARENT_STORYRUN not in run.metadata.labels:
            size, limit = len(msgspec.json.encode(run.spec.inputs)), config.storyruns.max_inline_inputs_size
            if size > limit:
                return Refused(
                    "InputTooLarge",
                    f"inputs have {size} bytes, the limit is {limit} (storyrun.max-inline-inputs-size)",
                )
        return None

    def _failed(self, refused: Refused) -> RunPlan:
        """Ends the run before its next step, when the newest objects say so too: a Story or grant that was written
        before the run may reach the cache after it."""
        if not self.snapshot.authoritative:
            return RunPlan(confirm=True, summary=refused.message)
        status = RunStatus(self.snapshot.run, self.now)
        _schema_references(status, self.snapshot)
        status.set("error", {"type": refused.reason, "message": refused.message})
        status.close_steps(refused.message, refused.reason)
        status.phase(Phase.FAILED, refused.message, reason=refused.reason)
        reason = refused.reason if refused.event else "StoryRunFailed"
        return RunPlan(
            status=status.patch(), events=(Event("Warning", reason, refused.message),), summary=refused.message
        )

    def _without_story(self) -> RunPlan:
        """Waits for the Story; a run that already runs keeps what it has. Only a cancel ends it."""
        run = self.snapshot.run
        name = run.spec.story_ref.key(run.metadata.namespace)
        message = f'Story "{name}" does not exist'
        status = RunStatus(run, self.now)
        if (cancel := self._cancel(status)) is not None:
            return self._cancel_without_story(status, cancel)
        known = find_condition(run.status.conditions, ConditionType.READY)
        is_told = known is not None and known.reason == "StoryNotFound"
        if not is_told:
            status.phase(run.status.phase or Phase.PENDING, message, reason="StoryNotFound")
            status.leave_queues("StoryNotFound", message)
        wait = WaitsForStory(name)
        return RunPlan(
            status=status.patch(),
            events=() if is_told else (Event("Warning", "StoryNotFound", message),),
            reasons=dict.fromkeys(run.status.step_states, wait),
            summary=str(wait),
        )

    def _cancel_without_story(self, status: RunStatus, cancel: Ending) -> RunPlan:
        """Drains what runs, and ends the run when nothing does any more."""
        until = cancel.since + settings.grace(self.snapshot.config, None)
        is_over = self.now >= until
        live = list(live_children(self.snapshot))
        asked = [end for child in live if (end := ending_of(child, delete=is_over)) is not None]
        deletes = tuple(end for end in asked if isinstance(end, Delete))
        summary = "canceled; ending"
        if not live and not self.snapshot.authoritative:
            return RunPlan(confirm=True, summary=summary)
        if not live:
            status.close_steps(cancel.message, "Canceled")
            status.phase(cancel.phase, cancel.message, reason="Canceled")
        return RunPlan(
            confirm=bool(deletes) and not self.snapshot.authoritative,
            status=status.patch(),
            cancels=tuple(end for end in asked if isinstance(end, Annotate)),
            deletes=deletes,
            events=() if live else (Event("Normal", "StoryRunCanceled", cancel.message),),
            wakes=(Wake(until, "what still runs is cut off"),) if live and not is_over else (),
            summary=summary,
        )

    # Running

    def _proceed(self, story: Story, inputs: dict[str, Any]) -> RunPlan:
        snapshot, now, run = self.snapshot, self.now, self.snapshot.run
        graph = graph_of(story)
        place = place_of(run, story, snapshot.config)
        status = RunStatus(run, now)
        _schema_references(status, snapshot)
        events: list[Event] = []
        begins = run.status.phase is not Phase.RUNNING
        if begins:
            status.phase(Phase.RUNNING, "", reason="StartingExecution")
        generation = story.metadata.generation
        if generation is not None and run.status.story_generation != generation:
            if run.status.story_generation is not None:
                message = (
                    f"the Story was edited while the run went on (generation {run.status.story_generation} is now "
                    f"{generation}); steps that have not begun follow the new one"
                )
                events.append(Event("Warning", "StoryChanged", message))
            status.set("storyGeneration", generation)
        grace = settings.grace(snapshot.config, story)
        cancel = self._cancel(status)
        timeout = self._timeout(story, status)
        if cancel is not None and run.status.phase is None:
            cancel = Ending(cancel.cause, now, cancel.phase, cancel.message, cancel.skip_reason)
        ending = min(filter(None, (cancel, timeout)), key=lambda ending: ending.since, default=None)
        attempt = int(status.get("attempts") or 1)
        current = Pass(
            Given(
                snapshot=snapshot,
                story=story,
                graph=graph,
                inputs=inputs,
                place=place,
                now=now,
                attempt=attempt,
                ending=ending,
                grace=grace,
            )
        )
        current.run()
        status.steps(graph, current.states)
        events[:0] = _beginnings(story, current, begins=begins)
        if current.ending is not None and current.ending.cause is Cause.TIMEOUT and not status.get("error"):
            status.set("error", {"type": "TimedOut", "message": current.ending.message})
        wakes = list(current.wakes)
        if (deadline := settings.deadline(story, moment(status.get("startedAt")))) is not None and deadline > now:
            wakes.append(Wake(deadline, "the run times out"))
        loads = list(current.loads)
        is_over = current.finished
        if current.finished:
            end = finish.conclude(current, status)
            loads += end.loads
            events += end.events
            is_over = not end.loads and not end.is_early
        if is_over:
            status.close_removed(graph)
        else:
            status.set("message", finish.progress(current))
        questions = current.questions()
        starts = (*current.starts, *(question.steprun for question in questions))
        # Without a status to write, nothing would stop an old copy of the run: from ending what the next attempt began,
        # from asking a component about what was decided long ago.
        is_unfenced = bool(current.cancels or starts or current.children) and status.patch() is None
        is_final = bool(current.deletes) or is_unfenced
        confirm = (current.needs_confirmation or is_final) and not snapshot.authoritative
        return RunPlan(
            confirm=confirm,
            load=distinct(loads),
            ensure_identity=bool(starts),
            metadata=_metadata(snapshot, place, current),
            status=status.patch(),
            engrams=tuple(question.engram for question in questions),
            starts=starts,
            children=tuple(current.children),
            cancels=tuple(current.cancels),
            deletes=tuple(current.deletes),
            events=(*events, *current.events),
            wakes=tuple(sorted(wakes)),
            reasons=current.reasons,
            summary=finish.summary(current, status),
        )

    def _cancel(self, status: RunStatus) -> Ending | None:
        """The end that `spec.cancelRequested` asks for, counted from when it was first seen."""
        run = self.snapshot.run
        if not run.spec.cancel_requested:
            return None
        known = find_condition(run.status.conditions, ConditionType.TERMINATING)
        if known is None or known.status != "True":
            status.condition(ConditionType.TERMINATING, True, "Canceled", "cancel requested")
            since = self.now.replace(microsecond=0)  # as the condition will be read again
        else:
            since = moment(known.last_transition_time) or self.now
        return Ending(Cause.CANCEL, since, Phase.FINISHED, "canceled", "not started: the run was canceled")

    def _timeout(self, story: Story, status: RunStatus) -> Ending | None:
        deadline = settings.deadline(story, moment(status.get("startedAt")))
        if deadline is None or self.now < deadline:
            return None
        span = settings.story_timeout(story) or timedelta(0)
        message = f"the run did not end within {duration.from_timedelta(span)}"
        skipped = "not started: the time of the run is over"
        is_recorded = (self.snapshot.run.status.error or {}).get("type") == "TimedOut"
        return Ending(Cause.TIMEOUT, deadline, Phase.TIMEOUT, message, skipped, is_recorded)


def _wrong_version(snapshot: RunSnapshot, story: Story) -> Refused | None:
    """Whether the Story is not the one that the run was created for (5.7, B-07)."""
    reference = snapshot.run.spec.story_ref
    name = reference.key(snapshot.run.metadata.namespace)
    wanted, found = (reference.version or "").strip(), (story.spec.version or "").strip()
    has_begun = snapshot.run.status.phase is Phase.RUNNING
    if wanted and wanted != found and not has_begun:
        return Refused("StoryReferenceInvalid", f'the run wants version "{wanted}" of Story "{name}", it has "{found}"')
    if reference.uid and story.metadata.uid and reference.uid != story.metadata.uid:
        return Refused("StoryReferenceInvalid", f'Story "{name}" was deleted and created anew (its uid is another)')
    return None


def _beginnings(story: Story, current: Pass, *, begins: bool) -> list[Event]:
    """One Event for everything that a pass begins; a one-step run has no other before its end."""
    names = [steprun.metadata.name or "" for steprun in current.starts]
    created = f"created StepRun {some_of(names)}" if names else ""
    if begins:
        told = "; ".join(filter(None, (f'runs Story "{story.metadata.name}"', created)))
        return [Event("Normal", "StoryRunStarted", told)]
    return [Event("Normal", "ChildStepRunCreated", created)] if created else []


def _schema_references(status: RunStatus, snapshot: RunSnapshot) -> None:
    """`inputSchemaRef` and `outputSchemaRef`; absent without a schema (7)."""
    story, run = snapshot.story, snapshot.run
    if story is None:
        return
    version = (run.spec.story_ref.version or "").strip() or (story.spec.version or "").strip()
    base = "/".join(part for part in ("bubu://story", story.metadata.namespace, story.metadata.name) if part)
    for name, schema, suffix in (
        ("inputSchemaRef", story.spec.inputs_schema, "inputs"),
        ("outputSchemaRef", story.spec.outputs_schema, "output"),
    ):
        reference = {"ref": f"{base}/{suffix}"} | ({"version": version} if version else {})
        status.set(name, reference if schema else None)


def _metadata(snapshot: RunSnapshot, place: QueuePlace, current: Pass) -> Patch | None:
    """Labels that selectors need (the queue unless it is the default one, the correlation id), and the timers."""
    metadata = snapshot.run.metadata
    wanted: dict[str, str] = {}
    if not place.is_default or labels.QUEUE in metadata.labels:
        wanted[labels.QUEUE] = label(place.queue)
        wanted[labels.QUEUE_PRIORITY] = str(place.priority)
    if correlation := metadata.annotations.get(labels.ANNOTATION_CORRELATION_ID, "").strip():
        wanted[labels.CORRELATION_ID] = label(correlation)
    missing = {key: value for key, value in wanted.items() if metadata.labels.get(key) != value}
    kinds = {name: node.step.type for name, node in current.graph.nodes.items()}
    shown, found = metadata.annotations.get(labels.ANNOTATION_STEP_TIMERS), timers(kinds, current.states)
    patch: dict[str, Any] = {}
    if missing:
        patch["labels"] = missing
    if shown != found:
        patch["annotations"] = {labels.ANNOTATION_STEP_TIMERS: found}
    return {"metadata": patch} if patch else None
