"""Leader election (spec runtime sections 10 and 13)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bobrapet.runtime.client.apiutil import RESTMapping
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.fake.client import ClientBuilder
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.errors import Conflict, ConnectionFailed, ServiceUnavailable
from bobrapet.runtime.leaderelection import (
    Callbacks,
    ElectionMisconfigured,
    HealthzAdaptor,
    LeaderElector,
    LeadershipLost,
    new_resource_lock,
)
from bobrapet.runtime.leaderelection.errors import ElectionError
from bobrapet.runtime.leaderelection.fake import FakeLease, FakeLock
from bobrapet.runtime.leaderelection.leader_election import in_cluster_namespace, request_timeout
from bobrapet.runtime.leaderelection.resourcelock import LeaderElectionRecord
from bobrapet.runtime.leaderelection.resourcelock.leaselock import Lease, LeaseLock
from bobrapet.runtime.metrics import REGISTRY
from bobrapet.runtime.scheme import GroupVersionKind


class Candidate:
    """One process in the race."""

    def __init__(
        self, lease: FakeLease, name: str, clock: FakeClock, *, lock: type[FakeLock] = FakeLock, **options: Any
    ) -> None:
        self.lock = lock(lease, name)
        self.leading = False
        self.stopped = 0
        self.leaders: list[str] = []
        self.elector = LeaderElector(
            self.lock,
            Callbacks(on_started_leading=self._lead, on_stopped_leading=self._stop, on_new_leader=self.leaders.append),
            name=name,
            clock=clock,
            rng=random.Random(1),
            **options,
        )
        self.task = asyncio.create_task(self.elector.run())

    async def _lead(self) -> None:
        self.leading = True
        try:
            await asyncio.Event().wait()
        finally:
            self.leading = False

    def _stop(self) -> None:
        self.stopped += 1

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    @property
    def gauge(self) -> float | None:
        return REGISTRY.get_sample_value("leader_election_master_status", {"name": self.lock.identity})


class Race:
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.lease = FakeLease()
        self.candidates: list[Candidate] = []

    async def join(self, name: str, clock: FakeClock | None = None, **options: Any) -> Candidate:
        candidate = Candidate(self.lease, name, clock or self.clock, **options)
        self.candidates.append(candidate)
        await settle()
        return candidate


@pytest.fixture
async def race(clock: FakeClock) -> AsyncIterator[Race]:
    made = Race(clock)
    yield made
    for candidate in made.candidates:
        await candidate.cancel()


@pytest.mark.spec("runtime-95")
@pytest.mark.parametrize(
    ("lease_duration", "renew_deadline", "retry_period", "why"),
    [
        (10, 10, 2, "longer than the renew deadline"),
        (15, 2.4, 2, "longer than 1.2"),
        (15, 10, 0, "positive"),
        (15, 0, 2, "positive"),
        (0, -1, 2, "positive"),
    ],
)
def test_durations_that_cannot_work_are_refused(
    lease_duration: float, renew_deadline: float, retry_period: float, why: str
) -> None:
    async def lead() -> None: ...

    with pytest.raises(ElectionMisconfigured, match=why):
        LeaderElector(
            FakeLock(FakeLease(), "a"),
            Callbacks(on_started_leading=lead),
            lease_duration=lease_duration,
            renew_deadline=renew_deadline,
            retry_period=retry_period,
        )
    with pytest.raises(ElectionMisconfigured, match="no identity"):
        LeaderElector(FakeLock(FakeLease(), ""), Callbacks(on_started_leading=lead))


@pytest.mark.spec("runtime-96")
async def test_the_first_leads_and_the_second_takes_over_after_the_silence_that_it_saw(
    race: Race, clock: FakeClock
) -> None:
    first = await race.join("a")
    assert first.leading
    assert race.lease.writes == ["a"]
    second = await race.join("b")
    clock.set_wall_clock(3600)  # nobody decides by the wall clock
    await clock.advance(100)
    assert first.leading
    assert not second.leading
    last_renewal = clock.monotonic()
    first.task.cancel()  # as if killed: nothing is released
    await clock.advance(14)
    assert not second.leading
    await clock.advance(6)
    assert second.leading
    assert clock.monotonic() - last_renewal <= 15 + 2 * 2.2 + 2
    assert race.lease.record is not None
    assert race.lease.record.leader_transitions == 1


async def test_a_candidate_waits_as_long_as_the_holder_has_promised(race: Race, clock: FakeClock) -> None:
    old = await race.join("old", lease_duration=60.0, renew_deadline=40.0)
    new = await race.join("new", lease_duration=15.0, renew_deadline=10.0)
    assert race.lease.record is not None
    assert race.lease.record.lease_duration_seconds == 60
    await old.cancel()  # without a release, as a process that is killed
    await clock.advance(59)
    assert not new.leading
    await clock.advance(6)
    assert new.leading
    assert race.lease.record.lease_duration_seconds == 15


async def test_a_fraction_of_a_second_is_promised_whole(race: Race) -> None:
    await race.join("a", lease_duration=1.5, renew_deadline=1.2, retry_period=0.5)
    assert race.lease.record is not None
    assert race.lease.record.lease_duration_seconds == 2


@pytest.mark.spec("runtime-97")
async def test_a_leader_renews_with_one_request(race: Race, clock: FakeClock) -> None:
    leader = await race.join("a")
    leader.lock.requests.clear()
    await clock.advance(2)
    assert leader.lock.requests == ["update"]
    race.lease.version += 1  # somebody else wrote, say a label
    leader.lock.requests.clear()
    before = REGISTRY.get_sample_value("leader_election_slowpath_total", {"name": "a"}) or 0
    await clock.advance(2)
    assert leader.lock.requests == ["update", "get", "update"]
    assert leader.leading
    assert REGISTRY.get_sample_value("leader_election_slowpath_total", {"name": "a"}) == before + 1


@pytest.mark.spec("runtime-98")
async def test_short_trouble_is_survived(race: Race, clock: FakeClock) -> None:
    leader = await race.join("a")
    leader.lock.error = ConnectionFailed("refused")
    await clock.advance(9)
    leader.lock.error = None
    await clock.advance(10)
    assert leader.leading
    assert leader.gauge == 1


@pytest.mark.spec("runtime-98")
async def test_long_trouble_ends_leadership(race: Race, clock: FakeClock) -> None:
    leader = await race.join("a")
    leader.lock.error = ServiceUnavailable("etcd is gone")
    await clock.advance(12.5)
    assert not leader.leading
    assert leader.task.done()
    assert leader.stopped == 1
    assert leader.gauge == 0
    assert leader.lock.events == ["a became leader", "a stopped leading"]


@pytest.mark.spec("runtime-99")
async def test_a_released_lease_is_free_at_once(race: Race, clock: FakeClock) -> None:
    first = await race.join("a", release_on_cancel=True)
    second = await race.join("b")
    await first.cancel()
    assert race.lease.record is not None
    assert race.lease.record.holder_identity == ""
    assert race.lease.record.lease_duration_seconds == 1
    await clock.advance(4.4)
    assert second.leading


@pytest.mark.spec("runtime-99")
async def test_a_release_that_meets_a_renewal_tries_again(race: Race) -> None:
    leader = await race.join("a", release_on_cancel=True)
    conflicts = iter([Conflict("a renewal arrived"), None])
    original = leader.lock.update

    async def update(record: LeaderElectionRecord) -> None:
        error = next(conflicts, None)
        if error is not None:
            raise error
        await original(record)

    leader.lock.update = update  # type: ignore[method-assign]
    await leader.cancel()
    assert race.lease.record is not None
    assert race.lease.record.holder_identity == ""


@pytest.mark.spec("runtime-99")
async def test_without_release_the_lease_stays(race: Race) -> None:
    leader = await race.join("a")
    await leader.cancel()
    assert race.lease.record is not None
    assert race.lease.record.holder_identity == "a"


@pytest.mark.spec("runtime-100")
async def test_after_a_standstill_nothing_leaves_the_process(race: Race, clock: FakeClock) -> None:
    leader = await race.join("a", release_on_cancel=True)
    leader.elector.fence()
    clock.jump(20)  # the process was stopped
    with pytest.raises(LeadershipLost):
        leader.elector.fence()
    leader.lock.requests.clear()
    await clock.advance(0)
    assert leader.lock.requests in ([], ["get"])
    assert "update" not in leader.lock.requests
    await clock.advance(20)
    assert leader.task.done()
    assert race.lease.writes == ["a"]


@pytest.mark.spec("runtime-100")
async def test_a_fenced_client_sends_no_write(race: Race, clock: FakeClock) -> None:
    leader = await race.join("a")
    client = (
        ClientBuilder().with_rest_mapping(RESTMapping(GroupVersionKind("", "v1", "Secret"), "secrets", True)).build()
    )

    Secret = Unstructured.of("v1", "Secret")
    fenced = ApiClient(client.rest, client.scheme, client.rest_mapper, fence=leader.elector.fence)
    await fenced.create(Secret({"metadata": {"namespace": "ns", "name": "before"}}))
    clock.jump(11)
    with pytest.raises(LeadershipLost):
        await fenced.create(Secret({"metadata": {"namespace": "ns", "name": "after"}}))
    assert [secret.metadata.name for secret in await fenced.list(Secret)] == ["before"]


@pytest.mark.spec("runtime-101")
async def test_each_change_of_leader_is_told_once(race: Race, clock: FakeClock) -> None:
    first = await race.join("a", release_on_cancel=True)
    second = await race.join("b")
    await clock.advance(10)
    await first.cancel()
    await clock.advance(10)
    assert first.leaders == ["a"]
    assert [leader for leader in second.leaders if leader] == ["a", "b"]


async def test_a_candidate_waits_out_an_absent_server(race: Race, clock: FakeClock) -> None:
    leader = Candidate(race.lease, "a", clock)
    race.candidates.append(leader)
    leader.lock.error = ConnectionFailed("refused")
    await clock.advance(300)
    assert not leader.task.done()
    await HealthzAdaptor(leader.elector).check()
    leader.lock.error = None
    await clock.advance(5)
    assert leader.leading


async def test_a_stuck_leader_is_unhealthy(race: Race, clock: FakeClock) -> None:
    leader = await race.join("a")
    check = HealthzAdaptor(leader.elector).check
    clock.jump(34)
    await check()
    clock.jump(2)
    with pytest.raises(ElectionError, match="failed election"):
        await check()


@pytest.fixture
def namespace_file(tmp_path: Path) -> Path:
    file = tmp_path / "namespace"
    file.write_text("operators\n")
    return file


async def test_a_lease_is_made_of_the_options(namespace_file: Path) -> None:
    client = (
        ClientBuilder()
        .with_rest_mapping(RESTMapping(GroupVersionKind("coordination.k8s.io", "v1", "Lease"), "leases", True))
        .build()
    )
    lock = new_resource_lock(client, lock_id="id", labels={"team": "a"}, namespace_file=namespace_file)
    await lock.create(LeaderElectionRecord(lock.identity, 15, leader_transitions=2))
    record, raw = await lock.get()
    assert (record.holder_identity, record.lease_duration_seconds, record.leader_transitions) == (lock.identity, 15, 2)
    stored = await client.get(Lease, ObjectKey("operators", "id"))
    stored.metadata.labels = {"theirs": "kept", "team": "b"}
    await client.update(stored)
    await lock.get()
    await lock.update(record)
    stored = await client.get(Lease, ObjectKey("operators", "id"))
    assert stored.metadata.labels == {"theirs": "kept", "team": "a"}
    assert "_" in lock.identity
    assert raw


def test_what_a_lock_needs_is_said(tmp_path: Path) -> None:
    client: Any = None
    with pytest.raises(ElectionMisconfigured, match="leader_election_id"):
        new_resource_lock(client, lock_id="")
    with pytest.raises(ElectionMisconfigured, match="leases"):
        new_resource_lock(client, lock_id="id", namespace="ns", resource_lock="configmaps")
    with pytest.raises(ElectionMisconfigured, match="leader_election_namespace"):
        in_cluster_namespace(tmp_path / "absent")
    assert request_timeout(10) == 5
    assert request_timeout(1.5) == 1


class WatchedLock(FakeLock):
    """Tells at once that the lease was given up."""

    def __init__(self, lease: FakeLease, identity: str) -> None:
        super().__init__(lease, identity)
        self.free: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def released(self) -> bool:
        return await asyncio.shield(self.free)


async def test_a_candidate_takes_a_lock_that_is_given_up_without_waiting_for_its_next_try(race: Race) -> None:
    first = await race.join("a", release_on_cancel=True)
    second = await race.join("b", lock=WatchedLock)
    assert not second.leading
    await first.cancel()
    await settle()
    assert not second.leading, "time stands still, and nobody told"
    assert isinstance(second.lock, WatchedLock)
    second.lock.free.set_result(True)
    await settle()
    assert second.leading


async def test_a_candidate_whose_watch_ends_tries_as_often_as_one_without(race: Race, clock: FakeClock) -> None:
    first = await race.join("a", release_on_cancel=True)
    second = await race.join("b", lock=WatchedLock)
    assert isinstance(second.lock, WatchedLock)
    second.lock.free.set_result(False)
    await settle()
    tries = len(second.lock.requests)
    await clock.advance(1.9)
    assert len(second.lock.requests) == tries
    await first.cancel()
    await clock.advance(5)
    assert second.leading


async def test_a_lease_tells_that_it_is_released_and_not_that_it_is_renewed(tmp_path: Path) -> None:
    mapping = RESTMapping(GroupVersionKind("coordination.k8s.io", "v1", "Lease"), "leases", True)
    client = ClientBuilder().with_rest_mapping(mapping).build()
    leader, candidate = (LeaseLock(client, ObjectKey("ns", "id"), identity) for identity in "ab")
    assert await candidate.released() is False, "nothing was read yet"
    held = LeaderElectionRecord(holder_identity="a", lease_duration_seconds=15)
    await leader.create(held)
    await candidate.get()
    waiting = asyncio.create_task(candidate.released())
    await settle()
    await leader.update(held)
    await settle()
    assert not waiting.done()
    await leader.update(LeaderElectionRecord())
    assert await asyncio.wait_for(waiting, 60) is True
