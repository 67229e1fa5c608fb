"""The controller: outcomes, concurrency, faults, start and stop (spec runtime 6.4, 6.6, 6.7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bobrapet.runtime.cache.informertest import FakeInformers
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.controller.controller import Options, new_unmanaged
from bobrapet.runtime.controller.name import DuplicateControllerName, forget_names
from bobrapet.runtime.controller.priorityqueue import AddOpts, PriorityQueue
from bobrapet.runtime.errors import NoKindMatch
from bobrapet.runtime.event import GenericEvent
from bobrapet.runtime.handler import LOW_PRIORITY, EnqueueRequestForObject
from bobrapet.runtime.internal.controller.controller import (
    Controller,
    ControllerError,
    ReconcilerPanic,
    SourceSyncTimeout,
)
from bobrapet.runtime.internal.source.kind import Kind
from bobrapet.runtime.metrics import REGISTRY
from bobrapet.runtime.predicate import Funcs, GenerationChanged
from bobrapet.runtime.reconcile import ReconcileError, ReconcileTimeout, Request, Result, ResultWithError, TerminalError
from bobrapet.runtime.source import channel, func
from tests.unit.runtime.controller_side.controllers import Bench, Manager
from tests.unit.runtime.controller_side.fakes import widget

A, B = Request("ns", "a"), Request("ns", "b")


class Scripted:
    """A reconciler that does what the test says, in order; then nothing."""

    def __init__(self, *outcomes: Result | BaseException | Callable[[Request], Any] | None) -> None:
        self.outcomes = [*outcomes]
        self.calls: list[tuple[float, Request]] = []
        self.clock: FakeClock

    async def reconcile(self, request: Request) -> Result | None:
        self.calls.append((round(self.clock.monotonic(), 6), request))
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, BaseException):
            raise outcome
        if callable(outcome):
            result: Result | None = await outcome(request)
            return result
        return outcome

    @property
    def times(self) -> list[float]:
        return [when for when, _ in self.calls]


def metric(name: str, controller: Controller[Any], **labels: str) -> float:
    value = REGISTRY.get_sample_value(f"controller_runtime_{name}", {"controller": controller.name, **labels})
    return -1.0 if value is None else value


@pytest.mark.spec("runtime-66")
async def test_events_during_a_reconcile_lead_to_one_more_and_never_to_two_at_once(bench: Bench) -> None:
    gate = asyncio.Event()
    active = 0

    async def slow(request: Request) -> None:
        nonlocal active
        active += 1
        assert active == 1
        await gate.wait()
        active -= 1

    reconciler = Scripted(slow, slow, slow)
    made = await bench.start(reconciler, A, max_concurrent_reconciles=4)
    assert made.queue is not None
    made.queue.add(A)
    made.queue.add(A)
    await settle()
    assert len(reconciler.calls) == 1
    gate.set()
    await settle()
    assert len(reconciler.calls) == 2


@pytest.mark.spec("runtime-66")
async def test_as_many_keys_as_workers_are_reconciled_at_once(bench: Bench) -> None:
    gate = asyncio.Event()
    reconciler = Scripted(*[lambda request: _wait(gate)] * 5)
    await bench.start(reconciler, *(Request("ns", str(number)) for number in range(5)), max_concurrent_reconciles=4)
    assert len(reconciler.calls) == 4
    gate.set()
    await settle()
    assert len(reconciler.calls) == 5


async def _wait(gate: asyncio.Event) -> None:
    await gate.wait()


@pytest.mark.spec("runtime-67")
async def test_errors_are_retried_ever_later_until_a_success(bench: Bench, clock: FakeClock) -> None:
    reconciler = Scripted(*[ReconcileError("no")] * 3, None, ReconcileError("again"))
    made = await bench.start(reconciler, A)
    await clock.advance(1)
    assert reconciler.times == [0, 0.005, 0.015, 0.035]
    assert made.queue is not None
    made.queue.add(A)
    await clock.advance(1)
    assert reconciler.times[4:] == [1.0, 1.005]
    assert metric("reconcile_total", made, result="error") == 4
    assert metric("reconcile_total", made, result="success") == 2
    assert metric("reconcile_errors_total", made) == 4


def nested() -> Exception:
    try:
        try:
            raise TerminalError("bad input")
        except TerminalError as error:
            raise ValueError("while reading") from error
    except ValueError as error:
        return error


@pytest.mark.spec("runtime-68")
@pytest.mark.parametrize(
    "error",
    [TerminalError(ValueError("bad input")), nested(), ExceptionGroup("all", [TerminalError("a"), nested()])],
    ids=["plain", "nested", "group"],
)
async def test_a_terminal_error_is_not_retried_but_counted(bench: Bench, clock: FakeClock, error: Exception) -> None:
    reconciler = Scripted(error)
    made = await bench.start(reconciler, A)
    await clock.advance(5000)
    assert len(reconciler.calls) == 1
    assert metric("terminal_reconcile_errors_total", made) == 1
    assert metric("reconcile_errors_total", made) == 1
    assert metric("reconcile_total", made, result="error") == 1


@pytest.mark.spec("runtime-68")
async def test_a_group_with_a_retriable_error_in_it_is_retried(bench: Bench, clock: FakeClock) -> None:
    reconciler = Scripted(ExceptionGroup("some", [TerminalError("a"), OSError("b")]))
    await bench.start(reconciler, A)
    await clock.advance(1)
    assert len(reconciler.calls) == 2


@pytest.mark.spec("runtime-69")
async def test_requeue_after_comes_at_its_moment_and_resets_failures(bench: Bench, clock: FakeClock) -> None:
    reconciler = Scripted(*[ReconcileError("no")] * 3, Result(requeue_after=30), ReconcileError("no"))
    made = await bench.start(reconciler, A)
    await clock.advance(60)
    assert reconciler.times == [0, 0.005, 0.015, 0.035, 30.035, 30.04]
    assert metric("reconcile_total", made, result="requeue_after") == 1


async def test_requeue_waits_as_after_an_error(bench: Bench, clock: FakeClock) -> None:
    reconciler = Scripted(Result(requeue=True), Result(requeue=True))
    made = await bench.start(reconciler, A)
    await clock.advance(1)
    assert reconciler.times == [0, 0.005, 0.015]
    assert metric("reconcile_total", made, result="requeue") == 2


async def test_a_result_given_with_an_error_is_ignored(bench: Bench, clock: FakeClock) -> None:
    reconciler = Scripted(ResultWithError(Result(requeue_after=30), OSError("no")))
    await bench.start(reconciler, A)
    await clock.advance(1)
    assert reconciler.times == [0, 0.005]


@pytest.mark.spec("runtime-70")
async def test_a_retry_keeps_the_priority_unless_the_result_sets_one(bench: Bench, clock: FakeClock) -> None:
    reconciler = Scripted(ReconcileError("no"), Result(requeue_after=1, priority=7))
    made = await bench.start(reconciler)
    queue = made.queue
    assert isinstance(queue, PriorityQueue)
    added: list[AddOpts] = []
    original = queue.add_with_opts

    class Watched(PriorityQueue[Any]):
        pass

    def add_with_opts(opts: AddOpts, *items: Any) -> None:
        added.append(opts)
        original(opts, *items)

    queue.add_with_opts = add_with_opts  # type: ignore[method-assign]  # the queue is the controller's own
    queue.add_with_opts(AddOpts(priority=LOW_PRIORITY), A)
    await clock.advance(2)
    assert [opts.priority for opts in added] == [LOW_PRIORITY, LOW_PRIORITY, 7]


@pytest.mark.spec("runtime-71")
async def test_a_fault_in_the_code_is_counted_and_retried(bench: Bench, clock: FakeClock) -> None:
    reconciler = Scripted(AttributeError("'NoneType' object has no attribute 'spec'"), OSError("no fault"))
    made = await bench.start(reconciler, A)
    await clock.advance(1)
    assert len(reconciler.calls) == 3
    assert metric("reconcile_panics_total", made) == 1
    assert metric("reconcile_errors_total", made) == 2


@pytest.mark.spec("runtime-71")
async def test_a_fault_ends_the_process_where_recovery_is_off(bench: Bench) -> None:
    made = bench.controller(Scripted(AttributeError("oops")), recover_panic=False)
    running = bench.run(made)
    await settle()
    assert made.queue is not None
    made.queue.add(A)
    with pytest.raises(ReconcilerPanic, match="panic: AttributeError: oops"):
        await running


@pytest.mark.spec("runtime-72")
async def test_a_reconcile_that_takes_too_long_is_cancelled_and_retried(bench: Bench, clock: FakeClock) -> None:
    cancelled: list[float] = []

    async def sleepy(request: Request) -> None:
        try:
            await clock.sleep(5)
        except asyncio.CancelledError:
            cancelled.append(clock.monotonic())
            raise

    reconciler = Scripted(sleepy, TimeoutError("of the user"))
    made = await bench.start(reconciler, A, reconciliation_timeout=1)
    await clock.advance(10)
    assert cancelled == [1.0]
    assert reconciler.times == [0, 1.005, 1.015]
    assert metric("reconcile_timeouts_total", made) == 1
    slow = bench.controller(Scripted(sleepy), reconciliation_timeout=1)
    pending = asyncio.create_task(slow.reconcile(A))
    await clock.advance(1)
    with pytest.raises(ReconcileTimeout):
        await pending


class Source:
    """A source that is ready when the test says so."""

    def __init__(self, *, blocks: bool = False) -> None:
        self.synced = asyncio.Event()
        self.started = 0
        self.stopped = 0
        self._blocks = blocks

    async def start(self, queue: Any) -> None:
        self.started += 1
        queue.add(A)
        if self._blocks:
            await asyncio.Event().wait()

    async def wait_for_sync(self) -> None:
        await self.synced.wait()

    async def stop(self) -> None:
        self.stopped += 1

    def __str__(self) -> str:
        return "kind source: Widget"


@pytest.mark.spec("runtime-73")
async def test_workers_wait_for_all_sources(bench: Bench, clock: FakeClock) -> None:
    reconciler = Scripted()
    made = bench.controller(reconciler)
    first, second = Source(), Source()
    await made.watch(first)
    await made.watch(second)
    task = bench.run(made)
    first.synced.set()
    await clock.advance(60)
    assert reconciler.calls == []
    second.synced.set()
    await settle()
    assert len(reconciler.calls) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (first.stopped, second.stopped) == (1, 1)


@pytest.mark.spec("runtime-73")
async def test_a_source_that_never_fills_is_an_error_that_names_it(bench: Bench, clock: FakeClock) -> None:
    made = bench.controller(Scripted(), cache_sync_timeout=10)
    await made.watch(Source())
    running = bench.run(made)
    await clock.advance(10)
    with pytest.raises(SourceSyncTimeout, match="timed out waiting for cache to be synced for kind source: Widget"):
        await running


@pytest.mark.spec("runtime-74")
async def test_a_start_that_blocks_is_an_error_that_tells_how_to_do_it(bench: Bench, clock: FakeClock) -> None:
    made = bench.controller(Scripted())
    await made.watch(Source(blocks=True))
    running = bench.run(made)
    await clock.advance(120)
    with pytest.raises(SourceSyncTimeout, match="must not block"):
        await running


async def test_a_source_added_while_running_starts_at_once(bench: Bench) -> None:
    reconciler = Scripted()
    made = await bench.start(reconciler)
    source = Source()
    source.synced.set()
    await made.watch(source)
    await settle()
    assert source.started == 1
    assert len(reconciler.calls) == 1


@pytest.mark.spec("runtime-75")
async def test_a_kind_that_is_not_served_yet_is_looked_for_every_ten_seconds(bench: Bench, clock: FakeClock) -> None:
    asked: list[float] = []

    class Registration:
        async def wait_for_sync(self) -> None: ...

    class Informer:
        def add_event_handler(self, handler: Any) -> Registration:
            return Registration()

        def remove_event_handler(self, registration: Registration) -> None: ...

    class Cache:
        async def get_informer(self, cls: Any, *, block_until_synced: bool) -> Informer:
            asked.append(clock.monotonic())
            if clock.monotonic() < 25:
                raise NoKindMatch("example.org", "Widget")
            return Informer()

    cache: Any = Cache()
    made = bench.controller(Scripted())
    await made.watch(Kind(cache, Unstructured.of("example.org/v1", "Widget"), EnqueueRequestForObject(), clock=clock))
    bench.run(made)
    await clock.advance(35)
    assert asked == [0, 10, 20, 30]
    assert metric("max_concurrent_reconciles", made) == 1


@pytest.mark.spec("runtime-76")
async def test_a_warm_controller_has_its_queue_filled_before_it_may_work(bench: Bench) -> None:
    reconciler = Scripted()
    made = bench.controller(reconciler, enable_warmup=True)
    source = Source()
    source.synced.set()
    await made.watch(source)
    warmup = asyncio.create_task(made.warmup())
    await settle()
    assert made.queue is not None
    assert len(made.queue) == 1
    assert reconciler.calls == []
    bench.run(made)
    await settle()
    assert len(reconciler.calls) == 1
    assert source.started == 1
    warmup.cancel()


@pytest.mark.spec("runtime-77")
async def test_names_are_unique_and_a_controller_starts_once(clock: FakeClock) -> None:
    forget_names()
    manager: Any = Manager(clock)
    made = new_unmanaged("widget", manager, Options(reconciler=Scripted()))
    with pytest.raises(DuplicateControllerName, match="'widget'"):
        new_unmanaged("widget", manager, Options(reconciler=Scripted()))
    new_unmanaged("widget", manager, Options(reconciler=Scripted(), skip_name_validation=True))
    first = asyncio.create_task(made.start())
    await settle()
    with pytest.raises(ControllerError, match="started already"):
        await made.start()
    first.cancel()


@pytest.mark.spec("runtime-78")
async def test_a_stop_lets_running_reconciles_finish_and_starts_no_more(bench: Bench) -> None:
    gate = asyncio.Event()
    finished: list[Request] = []

    async def slow(request: Request) -> None:
        await gate.wait()
        finished.append(request)

    reconciler = Scripted(slow, slow)
    made = bench.controller(reconciler)
    task = bench.run(made)
    await settle()
    assert made.queue is not None
    made.queue.add(A)
    made.queue.add(B)
    await settle()
    task.cancel()
    await settle()
    assert not task.done()
    gate.set()
    await asyncio.gather(task, return_exceptions=True)
    assert finished == [A]
    assert [request for _, request in reconciler.calls] == [A]


@pytest.mark.spec("runtime-78")
async def test_a_second_stop_cancels_what_still_runs(bench: Bench) -> None:
    cancelled: list[Request] = []

    async def stuck(request: Request) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(request)
            raise

    task = bench.run(made := bench.controller(Scripted(stuck)))
    await settle()
    assert made.queue is not None
    made.queue.add(A)
    await settle()
    task.cancel()
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert cancelled == [A]


@pytest.mark.spec("runtime-79")
async def test_all_results_are_there_from_the_start(bench: Bench) -> None:
    made = await bench.start(Scripted())
    for result in ("error", "requeue_after", "requeue", "success"):
        assert metric("reconcile_total", made, result=result) == 0
    for name in ("reconcile_errors_total", "terminal_reconcile_errors_total", "reconcile_panics_total"):
        assert metric(name, made) == 0


async def test_a_plain_queue_serves_too(bench: Bench, clock: FakeClock) -> None:
    reconciler = Scripted(ReconcileError("no"), Result(requeue_after=5))
    await bench.start(reconciler, A, use_priority_queue=False)
    await clock.advance(10)
    assert reconciler.times == [0, 0.005, 5.005]


async def test_a_channel_feeds_all_controllers_that_use_it(bench: Bench) -> None:
    incoming: asyncio.Queue[GenericEvent[Any] | None] = asyncio.Queue()

    async def stream() -> AsyncIterator[GenericEvent[Any]]:
        while (event := await incoming.get()) is not None:
            yield event

    source = channel(
        stream(),
        EnqueueRequestForObject(),
        predicates=[Funcs(generic=lambda event: event.metadata.name != "ignored")],
    )
    reconcilers = Scripted(), Scripted()
    for reconciler in reconcilers:
        made = bench.controller(reconciler)
        await made.watch(source)
        bench.run(made)
    await settle()
    for name in ("a", "ignored", "b"):
        incoming.put_nowait(GenericEvent(Unstructured(widget(name))))
    incoming.put_nowait(None)
    await settle()
    for reconciler in reconcilers:
        assert [request for _, request in reconciler.calls] == [A, B]


async def test_a_function_is_a_source(bench: Bench) -> None:
    reconciler = Scripted()

    async def add(queue: Any) -> None:
        queue.add(B)

    made = bench.controller(reconciler)
    await made.watch(func(add))
    bench.run(made)
    await settle()
    assert [request for _, request in reconciler.calls] == [B]


async def test_a_controller_over_a_fake_cache_hears_what_the_test_says(bench: Bench) -> None:
    kind = Unstructured.of("example.org/v1", "Widget")
    informers = FakeInformers()
    reconciler = Scripted()
    made = bench.controller(reconciler)
    cache: Any = informers
    await made.watch(Kind(cache, kind, EnqueueRequestForObject(), (GenerationChanged(),), clock=bench.clock))
    bench.run(made)
    await settle()
    informer = informers.informer(kind)
    await informer.add(kind(widget("a", generation=1)))
    await informer.update(kind(widget("a", 2, generation=1)))
    await settle()
    assert [request for _, request in reconciler.calls] == [A]
    assert (await informers.get(kind, A.key)).metadata.resource_version == "2"
    await informer.delete(kind(widget("a", 3)))
    await settle()
    assert len(reconciler.calls) == 2
    assert len(await informers.list(kind)) == 0
