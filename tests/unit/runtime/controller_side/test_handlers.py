"""Handlers, predicates and the builder (spec runtime 6.5, 6.8)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from bobrapet.runtime.builder import BuilderError, controller_managed_by
from bobrapet.runtime.client.apiutil import RESTMapping, StaticRESTMapper
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.config import Controller as Defaults
from bobrapet.runtime.controller.controller import Options
from bobrapet.runtime.controller.name import forget_names
from bobrapet.runtime.controller.priorityqueue import AddOpts, PriorityQueue
from bobrapet.runtime.event import CreateEvent, DeleteEvent, GenericEvent, UpdateEvent
from bobrapet.runtime.handler import (
    LOW_PRIORITY,
    EnqueueRequestForObject,
    Funcs,
    enqueue_request_for_owner,
    enqueue_requests_from_map_func,
)
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.predicate import (
    AnnotationChanged,
    GenerationChanged,
    LabelChanged,
    ResourceVersionChanged,
    and_,
    label_selector_predicate,
    new_predicate_funcs,
    not_,
    or_,
)
from bobrapet.runtime.predicate import Funcs as PredicateFuncs
from bobrapet.runtime.reconcile import Func, Request
from bobrapet.runtime.scheme import GroupVersionKind, Scheme
from bobrapet.runtime.toolscache.record import RecordDecoder
from tests.unit.runtime.controller_side.fakes import WIDGET, line, widget

Widget = Unstructured.of(WIDGET)
Factory = Unstructured.of("example.org/v1", "Factory")
Galaxy = Unstructured.of("example.org/v1", "Galaxy")

MAPPER = StaticRESTMapper(
    RESTMapping(GroupVersionKind("example.org", "v1", "Factory"), "factories", True),
    RESTMapping(GroupVersionKind("example.org", "v1", "Galaxy"), "galaxies", False),
)


def obj(name: str = "w", rv: int = 1, **more: Any) -> Unstructured:
    return Widget(widget(name, rv, **more))


def owner(kind: str, name: str, *, version: str = "v1", controller: bool = True) -> dict[str, Any]:
    return {
        "apiVersion": f"example.org/{version}",
        "kind": kind,
        "name": name,
        "uid": f"uid-{name}",
        "controller": controller,
    }


@pytest.fixture
def queue(clock: FakeClock) -> PriorityQueue[Any]:
    return PriorityQueue(clock=clock)


async def drain(queue: PriorityQueue[Any]) -> list[tuple[str, int]]:
    drained: list[tuple[str, int]] = []
    while len(queue):
        request, priority, _ = await queue.get_with_priority()
        queue.done(request)
        drained.append((str(request), priority))
    return drained


async def test_the_object_itself_is_asked_for_the_new_one_on_an_update(queue: PriorityQueue[Any]) -> None:
    handler = EnqueueRequestForObject()
    await handler.create(CreateEvent(obj("a")), queue)
    await handler.update(UpdateEvent(obj("b"), obj("b", 2)), queue)
    await handler.update(UpdateEvent(obj("c"), None), queue)
    await handler.delete(DeleteEvent(obj("d")), queue)
    await handler.generic(GenericEvent(obj("e")), queue)
    assert await drain(queue) == [(f"ns/{name}", 0) for name in "abcde"]


@pytest.mark.spec("runtime-80")
async def test_owners_are_matched_by_group_and_kind(queue: PriorityQueue[Any]) -> None:
    handler = enqueue_request_for_owner(Scheme(), MAPPER, Factory)
    owners = [
        owner("Factory", "old", version="v1beta1"),
        owner("Factory", "second", controller=False),
        owner("Galaxy", "other"),
        {**owner("Factory", "foreign"), "apiVersion": "other.org/v1"},
    ]
    await handler.create(CreateEvent(obj(ownerReferences=owners)), queue)
    assert await drain(queue) == [("ns/old", 0), ("ns/second", 0)]


@pytest.mark.spec("runtime-80")
async def test_only_the_controlling_owner_when_asked(queue: PriorityQueue[Any]) -> None:
    handler = enqueue_request_for_owner(Scheme(), MAPPER, Factory, only_controller_owner=True)
    owners = [owner("Factory", "a", controller=False), owner("Factory", "b")]
    await handler.create(CreateEvent(obj(ownerReferences=owners)), queue)
    assert await drain(queue) == [("ns/b", 0)]


@pytest.mark.spec("runtime-80")
async def test_an_owner_without_namespace_is_asked_for_without_one(queue: PriorityQueue[Any]) -> None:
    handler = enqueue_request_for_owner(Scheme(), MAPPER, Galaxy)
    await handler.create(CreateEvent(obj(ownerReferences=[owner("Galaxy", "milky-way")])), queue)
    assert await drain(queue) == [("milky-way", 0)]


@pytest.mark.spec("runtime-80")
async def test_a_change_of_owners_wakes_both_once(queue: PriorityQueue[Any]) -> None:
    handler = enqueue_request_for_owner(Scheme(), MAPPER, Factory)
    old = obj(ownerReferences=[owner("Factory", "a"), owner("Factory", "both")])
    new = obj(rv=2, ownerReferences=[owner("Factory", "b"), owner("Factory", "both")])
    await handler.update(UpdateEvent(old, new), queue)
    assert sorted(await drain(queue)) == [("ns/a", 0), ("ns/b", 0), ("ns/both", 0)]


@pytest.mark.spec("runtime-81")
async def test_mapped_requests_are_added_once(queue: PriorityQueue[Any]) -> None:
    def to_requests(mapped: Unstructured) -> list[Request]:
        return [Request("ns", "x"), Request("ns", "x"), Request("ns", mapped.metadata.resource_version)]

    handler = enqueue_requests_from_map_func(to_requests)
    await handler.update(UpdateEvent(obj(rv=1), obj(rv=2)), queue)
    assert await drain(queue) == [("ns/x", 0), ("ns/1", 0), ("ns/2", 0)]

    async def later(mapped: Unstructured) -> list[Request]:
        return [Request("ns", "later")]

    await enqueue_requests_from_map_func(later).delete(DeleteEvent(obj()), queue)
    assert await drain(queue) == [("ns/later", 0)]


async def keep(event: Any, queue: Any) -> None:
    queue.add("kept")


HANDLERS = [
    EnqueueRequestForObject(),
    enqueue_request_for_owner(Scheme(), MAPPER, Factory),
    enqueue_requests_from_map_func(lambda mapped: [Request("ns", "m")]),
    Funcs(create=keep, update=keep, delete=keep, generic=keep),
]


@pytest.mark.spec("runtime-82")
@pytest.mark.parametrize("handler", HANDLERS, ids=["object", "owner", "mapped", "funcs"])
async def test_only_initial_creates_and_resyncs_may_wait(handler: Any, queue: PriorityQueue[Any]) -> None:
    owned = {"ownerReferences": [owner("Factory", "f")]}

    async def priority_of(what: Any) -> int:
        await what
        ((_, priority),) = await drain(queue)
        return priority

    assert await priority_of(handler.create(CreateEvent(obj(**owned), is_in_initial_list=True), queue)) == LOW_PRIORITY
    assert await priority_of(handler.create(CreateEvent(obj(**owned)), queue)) == 0
    assert await priority_of(handler.update(UpdateEvent(obj(**owned), obj(**owned)), queue)) == LOW_PRIORITY
    assert await priority_of(handler.update(UpdateEvent(obj(**owned), obj(rv=2, **owned)), queue)) == 0
    assert await priority_of(handler.update(UpdateEvent(None, obj(**owned)), queue)) == 0
    assert await priority_of(handler.delete(DeleteEvent(obj(**owned)), queue)) == 0
    assert await priority_of(handler.generic(GenericEvent(obj(**owned)), queue)) == 0


@pytest.mark.spec("runtime-82")
async def test_an_explicit_priority_of_a_user_wins(queue: PriorityQueue[Any]) -> None:
    async def urgent(event: Any, given: Any) -> None:
        given.add_with_opts(AddOpts(priority=50), "urgent")
        given.add_after("later", 0)

    await Funcs(create=urgent).create(CreateEvent(obj(), is_in_initial_list=True), queue)
    assert await drain(queue) == [("urgent", 50), ("later", LOW_PRIORITY)]


def changed(**more: Any) -> UpdateEvent[Any]:
    old = {"generation": 1, "labels": {"a": "1"}, "annotations": {"a": "1"}}
    return UpdateEvent(obj(**old), obj(rv=2, **{**old, **more}))


RESYNC: UpdateEvent[Any] = UpdateEvent(obj(generation=1), obj(generation=1))


@pytest.mark.spec("runtime-83")
def test_the_change_predicates_judge_updates_only() -> None:
    assert not GenerationChanged().update(changed(status={"phase": "Running"}))
    assert not GenerationChanged().update(RESYNC)
    assert GenerationChanged().update(changed(generation=2))
    assert not ResourceVersionChanged().update(RESYNC)
    assert ResourceVersionChanged().update(changed())
    assert LabelChanged().update(changed(labels={"a": "2"}))
    assert not LabelChanged().update(changed())
    assert AnnotationChanged().update(changed(annotations={}))
    assert not AnnotationChanged().update(changed(labels={}))
    for predicate in (GenerationChanged(), ResourceVersionChanged(), LabelChanged(), AnnotationChanged()):
        assert predicate.create(CreateEvent(obj()))
        assert predicate.delete(DeleteEvent(obj()))
        assert predicate.generic(GenericEvent(obj()))
        assert not predicate.update(UpdateEvent(None, obj()))
        assert not predicate.update(UpdateEvent(obj(), None))


def test_predicates_read_cached_objects_without_decoding_them() -> None:
    decode = RecordDecoder(WIDGET).decode
    old, new = (
        decode(line("ADDED", widget("w", rv, generation=1, annotations={"a": str(rv)}))[25:-1]) for rv in (1, 2)
    )
    event: UpdateEvent[Any] = UpdateEvent(old, new, cls=Widget)
    assert not GenerationChanged().update(event)
    assert AnnotationChanged().update(event)
    assert event.object_new is event.object_new
    assert event.object_new is not None
    assert event.object_new.metadata.resource_version == "2"


@pytest.mark.spec("runtime-83")
@pytest.mark.parametrize("verb", ["create", "update", "delete", "generic"])
def test_predicates_combine_like_truth_values(verb: str) -> None:
    events: dict[str, Any] = {
        "create": CreateEvent(obj()),
        "update": RESYNC,
        "delete": DeleteEvent(obj()),
        "generic": GenericEvent(obj()),
    }

    def constant(value: bool) -> Any:
        return PredicateFuncs(**{verb: lambda event: value})

    def ask(predicate: Any) -> bool:
        answer: bool = getattr(predicate, verb)(events[verb])
        return answer

    for left, right in itertools.product((True, False), repeat=2):
        assert ask(and_(constant(left), constant(right))) is (left and right)
        assert ask(or_(constant(left), constant(right))) is (left or right)
    for value in (True, False):
        assert ask(not_(constant(value))) is (not value)
    assert ask(PredicateFuncs())


def test_a_refusal_ends_the_questions() -> None:
    def never(event: Any) -> bool:
        raise AssertionError("not asked")

    assert not and_(PredicateFuncs(create=lambda event: False), PredicateFuncs(create=never)).create(CreateEvent(obj()))
    assert or_(PredicateFuncs(create=lambda event: True), PredicateFuncs(create=never)).create(CreateEvent(obj()))


@pytest.mark.spec("runtime-84")
def test_an_update_that_takes_the_label_away_is_not_seen() -> None:
    predicate = label_selector_predicate("app=web")
    has, lost = obj(labels={"app": "web"}), obj(rv=2)
    assert predicate.create(CreateEvent(has))
    assert not predicate.create(CreateEvent(lost))
    assert predicate.update(UpdateEvent(lost, has))
    assert not predicate.update(UpdateEvent(has, lost))
    assert new_predicate_funcs(lambda kept: kept.metadata.name == "w").update(UpdateEvent(None, has))


class Manager:
    """As much of a manager as a builder looks at."""

    def __init__(self, clock: FakeClock, **defaults: Any) -> None:
        self.clock = clock
        self.scheme = Scheme()
        self.rest_mapper = MAPPER
        self.logger = get_logger("test")
        self.added: list[Any] = []
        self._defaults = Defaults(**defaults)

    def get_controller_options(self) -> Defaults:
        return self._defaults

    def get_cache(self) -> Any:
        return object()

    def add(self, runnable: Any) -> None:
        self.added.append(runnable)


async def nothing(request: Request) -> None:
    return None


@pytest.fixture
def manager(clock: FakeClock) -> Any:
    forget_names()
    return Manager(clock)


@pytest.mark.spec("runtime-85")
async def test_a_builder_tells_what_is_missing(manager: Any) -> None:
    reconciler = Func(nothing)
    handler = EnqueueRequestForObject()
    with pytest.raises(BuilderError, match="once only"):
        controller_managed_by(manager).for_(Widget).for_(Factory)
    with pytest.raises(BuilderError, match=r"owns\(\) needs for_"):
        await controller_managed_by(manager).owns(Widget).complete(reconciler)
    with pytest.raises(BuilderError, match="nothing is watched"):
        await controller_managed_by(manager).named("x").complete(reconciler)
    with pytest.raises(BuilderError, match=r"call named\(\)"):
        await controller_managed_by(manager).watches(Widget, handler).complete(reconciler)
    doubled = controller_managed_by(manager).for_(Widget).with_options(Options(reconciler=reconciler))
    with pytest.raises(BuilderError, match="must not carry one"):
        await doubled.complete(reconciler)
    none: Any = None
    with pytest.raises(BuilderError, match="needs a reconciler"):
        await controller_managed_by(manager).for_(Widget).complete(none)


@pytest.mark.spec("runtime-85")
async def test_a_builder_names_the_controller_and_takes_the_workers_of_its_kind(clock: FakeClock) -> None:
    forget_names()
    workers = {"Widget.example.org": 7, "Pod": 3}
    manager: Any = Manager(clock, group_kind_concurrency=workers, max_concurrent_reconciles=2)
    built = await controller_managed_by(manager).for_(Widget).build(Func(nothing))
    assert (built.name, built.max_concurrent_reconciles) == ("widget", 7)
    pods = await controller_managed_by(manager).for_(Unstructured.of("v1", "Pod")).build(Func(nothing))
    assert (pods.name, pods.max_concurrent_reconciles) == ("pod", 3)
    others = await controller_managed_by(manager).for_(Factory).named("works").build(Func(nothing))
    assert (others.name, others.max_concurrent_reconciles) == ("works", 2)
    explicit = controller_managed_by(manager).for_(Widget).named("x").with_options(Options(max_concurrent_reconciles=1))
    last = await explicit.build(Func(nothing))
    assert last.max_concurrent_reconciles == 1
    assert manager.added == [built, pods, others, last]
