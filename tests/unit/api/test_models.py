"""The models keep what they do not know, and tell unset from null and zero."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import bobrapet.api as api
from bobrapet.api import (
    Condition,
    Engram,
    ObjectMeta,
    Phase,
    StepRun,
    StepRunSpec,
    Story,
    StoryPattern,
    StoryRun,
    StoryRunReference,
)
from bobrapet.api.conditions import find_condition, is_condition_true, set_condition
from bobrapet.api.timestamps import TimeError, format_deadline, format_micro_time, format_time, parse_time
from bobrapet.validation import check_structure
from tests.unit.api.strategies import SCHEMAS, values

FEW = settings().max_examples // 4  # these examples are large
NOW = datetime(2026, 1, 1, 10, 0, 0, 123_456, tzinfo=UTC)


def test_unknown_fields_nulls_and_zeros_survive() -> None:
    given = {
        "apiVersion": "bubustack.io/v1alpha1",
        "kind": "Story",
        "metadata": {"name": "x", "somethingNew": {"a": None}},
        "spec": {
            "steps": [
                {
                    "name": "a",
                    "if": "",
                    "needs": [],
                    "with": {"a": None, "b": 0, "c": False, "d": [], "e": 1.0},
                    "execution": {"maxInlineSize": 0, "retry": {"maxRetries": 0}, "brandNew": 1},
                    "type": None,
                }
            ],
            "finally": [],
            "futureField": [None],
        },
        "status": {},
    }
    assert Story.model_validate(given).to_wire() == given


def test_python_keywords_have_an_underscore() -> None:
    story = Story.model_validate(
        {"spec": {"steps": [{"name": "a", "if": "x", "with": {"k": 1}}], "finally": [{"name": "b"}]}}
    )
    assert (story.spec.steps[0].if_, story.spec.steps[0].with_) == ("x", {"k": 1})
    assert story.spec.finally_[0].name == "b"


def test_an_object_made_in_python_is_whole() -> None:
    run = StepRun(spec=StepRunSpec(story_run_ref=StoryRunReference(name="r"), step_id="a"))
    assert run.to_wire() == {
        "apiVersion": "runs.bubustack.io/v1alpha1",
        "kind": "StepRun",
        "spec": {"storyRunRef": {"name": "r"}, "stepId": "a"},
    }
    run.metadata.name = "r-a"
    run.status.phase = Phase.RUNNING
    wire = run.to_wire()
    assert wire["metadata"] == {"name": "r-a"}
    # The CRD requires retries as soon as there is a status.
    assert wire["status"] == {"phase": "Running", "retries": 0}
    assert run.status.model_dump(mode="json", by_alias=True, exclude_unset=True) == wire["status"]
    assert json.loads(run.model_dump_json(by_alias=True, exclude_unset=True)) == wire
    assert json.loads(run.status.model_dump_json(by_alias=True, exclude_unset=True)) == wire["status"]


def test_an_unset_collection_cannot_be_changed_in_place() -> None:
    meta = ObjectMeta(name="x")
    assert (dict(meta.labels), list(meta.finalizers)) == ({}, [])
    with pytest.raises(TypeError, match="assign"):
        meta.labels["a"] = "b"  # type: ignore[index]
    with pytest.raises(AttributeError):
        meta.finalizers.append("f")  # type: ignore[attr-defined]
    meta.labels = {**meta.labels, "a": "b"}
    assert meta.to_wire() == {"name": "x", "labels": {"a": "b"}}
    assert dict(ObjectMeta(name="y").labels) == {}


@pytest.mark.parametrize("value", ["1", True, 1.0, 2**63])
def test_numbers_are_strict(value: Any) -> None:
    with pytest.raises(ValidationError):
        Engram.model_validate({"spec": {"templateRef": {"name": "t"}}, "status": {"triggers": value}})


def test_booleans_and_times_are_strict() -> None:
    spec = {"storyRef": {"name": "s"}}
    for wrong in ({"cancelRequested": 1}, {"cancelRequested": "true"}):
        with pytest.raises(ValidationError):
            StoryRun.model_validate({"spec": {**spec, **wrong}})
    with pytest.raises(ValidationError):
        StoryRun.model_validate({"spec": spec, "status": {"startedAt": "yesterday"}})


def test_enums_are_words() -> None:
    assert Phase("Succeeded").is_terminal
    assert not Phase.PAUSED.is_terminal
    assert [pattern.is_streaming for pattern in StoryPattern] == [False, True, True]
    assert f"{Phase.FAILED}" == "Failed"


SMALL = {"Engram", "EngramTemplate", "StoryRun", "StepRun", "StoryTrigger", "EffectClaim", "TransportBinding"}


@settings(max_examples=FEW)
@given(st.data())
@pytest.mark.parametrize("kind", [kind for kind in api.KINDS if kind.KIND in SMALL], ids=lambda kind: kind.KIND)
def test_a_random_object_round_trips_unchanged(kind: Any, data: st.DataObject) -> None:
    properties = SCHEMAS[kind.KIND]
    given = {"apiVersion": kind.API_VERSION, "kind": kind.KIND, "metadata": {"name": "x"}}
    given["spec"] = data.draw(values(properties["spec"]))
    given["status"] = data.draw(values(properties["status"]))
    assert kind.model_validate(given).to_wire() == given
    assert check_structure(given).faults == []


# Conditions and times


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = set_condition([], "Ready", False, "Pending", "waits", now=NOW, generation=1)
    later = NOW + timedelta(minutes=5)
    same = set_condition(first, "Ready", False, "Running", "runs", now=later, generation=2)
    assert (same[0].last_transition_time, same[0].reason, same[0].observed_generation) == (
        "2026-01-01T10:00:00Z",
        "Running",
        2,
    )
    moved = set_condition(same, "Ready", True, "Completed", now=later)
    assert moved[0].last_transition_time == "2026-01-01T10:05:00Z"
    assert is_condition_true(moved, "Ready")
    assert not is_condition_true(first, "Ready")
    assert find_condition(moved, "Degraded") is None
    assert [condition.reason for condition in first] == ["Pending"]


def test_long_texts_of_a_condition_are_cut_to_what_the_crd_accepts() -> None:
    (condition,) = set_condition([], "Ready", "Unknown", "R" * 100, "m" * 5000, now=NOW)
    assert (len(condition.reason), len(condition.message)) == (64, 2048)
    assert condition.message.endswith("...")
    assert Condition.model_validate(condition.to_wire()) == condition


def test_times_are_written_as_kubernetes_does() -> None:
    assert format_time(NOW) == "2026-01-01T10:00:00Z"
    assert format_deadline(NOW) == "2026-01-01T10:00:00.123Z"
    assert format_micro_time(NOW) == "2026-01-01T10:00:00.123456Z"
    assert format_time(NOW.astimezone(timezone(timedelta(hours=2)))) == "2026-01-01T10:00:00Z"
    with pytest.raises(ValueError, match="zone"):
        format_time(NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-01T10:00:00Z", NOW.replace(microsecond=0)),
        ("2026-01-01t12:00:00.1234569+02:00", NOW),
        ("2026-01-01T10:00:00.1z", NOW.replace(microsecond=100_000)),
    ],
)
def test_any_rfc_3339_time_is_read(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text", ["", "2026-01-01", "2026-02-30T00:00:00Z", "2026-01-01T25:00:00Z", "0000-01-01T00:00:00Z"]
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(TimeError):
        parse_time(text)


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1000, 1, 1)))
def test_a_written_time_reads_back(moment: datetime) -> None:
    assert parse_time(format_micro_time(moment)) == moment


# The package


def test_every_public_name_exists() -> None:
    for name in api._HOME:
        assert getattr(api, name) is not None
    with pytest.raises(AttributeError):
        api.Nonsense  # type: ignore[attr-defined]


def test_contract_constants_load_without_pydantic() -> None:
    program = (
        "import sys; from bobrapet.api import env, labels, names, limits, duration; sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=240).returncode == 0
