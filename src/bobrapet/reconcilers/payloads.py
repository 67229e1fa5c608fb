"""Offloaded data inside the controller: what plans ask to read, and inputs that are too large for a process
(spec runs 22, workloads 7.3, 10.3; decision 8).

A store that fails is asked again, and the run goes on with everything that does not need it. What can never be read
is told to the engine, which fails the step that reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec

from bobrapet import engine
from bobrapet.api import EngramTemplate, StoryRun, env, labels
from bobrapet.api.enums import Phase
from bobrapet.api.payloads import PayloadReference
from bobrapet.config.policy import storage_of
from bobrapet.config.storage import StorageSettings
from bobrapet.engine.graph import find_step
from bobrapet.engine.plans import JobStart, RunPlan, StepPlan
from bobrapet.engine.reasons import Wake
from bobrapet.engine.snapshot import RunSnapshot, StepSnapshot, Unreadable
from bobrapet.reconcilers.operator import Operator
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.storage import (
    Budget,
    Limits,
    PayloadTooLarge,
    Retriable,
    Retries,
    StorageError,
    Store,
    check_namespace,
    dehydrate,
    hydrate,
    input_prefix,
    references,
)

MAX_LOADED_BYTES: Final = 16 << 20
"""Of stored data that one plan may read into the controller. Larger values belong into a component."""

RETRY_AFTER: Final = timedelta(seconds=5)
"""When a store that failed is asked again."""

_BEFORE_AN_ATTEMPT: Final = (None, Phase.PENDING, Phase.BLOCKED)

MAX_ROUNDS: Final = 8
"""A value that was read may lead a template to another one; more than this is no honest Story."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A plan for a run, with the data that it asked for, as far as that could be read."""

    snapshot: RunSnapshot
    plan: RunPlan
    trouble: str = ""
    """Why some of it could not be read now; the plan is valid without, and shall be made again soon."""


async def plan_run(operator: Operator, snapshot: RunSnapshot) -> PlannedRun:
    """Plans a run, reads the offloaded data that the plan asks for, and plans again, until it asks for none."""
    settings = storage_of(snapshot.config, story=snapshot.story)
    namespace = snapshot.run.metadata.namespace or ""
    has_storage = operator.stores.reach(settings)
    snapshot = dataclasses.replace(
        snapshot, has_storage=has_storage, can_materialize=await _can_materialize(operator, has_storage)
    )
    phase = snapshot.run.status.phase
    try:
        if phase is None or not phase.is_terminal:
            snapshot = dataclasses.replace(snapshot, run=await _with_inputs(operator, settings, snapshot.run))
    except Retriable as error:
        again = Wake(operator.clock.now() + RETRY_AFTER, "the payload store is asked again for the inputs")
        return PlannedRun(snapshot, RunPlan(wakes=(again,), summary=str(error)), str(error))
    plan = engine.plan(snapshot, operator.clock.now())
    for _ in range(MAX_ROUNDS):
        if not plan.load:
            break
        try:
            found = await _load(operator, settings, namespace, plan.load)
        except Retriable as error:
            again = Wake(operator.clock.now() + RETRY_AFTER, "the payload store is asked again")
            return PlannedRun(snapshot, dataclasses.replace(plan, wakes=(*plan.wakes, again)), str(error))
        snapshot = dataclasses.replace(snapshot, payloads={**snapshot.payloads, **found})
        plan = engine.plan(snapshot, operator.clock.now())
    return PlannedRun(snapshot, plan)


async def with_storage(operator: Operator, snapshot: StepSnapshot) -> StepSnapshot:
    """The snapshot of a step that knows whether the controller reaches the step's store, with the inputs of its run.
    Raises Retriable."""
    has_storage = operator.stores.reach(storage_of_step(snapshot))
    can_materialize = await _can_materialize(operator, has_storage)
    run = snapshot.run
    if run is not None and snapshot.step.status.phase in _BEFORE_AN_ATTEMPT:
        run = await _with_inputs(operator, storage_of(snapshot.config, story=snapshot.story), run)
    return dataclasses.replace(snapshot, run=run, has_storage=has_storage, can_materialize=can_materialize)


async def loaded(operator: Operator, snapshot: StepSnapshot, references: Sequence[Mapping[str, Any]]) -> StepSnapshot:
    """The snapshot with what the plan for a step asks to load. Raises Retriable."""
    namespace = snapshot.step.metadata.namespace or ""
    found = await _load(operator, storage_of_step(snapshot), namespace, references)
    return dataclasses.replace(snapshot, payloads={**snapshot.payloads, **found})


async def with_offloaded_inputs(operator: Operator, snapshot: StepSnapshot, plan: StepPlan) -> StepPlan:
    """The same plan, with inputs and configuration of a starting step small enough for its process's environment,
    where the controller reaches the step's store. Raises Retriable."""
    if plan.start is None:
        return plan
    return dataclasses.replace(plan, start=await _offloaded(operator, snapshot, plan.start))


