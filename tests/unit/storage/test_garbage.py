"""Which stored objects are garbage: what no run of the cluster can need, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.api.names import compose
from bobrapet.storage import ObjectInfo, cache_path, input_prefix, log_path, output_prefix
from bobrapet.storage.garbage import Living, Verdict, judge, namespaces, owner_namespace

HOUR = 3600.0
NOW = 1_800_000_000.0
LIVING = Living(
    runs=namespaces([("team-a", "run1"), ("team-a", "run1-fetch"), ("team-b", "")]),
    engrams=namespaces([("team-a", "http")]),
    referred=frozenset({"outputs/team-a/gone-x/shared.json"}),
)


def verdict(path: str, age: float = 2 * HOUR, cache_older_than: float | None = None) -> Verdict:
    info = ObjectInfo(path, 10, NOW - age)
    return judge(info, LIVING, NOW, older_than=HOUR, cache_older_than=cache_older_than)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("outputs/team-a/run1-fetch/body.json", Verdict.KEPT),
        ("outputs/team-a/run1-deleted-step/body.json", Verdict.KEPT),
        ("outputs/team-a/run1/output.json", Verdict.KEPT),
        ("outputs/team-a/run10-fetch/body.json", Verdict.GARBAGE),
        ("outputs/team-a/gone-x/body.json", Verdict.GARBAGE),
        ("outputs/team-a/gone-x/files/data.csv", Verdict.GARBAGE),
        ("outputs/team-a/gone-x/shared.json", Verdict.KEPT),
        ("outputs/team-b/run1-fetch/body.json", Verdict.GARBAGE),
        ("outputs/elsewhere/run1-fetch/body.json", Verdict.UNKNOWN),
        ("inputs/team-a/run1/input.json", Verdict.KEPT),
        ("inputs/team-a/gone/input.json", Verdict.GARBAGE),
        ("inputs/run1-fetch/body.json", Verdict.KEPT),
        ("inputs/gone-fetch/body.json", Verdict.GARBAGE),
        ("team-a/logs/run1/fetch/run1-fetch/1.log", Verdict.KEPT),
        ("team-a/logs/gone/fetch/gone-fetch/1.log", Verdict.GARBAGE),
        ("elsewhere/logs/gone/fetch/gone-fetch/1.log", Verdict.UNKNOWN),
        ("cache/team-a/http/1.0.0/abc.json", Verdict.KEPT),
        ("cache/team-a/removed/1.0.0/abc.json", Verdict.GARBAGE),
        ("backups/2026/database.tar", Verdict.UNKNOWN),
        ("readme.txt", Verdict.UNKNOWN),
        ("outputs/x", Verdict.UNKNOWN),
    ],
)
def test_an_object_lives_as_long_as_its_run(path: str, expected: Verdict) -> None:
    assert verdict(path) is expected


def test_what_is_young_is_left_alone() -> None:
    assert verdict("inputs/team-a/soon/input.json", age=60) is Verdict.YOUNG


def test_cached_outputs_go_by_age_only_when_that_is_asked_for() -> None:
    path = "cache/team-a/http/1.0.0/abc.json"
    assert verdict(path, age=1000 * HOUR) is Verdict.KEPT
    assert verdict(path, age=1000 * HOUR, cache_older_than=999 * HOUR) is Verdict.GARBAGE
    assert verdict(path, age=998 * HOUR, cache_older_than=999 * HOUR) is Verdict.KEPT


names = st.text("abcdefghij0123456789-", min_size=1, max_size=70).filter(lambda name: compose(name) == name)


@given(names, names, st.lists(names, max_size=3))
def test_nothing_of_a_living_run_is_ever_garbage_however_its_names_were_cut(
    run: str, step: str, others: list[str]
) -> None:
    living = Living(runs=namespaces([("ns", run), *(("ns", other) for other in others)]))
    steprun = compose(run, step)
    for path in (
        f"{output_prefix('ns', steprun)}/body.json",
        f"{input_prefix('ns', steprun)}/input.json",
        f"{input_prefix('ns', run)}/input.json",
        log_path("ns", run, step, steprun, 1),
    ):
        found = judge(ObjectInfo(path, 1, 0.0), living, NOW, older_than=0.0)
        assert found is Verdict.KEPT, path


def test_the_namespace_of_a_path() -> None:
    assert owner_namespace("outputs/team-a/x/y.json") == "team-a"
    assert owner_namespace("team-a/logs/r/s/t/1.log") == "team-a"
    assert owner_namespace(cache_path("team-a", "http", "", "0" * 64)) == "team-a"
    assert owner_namespace("inputs/x/y.json") == ""
