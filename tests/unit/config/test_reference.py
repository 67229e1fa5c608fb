"""The configuration in words, and the values in force with their sources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bobrapet.config.operator import OperatorConfig, declared, parse
from bobrapet.config.reference import AT_ONCE, AT_START, NOT_USED, WITH_STREAMING, effective, groups, keys


def sources(data: Mapping[str, str], overrides: Mapping[str, str] | None = None) -> dict[str, tuple[str, str]]:
    return {row.key: (row.value, row.source) for row in effective(data, overrides)[1]}


def test_every_key_has_a_meaning_and_stands_in_one_group() -> None:
    grouped = [key.name for _, members in groups() for key in members]
    assert sorted(grouped) == sorted(key.name for key in keys())
    assert {each.key for each in declared()} < set(grouped)
    for key in keys():
        assert key.about.endswith("."), key
        assert key.takes_effect in (AT_ONCE, AT_START, WITH_STREAMING, NOT_USED)


def test_every_default_reads_back_as_itself() -> None:
    written = {row.key: row.value for row in effective({})[1] if row.value}
    loaded = parse(written)
    assert [str(problem) for problem in loaded.problems] == []
    assert loaded.config == OperatorConfig()


def test_a_value_comes_from_a_flag_before_the_config_map_before_the_default() -> None:
    data = {"story.max-concurrent-reconciles": "3", "engram.max-concurrent-reconciles": "4", "retry.max-retries": "0"}
    found = sources(data, {"story.max-concurrent-reconciles": "9"})
    assert found["story.max-concurrent-reconciles"] == ("9", "flag")
    assert found["engram.max-concurrent-reconciles"] == ("4", "ConfigMap")
    assert found["retry.max-retries"] == ("0", "ConfigMap")
    assert found["timeout.default-step"] == ("", "default")


def test_a_bad_value_shows_what_stands_instead() -> None:
    loaded, rows = effective({"retry.max-retries": "many"})
    assert {row.key: (row.value, row.source) for row in rows}["retry.max-retries"] == ("3", "default")
    (problem,) = loaded.problems
    assert (problem.key, problem.value, problem.rule) == (
        *("retry.max-retries", "many", "a whole number, at least 0, more than 50 means 50"),
    )


def test_an_alias_shows_under_the_name_that_was_written() -> None:
    assert sources({"realtime.ttl-seconds-after-finished": "7"})["realtime.ttl-seconds-after-finished"] == (
        *("7", "ConfigMap"),
    )


def test_queues_are_listed_by_name() -> None:
    found = sources({"storyrun.queue.fast.concurrency": "2"})
    assert found["storyrun.queue.fast.concurrency"] == ("2", "ConfigMap")
    assert found["storyrun.queue.fast.default-priority"] == ("0", "default")
    assert found["storyrun.queue.default.priority-aging-seconds"] == ("60", "default")


def test_a_boolean_in_other_words_is_false_and_said_to_be() -> None:
    loaded = parse({"debug.enable-metrics": "yes"})
    assert loaded.config.debug.enable_metrics is False
    assert [problem.ignored for problem in loaded.problems] == [False]
    assert "write exactly true or false" in str(loaded.problems[0])


def test_a_value_that_is_no_text_is_refused() -> None:
    loaded = parse({"retry.max-retries": 3})
    assert loaded.config.max_retries == 3  # the default
    assert "quotes" in str(loaded.problems[0])
    assert loaded.sources == {}


def test_keys_that_are_said_not_to_be_used_are_not() -> None:
    files = (Path(__file__).parents[3] / "src/bobrapet").rglob("*.py")
    source = "".join(file.read_text() for file in files if file.parent.name != "config")
    said = {key.name for key in keys() if key.takes_effect in (WITH_STREAMING, NOT_USED)}
    unused = {each.path for each in declared() if each.key in said}
    assert len(unused) == 9
    assert {key.name for key in keys() if key.takes_effect == NOT_USED} == {"controller.cleanup-interval"}
    for path in unused:
        group, _, attribute = path.rpartition(".")
        if group.split(".")[0] != "transport":  # whose names the API has as well
            assert not re.search(rf"config\S*\.{attribute}\b|settings\.{attribute}\b", source), path