def storage_of_step(snapshot: StepSnapshot) -> StorageSettings | None:
    """The store of a step: where its process reads its inputs and writes its output."""
    step = snapshot.step
    parent = step.metadata.labels.get(labels.PARENT_STEP, "")
    definition = find_step(snapshot.story, step.spec.step_id, parent) if snapshot.story is not None else None
    return storage_of(
        snapshot.config,
        template=snapshot.template,
        engram=snapshot.engram,
        story=snapshot.story,
        step=definition,
        steprun=step,
    )


async def offload_run_inputs(operator: Operator, run: StoryRun, settings: StorageSettings, limit: int) -> StoryRun:
    """The same run with inputs that fit into `limit` bytes. Raises Retriable."""
    namespace, name = run.metadata.namespace or "", run.metadata.name or ""

    def work(store: Store) -> Any:
        return dehydrate(
            run.spec.inputs or {},
            store,
            input_prefix(namespace, name),
            Limits(inline=limit),
            is_input=True,
            retries=Retries(delays=()),
        )

    ids = {"storage.storyRunID": name}
    inputs = await operator.call_store("DehydrateInputs", settings, namespace, work, **ids)
    wire = run.to_wire()
    return StoryRun.model_validate({**wire, "spec": {**wire["spec"], "inputs": inputs}})


async def _can_materialize(operator: Operator, has_storage: bool) -> bool:
    """Whether a component may be asked to evaluate templates: always where nobody else can, so that a missing template
    is told as such; where the controller can, only when the template is installed."""
    templating = operator.config().templating
    if templating.offloaded_data_policy == "error" or not templating.materialize_engram:
        return False
    key = ObjectKey("", templating.materialize_engram)
    return not has_storage or await get_or_none(operator.client, EngramTemplate, key) is not None


async def _offloaded(operator: Operator, snapshot: StepSnapshot, start: JobStart) -> JobStart:
    settings = start.policy.storage.value
    if not operator.stores.reach(settings):
        return start
    assert settings is not None
    limits = Limits(inline=start.policy.max_inline_size.value, depth=start.policy.max_recursion_depth.value)
    if all(_size(value) <= limits.inline for value in (start.inputs, start.configuration)):
        return start
    metadata = snapshot.step.metadata
    prefix = input_prefix(metadata.namespace or "", metadata.name or "")

    def work(store: Store) -> tuple[Any, Any]:
        retries = Retries(delays=())
        inputs = dehydrate(start.inputs, store, prefix, limits, is_input=True, retries=retries)
        if start.configuration == start.inputs:
            return inputs, inputs
        return inputs, dehydrate(start.configuration, store, f"{prefix}/config", limits, is_input=True, retries=retries)

    ids = {"storage.stepRunID": metadata.name or ""}
    inputs, configuration = await operator.call_store("Dehydrate", settings, metadata.namespace or "", work, **ids)
    return dataclasses.replace(start, inputs=inputs, configuration=configuration)


async def _with_inputs(operator: Operator, settings: StorageSettings | None, run: StoryRun) -> StoryRun:
    """The run with its offloaded inputs in it, so that templates see them as they were given (runs 6). What is too
    large or can never be read stays a reference. Raises Retriable."""
    found = list(references(run.spec.inputs or {}))
    if not found or not operator.stores.reach(settings):
        return run
    assert settings is not None
    uid, namespace = run.metadata.uid or "", run.metadata.namespace or ""
    inputs = operator.stores.remembered(uid)
    if inputs is None:

        def work(store: Store) -> Any:
            try:
                return hydrate(
                    run.spec.inputs,
                    store,
                    budget=Budget(MAX_LOADED_BYTES),
                    check=lambda path: check_namespace(path, namespace),
                    retries=Retries(delays=()),
                )
            except Retriable:
                raise
            except StorageError:
                return run.spec.inputs

        ids = {"storage.storyRunID": run.metadata.name or ""}
        inputs = await operator.call_store("Hydrate", settings, namespace, work, **ids)
        if not isinstance(inputs, dict):
            return run
        operator.stores.remember(uid, inputs)
    return run.model_copy(update={"spec": run.spec.model_copy(update={"inputs": inputs})})


async def _load(
    operator: Operator, settings: StorageSettings | None, namespace: str, references: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Path -> value, or why there will never be one. Raises Retriable."""
    paths = [str(reference[env.STORAGE_REF]) for reference in references]
    if settings is None or not operator.stores.reach(settings):
        return dict.fromkeys(paths, Unreadable("the operator reaches no storage for it"))

    def work(store: Store) -> dict[str, Any]:
        retries = Retries(delays=())
        budget = Budget(MAX_LOADED_BYTES)
        found: dict[str, Any] = {}
        for path in paths:
            try:
                found[path] = hydrate(
                    PayloadReference(path).to_wire(),
                    store,
                    budget=budget,
                    check=lambda path: check_namespace(path, namespace),
                    retries=retries,
                )
            except Retriable:
                raise
            except PayloadTooLarge as error:
                found[path] = Unreadable(f"{error}; let a component read it, or make it smaller", is_too_large=True)
            except StorageError as error:
                found[path] = Unreadable(str(error))
        return found

    return await operator.call_store("HydrateStorageRefsOnly", settings, namespace, work)


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value))
