"""Runs of a Story under faults, in virtual time: one seed is one order of everything that happens.

The operator is the real one: controllers, queues, predicates and reconcilers, on a clock that the simulation moves.
Around it is a cluster that misbehaves: requests take their time, fail, or happen although they seem to fail; watches
lag, each kind by another amount; the operator is killed at any await, or loses its lease to another while its requests
are still on their way; Jobs disappear. Every change is checked against the invariants when it reaches the server. In
the end every run must look as the reference interpreter says.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

from bobrapet.api import Engram, EngramTemplate, Story, StoryRun
from bobrapet.api.enums import Phase
from bobrapet.config.operator import OperatorConfig, parse
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.storage import Limits, MemoryStore, dehydrate, input_prefix
from tests.simulation.cluster import FAIL, GO, LOSE, Broken, Call, Choice, Object, Server
from tests.simulation.invariants import Invariants, open_request
from tests.simulation.nodes import Nodes
from tests.simulation.operator import Process, scheme
from tests.simulation.people import People
from tests.simulation.stories import Case

STEPS = 6_000
"""Things that may happen before a run must have ended."""

SCHEME = scheme()
QUEUE = "shared"


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong, as chances."""

    request: float = 0.06
    """A request fails, or its answer is lost."""
    crash: float = 0.006
    failover: float = 0.004
    split: float = 0.002
    """Two operators believe to be the leader for a while."""
    lost_job: float = 0.003
    duplicate: float = 0.02
    """A request for a reconcile that nothing is the reason for."""
    late_list: int = 4
    """A new operator's first list may lack this many changes of a kind."""


NONE = Faults(request=0, crash=0, failover=0, split=0, lost_job=0, duplicate=0, late_list=0)


