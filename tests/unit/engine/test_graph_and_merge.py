"""Properties of graphs and merges."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bobrapet.engine.graph import Block, build
from bobrapet.engine.merge import deep_merge, merge_patch
from tests.unit.engine.world import World, merged, step, story

scalars = st.one_of(st.booleans(), st.integers(), st.text(max_size=4))
json = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=3), json, max_size=5)


@given(objects, objects)
def test_a_patch_makes_the_new_document_out_of_the_old(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert merged(old, merge_patch(old, new)) == new


@given(objects)
def test_the_patch_between_equal_documents_is_empty(document: dict[str, Any]) -> None:
    assert merge_patch(document, document) == {}


@given(objects, objects, objects)
def test_merging_configuration_is_associative_and_keeps_what_is_on_top(
    low: dict[str, Any], middle: dict[str, Any], high: dict[str, Any]
) -> None:
    assert deep_merge(low, {}) == low
    assert deep_merge({}, high) == high
    for key, value in high.items():
        if not isinstance(value, dict):
            assert deep_merge(low, high)[key] == value
    if not any(isinstance(value, dict) for layer in (low, middle, high) for value in layer.values()):
        assert deep_merge(deep_merge(low, middle), high) == deep_merge(low, deep_merge(middle, high))


@st.composite
def graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
    size = draw(st.integers(1, 12))
    edges = draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=24))
    needs: dict[int, set[int]] = {}
    for a, b in edges:
        needs.setdefault(a, set()).add(b)
    return [step(f"s{index}", needs=[f"s{need}" for need in sorted(needs.get(index, ()))]) for index in range(size)]


def has_cycle(steps: list[dict[str, Any]]) -> bool:
    """Whether steps need each other, found the slow way: by taking away what needs nothing."""
    open_ = {entry["name"]: set(entry["needs"]) for entry in steps}
    while free := [name for name, needs in open_.items() if not needs & set(open_)]:
        for name in free:
            del open_[name]
    return bool(open_)


@given(graphs())
def test_every_step_comes_after_what_it_needs_or_the_circle_is_named(steps: list[dict[str, Any]]) -> None:
    graph = build(story(*steps))
    position = {name: index for index, name in enumerate(graph.order)}
    for name in graph.order:
        assert all(position[need] < position[name] for need in graph.nodes[name].dependencies)
    assert bool(graph.problems) == has_cycle(steps)
    assert (len(graph.order) == len(steps)) == (not graph.problems)


@given(graphs())
def test_downstream_is_exactly_what_reaches_the_step(steps: list[dict[str, Any]]) -> None:
    graph = build(story(*steps))
    for start in graph.nodes:
        reached = {start}
        while more := {
            name for name, node in graph.nodes.items() if name not in reached and reached & set(node.dependencies)
        }:
            reached |= more
        assert graph.downstream(start) == reached


def test_blocks_run_in_their_order_and_dependencies_are_in_declaration_order() -> None:
    graph = build(story("b", "a", "c: needs a, b", compensations=["k: needs c"], finally_=["f: needs k, a"]))
    assert graph.nodes["c"].dependencies == ("b", "a")
    assert graph.order == ("b", "a", "c", "k", "f")
    assert [node.name for node in graph.block(Block.FINALLY)] == ["f"]


def test_the_steps_that_a_step_reads_are_found_in_every_spelling_and_place() -> None:
    steps = [
        "a-b",
        "c",
        "d",
        "e",
        step(
            "z",
            if_='{{ index .steps "d" }}',
            with_={"x": [{"y": "{{ steps.a_b.output.v }}"}], "q": '{{ steps["c"].x }}'},
        ),
        step("y", requires=["steps.e.output.x"], idempotencyKeyTemplate="{{ steps.c.output.id }}"),
    ]
    graph = build(story(*steps))
    assert graph.nodes["z"].dependencies == ("a-b", "c", "d")
    assert graph.nodes["y"].dependencies == ("c", "e")
    assert not graph.problems


@given(
    st.sampled_from(["sleep", "gate", "wait", "stop", "parallel", "executeStory", "condition", None]),
    st.dictionaries(
        st.sampled_from(
            ["duration", "timeout", "until", "pollInterval", "onTimeout", "phase", "mode", "steps", "storyRef", "with"]
        ),
        json,
        max_size=4,
    ),
    st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["{{", "{{ steps.a }}", "{{ nope }}", "{{ 1 }}"])),
)
def test_whatever_an_author_writes_a_plan_is_made(
    kind: str | None, with_: dict[str, Any], condition: str | None
) -> None:
    entry = step("b", type=kind, with_=with_, if_=condition)
    if kind is not None:
        entry.pop("ref")
    world = World(story("a", entry), config={"engram.default-max-inline-size": "100000"})
    for _ in range(3):
        world.apply(world.plan())
    assert world.run.status.phase is not None
    if "r1-b" in world.steps:
        world.apply_step("b", world.plan_step("b"))
