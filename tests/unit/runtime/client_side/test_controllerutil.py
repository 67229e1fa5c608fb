"""Owner references, finalizers, create-or-update (spec runtime section 8)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.runtime.client.fake import ClientBuilder, FakeClient
from bobrapet.runtime.client.interceptor import Funcs, Interceptor
from bobrapet.runtime.client.object import ObjectKey, Unstructured, deep_copy, metadata_dict, to_dict
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.controller.controllerutil import (
    AlreadyOwned,
    InvalidOwner,
    NotOwned,
    OperationResult,
    add_finalizer,
    contains_finalizer,
    create_or_patch,
    create_or_update,
    has_controller_reference,
    has_owner_reference,
    remove_controller_reference,
    remove_finalizer,
    remove_owner_reference,
    semantic_equal,
    set_controller_reference,
    set_owner_reference,
)
from bobrapet.runtime.controller.controllerutil.controllerutil import UpdateLoops
from bobrapet.runtime.errors import ClientError
from bobrapet.runtime.scheme import Scheme
from tests.unit.runtime.client_side.models import (
    AnyWidget,
    ConfigMap,
    Job,
    Meta,
    Planet,
    Pod,
    Widget,
    WidgetSpec,
    WidgetStatus,
    config_map,
    widget,
)

SCHEME = Scheme()
SCHEME.add_known_types(Widget, Planet)


def owner(name: str = "o", uid: str = "u1", namespace: str = "default") -> Widget:
    return Widget(metadata=Meta(name=name, namespace=namespace, uid=uid))


def children() -> list[Any]:
    return [config_map(), widget("child")]


def references(obj: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = metadata_dict(obj).get("ownerReferences", [])
    return found


# Owner references


@pytest.mark.spec("runtime-92")
@pytest.mark.parametrize("child", children(), ids=["unstructured", "typed"])
def test_the_controller_reference_of_any_projection(child: Any) -> None:
    set_controller_reference(owner(), child, SCHEME)
    assert references(child) == [
        {
            "apiVersion": "test.example.com/v1",
            "kind": "Widget",
            "name": "o",
            "uid": "u1",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert has_controller_reference(child)
    assert has_owner_reference(owner(), child, SCHEME)


@pytest.mark.spec("runtime-92")
def test_a_second_controller_is_refused() -> None:
    child = config_map()
    set_controller_reference(owner(), child, SCHEME)
    with pytest.raises(AlreadyOwned, match="ConfigMap default/c is controlled by Widget o already") as raised:
        set_controller_reference(owner("other", "u2"), child, SCHEME)
    assert raised.value.owner["name"] == "o"
    set_owner_reference(owner("other", "u2"), child, SCHEME)
    assert [entry["name"] for entry in references(child)] == ["o", "other"]


@pytest.mark.spec("runtime-92")
def test_the_same_owner_with_a_new_uid_or_version_replaces_its_entry() -> None:
    child = config_map()
    set_controller_reference(owner(uid="old"), child, SCHEME)
    set_controller_reference(owner(uid="new"), child, SCHEME, block_owner_deletion=False)
    newer = Unstructured(
        {
            "apiVersion": "test.example.com/v2",
            "kind": "Widget",
            "metadata": {"name": "o", "namespace": "default", "uid": "new"},
        }
    )
    set_controller_reference(newer, child, SCHEME)
    assert [(entry["uid"], entry["apiVersion"]) for entry in references(child)] == [("new", "test.example.com/v2")]


@pytest.mark.spec("runtime-92")
def test_an_owner_in_another_namespace_or_of_a_cluster_object_is_refused() -> None:
    elsewhere, planet = config_map("c", "elsewhere"), Planet(metadata=Meta(name="earth"))
    for make in (set_controller_reference, set_owner_reference):
        with pytest.raises(InvalidOwner, match="in namespace 'elsewhere'"):
            make(owner(), elsewhere, SCHEME)
        with pytest.raises(InvalidOwner, match="cluster-scoped"):
            make(owner(), planet, SCHEME)
    assert references(elsewhere) == references(planet) == []


def test_a_cluster_owner_may_own_anything() -> None:
    earth = Planet(metadata=Meta(name="earth", uid="u"))
    for child in (config_map(), Planet(metadata=Meta(name="moon"))):
        set_controller_reference(earth, child, SCHEME)
        assert has_controller_reference(child)


def test_owner_references_can_be_removed_by_their_owner_only() -> None:
    child = config_map()
    set_owner_reference(owner("a", "u1"), child, SCHEME)
    set_controller_reference(owner("b", "u2"), child, SCHEME)
    with pytest.raises(NotOwned):
        remove_owner_reference(owner("c"), child, SCHEME)
    with pytest.raises(NotOwned, match="not controlled by Widget a"):
        remove_controller_reference(owner("a"), child, SCHEME)
    remove_controller_reference(owner("b"), child, SCHEME)
    remove_owner_reference(owner("a"), child, SCHEME)
    assert references(child) == []
    assert not has_controller_reference(child)
    assert not has_owner_reference(owner("a"), child, SCHEME)


# Finalizers


@pytest.mark.parametrize("obj", children(), ids=["unstructured", "typed"])
def test_finalizers_say_whether_they_changed_anything(obj: Any) -> None:
    assert not remove_finalizer(obj, "a")
    assert add_finalizer(obj, "a")
    assert not add_finalizer(obj, "a")
    assert add_finalizer(obj, "b")
    assert contains_finalizer(obj, "a")
    assert remove_finalizer(obj, "a")
    assert obj.metadata.finalizers == ["b"]


def test_removing_a_finalizer_drops_all_of_its_duplicates() -> None:
    obj = ConfigMap({"metadata": {"finalizers": ["a", "b", "a"]}})
    assert remove_finalizer(obj, "a")
    assert obj.metadata.finalizers == ["b"]


# Create or update


@pytest.fixture
def client() -> FakeClient:
    return ClientBuilder().with_types(Widget, Planet).build()


def recorded(client: FakeClient) -> tuple[Interceptor, list[str]]:
    """The client, and the writes that go through it."""
    writes: list[str] = []

    def note(verb: str, name: str) -> Any:
        async def call(inner: Any, *arguments: Any, **options: Any) -> Any:
            writes.append(name)
            target = inner.sub_resource(arguments[0]) if name.startswith("status") else inner
            return await getattr(target, verb)(*arguments[1 if name.startswith("status") else 0 :], **options)

        return call

    funcs = Funcs(
        create=note("create", "create"),
        update=note("update", "update"),
        patch=note("patch", "patch"),
        sub_resource_patch=note("patch", "status patch"),
    )
    return Interceptor(client, funcs), writes


def size(value: int) -> Callable[[Widget], None]:
    def mutate(obj: Widget) -> None:
        obj.spec = WidgetSpec(size=value)

    return mutate


@pytest.mark.spec("runtime-93")
async def test_create_or_update_creates_leaves_and_updates(client: FakeClient) -> None:
    intercepted, writes = recorded(client)
    given = widget()
    before = to_dict(given)
    stored, result = await create_or_update(intercepted, given, size(1))
    assert (result, stored.metadata.resource_version) == (OperationResult.CREATED, "1")
    _, result = await create_or_update(intercepted, given, size(1))
    assert result == OperationResult.NONE == "unchanged"
    stored, result = await create_or_update(intercepted, given, size(2))
    assert (result, stored.spec) == (OperationResult.UPDATED, WidgetSpec(size=2))
    assert to_dict(given) == before, "the argument was changed"
    assert writes == ["create", "update"]


@pytest.mark.spec("runtime-93")
@pytest.mark.parametrize("operation", [create_or_update, create_or_patch])
@pytest.mark.parametrize("there", [False, True])
async def test_mutate_may_not_rename(client: FakeClient, operation: Any, there: bool) -> None:
    if there:
        await client.create(config_map())

    def rename(obj: Unstructured) -> None:
        obj.metadata.name = "other"

    def move(obj: Unstructured) -> None:
        obj.metadata.namespace = "other"

    for mutate in (rename, move):
        with pytest.raises(ClientError, match="changed the name"):
            await operation(client, config_map(), mutate)


@pytest.mark.spec("runtime-93")
async def test_an_equal_quantity_is_no_change(client: FakeClient) -> None:
    pod = Pod({"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [
        {"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}})  # fmt: skip
    await client.create(pod)
    intercepted, writes = recorded(client)

    def mutate(obj: Unstructured) -> None:
        obj.object["spec"]["containers"][0]["resources"] = {
            "requests": {"cpu": "1000m", "memory": "1024Mi"},
            "limits": {},
        }

    for operation in (create_or_update, create_or_patch):
        _, result = await operation(intercepted, pod, mutate)
        assert result == OperationResult.NONE
    assert writes == []


@pytest.mark.spec("runtime-93")
async def test_create_or_patch_has_five_results(client: FakeClient) -> None:
    intercepted, writes = recorded(client)

    def wanted(spec_size: int, phase: str | None) -> Callable[[Widget], None]:
        def mutate(obj: Widget) -> None:
            obj.spec = WidgetSpec(size=spec_size)
            if phase is not None:
                obj.status = WidgetStatus(phase=phase)

        return mutate

    async def run(spec_size: int, phase: str | None) -> tuple[OperationResult, Any, list[str]]:
        writes.clear()
        stored, result = await create_or_patch(intercepted, widget(), wanted(spec_size, phase))
        return result, (stored.spec and stored.spec.size, stored.status and stored.status.phase), list(writes)

    assert await run(1, "A") == (OperationResult.CREATED, (1, None), ["create"])
    assert await run(1, "A") == (OperationResult.UPDATED_STATUS_ONLY, (1, "A"), ["status patch"])
    assert await run(1, "A") == (OperationResult.NONE, (1, "A"), [])
    assert await run(2, None) == (OperationResult.UPDATED, (2, "A"), ["patch"])
    assert await run(3, "B") == (OperationResult.UPDATED_STATUS, (3, "B"), ["patch", "status patch"])
    assert set(OperationResult) == {"unchanged", "created", "updated", "updatedStatus", "updatedStatusOnly"}


@pytest.mark.spec("runtime-93")
async def test_a_status_that_goes_is_removed(client: FakeClient) -> None:
    stored = await client.create(widget())
    await client.status().update(stored.model_copy(update={"status": WidgetStatus(phase="A", ready=1)}))

    def mutate(obj: Unstructured) -> None:
        obj.object["status"] = {"phase": "B"}

    stored_any, result = await create_or_patch(client, AnyWidget(to_dict(widget())), mutate)
    assert result == OperationResult.UPDATED_STATUS_ONLY
    assert stored_any.object["status"] == {"phase": "B"}


async def test_a_patch_leaves_alone_what_others_changed_meanwhile(client: FakeClient) -> None:
    await client.create(config_map(a="1"))

    async def racing(inner: Any, obj: Any, patch: Any, **options: Any) -> Any:
        other = await inner.get(ConfigMap, ObjectKey("default", "c"))
        other.object["data"]["other"] = "x"
        await inner.update(other)
        return await inner.patch(obj, patch, **options)

    def mutate(obj: Unstructured) -> None:
        obj.object["data"]["a"] = "2"

    stored, _ = await create_or_patch(Interceptor(client, Funcs(patch=racing)), config_map(), mutate)
    assert stored.object["data"] == {"a": "2", "other": "x"}


async def test_an_endless_update_loop_is_noticed_while_debugging(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    loops = UpdateLoops(clock)
    before = {"metadata": {"name": "c", "namespace": "default"}, "data": {"defaulted": "x"}}
    after = ConfigMap({"metadata": {"name": "c", "namespace": "default"}})

    def note(times: int) -> bool:
        caplog.clear()
        for _ in range(times):
            loops.note(after, before)
        return any("same change" in record.getMessage() for record in caplog.records)

    with caplog.at_level(logging.DEBUG, "bobrapet.runtime.controller.controllerutil"):
        assert not note(9)
        assert note(1)
        assert not note(9)
        await clock.advance(61)
        assert not note(9)
    with caplog.at_level(logging.INFO, "bobrapet.runtime.controller.controllerutil"):
        assert not note(30)


# Semantic equality


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ({"a": None}, {}, True),
        ({"a": []}, {"a": {}}, True),
        ({"a": ""}, {}, False),
        ({"a": 0}, {}, False),
        ({"a": False}, {"a": 0}, False),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": [1]}, {"a": [1, 1]}, False),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "1000m"}}, True),
        ({"limits": {"cpu": 1}}, {"limits": {"cpu": "1"}}, True),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1G"}}, False),
        ({"limits": {"memory": "1e3"}}, {"limits": {"memory": "1k"}}, True),
        ({"limits": {"cpu": "x"}}, {"limits": {"cpu": "y"}}, False),
        ({"emptyDir": {"sizeLimit": "1Ki"}}, {"emptyDir": {"sizeLimit": "1024"}}, True),
        ({"data": {"cpu": "1"}}, {"data": {"cpu": "1000m"}}, False),
        ({"version": "1.0"}, {"version": "1.00"}, False),
        ({"t": "2026-01-01T00:00:00Z"}, {"t": "2026-01-01T01:00:00+01:00"}, True),
        ({"t": "2026-01-01T00:00:00Z"}, {"t": "2026-01-01T00:00:00.000Z"}, True),
        ({"t": "2026-01-01T00:00:00Z"}, {"t": "2026-01-01T00:00:01Z"}, False),
        ({"t": "2026-13-41T00:00:00Z"}, {"t": "2026-13-41T00:00:00z"}, False),
    ],
)
def test_semantic_equality(a: Any, b: Any, equal: bool) -> None:
    assert semantic_equal(a, b) is equal
    assert semantic_equal(b, a) is equal


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_everything_equals_itself_with_empty_fields_added(value: Any) -> None:
    assert semantic_equal(value, value)
    if isinstance(value, dict):
        assert semantic_equal(value, {**value, "added": [], "too": None, "map": {}})


def test_copies_of_both_projections_are_equal() -> None:
    for obj in (Job({"metadata": {"name": "j"}}), widget(parts=["a"])):
        assert semantic_equal(to_dict(obj), to_dict(deep_copy(obj)))