@dataclass
class Simulation:
    case: Case
    random: Random
    faults: Faults
    trace: list[str] = field(default_factory=list)
    is_quiet: bool = False
    may_exceed_limits: bool = False
    """Whether an operator could not know of all steps that hold a slot: another one created them, or its own creation
    happened although it seemed to fail."""

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        # Of the seed alone: names are made of uids, and must not depend on what else this process has run.
        salt = hashlib.sha256(repr((self.case, self.random.getstate())).encode()).hexdigest()[:12]
        self.server = Server(self.clock, salt)
        self.store = MemoryStore()
        self.processes: list[Process] = []
        self.sees_its_writes = self.random.random() < 0.7
        self.reaches_store = self.random.random() < 0.7
        self.config = self._config()
        self.roots = [f"r{number}" for number in range(1, self.case.runs + 1)]
        self.nodes = Nodes(self)
        self.people = People(self)
        self.invariants = Invariants(self)
        self._create_objects()
        self.server.check = self.invariants.check

    def _config(self) -> OperatorConfig:
        settings = {f"storyrun.queue.{QUEUE}.concurrency": str(self.case.queue)} if self.case.queue else {}
        if self.case.limit:
            settings["storyrun.global-concurrency"] = str(self.case.limit)
        return parse(settings).config if settings else OperatorConfig()

    def _create_objects(self) -> None:
        template = {"version": "1", "supportedModes": ["job"], "image": "x"}
        self._create(EngramTemplate, "worker-template", template, "")
        self._create(EngramTemplate, "materialize", template, "")
        self._create(Engram, "worker", {"templateRef": {"name": "worker-template"}})
        spec = self.case.spec()
        if self.case.queue:
            spec["policy"] = {**spec["policy"], "queue": QUEUE}
        if self.case.offloads:
            spec["policy"] = {**spec["policy"], "storage": {"file": {"path": "/data", "volumeClaimName": "data"}}}
        self._create(Story, "s", spec)
        self._create(Story, "urgent", {**spec, "policy": {**spec["policy"], "priority": 10}})
        no_retry = {"retry": {"maxRetries": 0, "delay": "1s"}}
        self._create(Story, "child", {"steps": [{"name": "x", "ref": {"name": "worker"}, "execution": no_retry}]})
        for number, name in enumerate(self.roots):
            story = "urgent" if self.case.is_urgent and number % 2 else "s"
            inputs: Any = {"n": 7}
            if self.case.offloads:
                inputs = dehydrate(inputs, self.store, input_prefix("wf", name), Limits(inline=0))
            self._create(StoryRun, name, {"storyRef": {"name": story}, "inputs": inputs})

    def _create(self, cls: Any, name: str, spec: Object, namespace: str = "wf") -> None:
        metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
        self.server.create(
            cls.KIND, {"apiVersion": cls.API_VERSION, "kind": cls.KIND, "metadata": metadata, "spec": spec}
        )

    # Running

    async def run(self) -> None:
        """Raises `Broken` when something is not as it must be."""
        try:
            await self._start_process()
            for _ in range(STEPS):
                await self._something()
                if all(map(self.has_ended, self.roots)):
                    if self.people.is_done():
                        break
                    self.people.redrive()
            else:
                raise Broken(f"runs do not end: {[self.server.get('StoryRun', name) for name in self.roots]}")
            await self._come_to_rest()
            self.invariants.check_end()
        finally:
            await self._kill_all()

    async def _something(self) -> None:
        """One thing happens, whatever it is."""
        disaster = self._disaster()
        if disaster is not None:
            await disaster
        else:
            choices = self._choices()
            if not choices:
                await self._let_time_pass()
                return
            weights = [weight for weight, _, _ in choices]
            _, what, act = self.random.choices(choices, weights)[0]
            if what:
                self.tell(what)
            result = act()
            if result is not None:
                await result
        await settle()
        if self.server.broken is not None:
            raise self.server.broken

    def _disaster(self) -> Awaitable[None] | None:
        faults, chance = self.faults, self.random.random()
        disasters: list[tuple[float, Callable[[], Any]]] = [
            (faults.crash, self._crash),
            (faults.failover, self._fail_over),
            (faults.split, self._split),
            (faults.lost_job, self._lose_job),
            (faults.duplicate, self._duplicate),
        ]
        for share, disaster in disasters:
            if chance < share:
                return disaster()  # type: ignore[no-any-return]
            chance -= share
        return None

    def _choices(self) -> list[Choice]:
        """What may happen now, with weights."""
        if self.random.random() < 0.1:
            self.server.collect()  # first: what is offered below must still be there
        found = [*self.nodes.choices(), *self.people.choices()]
        calls = [(process, call) for process in self.processes for call in process.wire.calls]
        if calls:
            found.append((6.0, "", lambda: self._answer(*self.random.choice(calls))))
        informers = [
            (process, informer)
            for process in self.processes
            if not process.wire.is_cut
            for informer in process.cache.informers.values()
            if informer.behind
        ]
        if informers:
            found.append((5.0, "", lambda: self._deliver(*self.random.choice(informers))))
        if any(not process.wire.is_cut for process in self.processes[:-1]):
            found.append((0.1, "the older operator notices that it does not lead any more", self._cut_older))
        if found and not self.is_quiet:
            found.append((0.6, "", lambda: self.clock.advance(self.random.choice([0.01, 0.3, 1.0, 3.0]))))
        return found

    async def _let_time_pass(self) -> None:
        """Nothing can happen before a clock says so, or the garbage collector comes round."""
        if self.server.collect():
            return
        moments = [timer for timer in [self.clock.next_timer] if timer is not None]
        if not moments:
            raise Broken(f"nothing will ever happen: {[self.server.get('StoryRun', name) for name in self.roots]}")
        await self.clock.advance(max(0.0, min(moments) - self.clock.monotonic()))

    async def _come_to_rest(self) -> None:
        """Faults end; everything that is on its way arrives, and clocks go on for a while."""
        self.faults, self.is_quiet = NONE, True
        self._cut_older()
        end = self.clock.monotonic() + 600
        for _ in range(STEPS):
            if self._choices():
                await self._something()
                continue
            if self.server.collect():
                continue
            await self._stop_older()
            timer = self.clock.next_timer
            if timer is None or timer > end:
                return
            await self._let_time_pass()
        raise Broken(f"it does not come to rest: {self.trace[-20:]}")

    # The operator

    async def _start_process(self) -> None:
        process = Process(
            self.server,
            self.clock,
            SCHEME,
            self.config,
            behind=lambda: self.random.randint(0, self.faults.late_list),
            sees_its_writes=self.sees_its_writes,
            store=self.store if self.reaches_store else None,
        )
        self.processes.append(process)
        await process.start()
        await settle()

    @property
    def is_split(self) -> bool:
        """Whether requests of an operator may arrive that does not lead any more."""
        return len(self.processes) > 1

    async def _crash(self) -> None:
        self.tell("the operator is killed and starts again")
        for process in self.processes:
            for call in [call for call in process.wire.calls if self.random.random() < 0.3]:
                self.tell(f"{call.what} was on its way")
                call.answer.set_result(LOSE)
        await settle()
        await self._kill_all()
        self.may_exceed_limits = self.may_exceed_limits or bool(self.faults.late_list)
        await self._start_process()

    async def _fail_over(self) -> None:
        """Another operator begins while requests of this one are on their way."""
        self.tell("the operator loses its lease to another one")
        self.may_exceed_limits = True
        for process in self.processes:
            process.wire.is_cut = True
        await self._start_process()

    async def _split(self) -> None:
        self.tell("another operator begins, and this one does not notice")
        self.may_exceed_limits = True
        await self._start_process()

    def _cut_older(self) -> None:
        for process in self.processes[:-1]:
            process.wire.is_cut = True

    async def _stop_older(self) -> None:
        """Operators that do not lead any more have no request on its way, and end."""
        stopped = [task for process in self.processes[:-1] for task in process.tasks]
        del self.processes[:-1]
        for task in stopped:
            task.cancel()
        if stopped:
            await settle()

    async def _kill_all(self) -> None:
        self.processes.clear()
        me = asyncio.current_task()
        for _ in range(50):
            tasks = [task for task in asyncio.all_tasks() if task is not me]
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            await settle()
            await asyncio.sleep(0)
        raise AssertionError(f"tasks survive: {asyncio.all_tasks()}")

    def _answer(self, process: Process, call: Call) -> None:
        process.wire.calls.remove(call)
        outcome = GO
        if not call.what.startswith("answer") and self.random.random() < self.faults.request:
            outcome = self.random.choice([FAIL, LOSE] if not call.what.startswith(("get", "list")) else [FAIL])
        if not call.what.startswith("answer") or self.random.random() < 0.2:
            self.tell(f"{call.what}: {outcome}")
        self.may_exceed_limits = self.may_exceed_limits or (outcome is LOSE and "StepRun" in call.what)
        if not call.answer.done():
            call.answer.set_result(outcome)

    async def _deliver(self, process: Process, informer: Any) -> None:
        count = self.random.randint(1, max(1, informer.behind))
        self.tell(f"{count} of {informer.behind} changes of {informer.gvk.kind} are seen")
        await informer.deliver(count)

    async def _duplicate(self) -> None:
        """A reconcile for no reason."""
        if not self.processes:
            return
        process = self.processes[-1]
        steps = sorted(key.name for key in self.server.of("StepRun"))
        if steps and self.random.random() < 0.7:
            process.enqueue(1, self.random.choice(steps))
        else:
            process.enqueue(0, self.random.choice(self.roots))

    async def _lose_job(self) -> None:
        self.nodes.lose_job()

    # Looking

    def has_ended(self, run: str) -> bool:
        """Whether a run is over, and nobody has asked to run it again."""
        found = self.server.get("StoryRun", run)
        if found is None:
            return True
        phase = (found.get("status") or {}).get("phase")
        return bool(phase) and Phase(phase).is_terminal and not open_request(found)

    def tell(self, what: str) -> None:
        """For whoever reads how it came to a failure."""
        now: datetime = self.clock.now()
        self.trace.append(f"{now:%M:%S}.{now.microsecond // 1000:03d} {what}")
