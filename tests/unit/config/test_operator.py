"""Requirements on reading the operator's ConfigMap (spec admission-and-config B1, B2)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bobrapet.config.operator import OperatorConfig, known_keys, parse


def test_no_config_map_means_the_defaults_and_they_are_secure() -> None:
    config = OperatorConfig()
    assert config == parse({}).config
    assert config.security.run_as_non_root
    assert config.security.read_only_root_filesystem
    assert config.security.run_as_user == 1000
    assert config.job.backoff_limit == 0
    assert config.debug.enable_metrics


@pytest.mark.parametrize(
    ("key", "text", "path", "value"),
    [
        ("controller.max-concurrent-reconciles", " 4 ", "controller.max_concurrent_reconciles", 4),
        ("controller.reconcile-timeout", "0s", "controller.reconcile_timeout", timedelta(0)),
        ("timeout.default-step", "1.5h", "timeouts.step", timedelta(minutes=90)),
        ("images.pull-policy", "Always", "image_pull_policy", "Always"),
        ("security.run-as-non-root", "True", "security.run_as_non_root", False),
        ("security.drop-capabilities", " net_raw,, sys_admin ", "security.drop_capabilities", ("NET_RAW", "SYS_ADMIN")),
        ("retry.max-retries", "99", "max_retries", 50),
        ("storyrun.retention-seconds", "0", "storyruns.retention_seconds", 0),
        ("storyrun.retention-seconds", "-1", "storyruns.retention_seconds", -1),
        ("engram.default-hang-timeout-seconds", "0", "engram.hang_timeout_seconds", 0),
        ("controller.storage.s3.bucket", "b", "storage.s3.bucket", "b"),
        ("realtime.ttl-seconds-after-finished", "7", "realtime_ttl_seconds_after_finished", 7),
        ("steprun.rate-limiter.max-delay", "9m", "rates.steprun.max_delay", timedelta(minutes=9)),
    ],
)
def test_a_key_sets_its_field_and_its_source_is_known(key: str, text: str, path: str, value: object) -> None:
    loaded = parse({key: text})
    found: object = loaded.config
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value
    assert loaded.sources == {path: key}
    assert [problem for problem in loaded.problems if problem.ignored] == []


@pytest.mark.parametrize(
    ("key", "text", "fatal"),
    [
        ("controller.max-concurrent-reconciles", "0", False),
        ("controller.max-concurrent-reconciles", "many", False),
        ("controller.reconcile-timeout", "1s", True),
        ("controller.reconcile-timeout", "-1s", False),
        ("controller.max-story-with-block-size-bytes", "100", True),
        ("controller.max-story-with-block-size-bytes", "-5", False),
        ("images.pull-policy", "Sometimes", False),
        ("security.run-as-user", "0", True),
        ("templating.offloaded-data-policy", "ignore", True),
        ("templating.evaluation-timeout", "-1s", True),
        ("references.cross-namespace-policy", "maybe", True),
        ("resources.default.cpu-limit", "lots", False),
        ("controller.transport.heartbeat-interval", "500ms", True),
        ("controller.transport.heartbeat-interval", "0s", False),
        ("job.restart-policy", "Always", False),
        ("storyrun.queue.My_Queue.concurrency", "1", True),
    ],
)
def test_a_malformed_value_keeps_the_default_and_is_told(key: str, text: str, fatal: bool) -> None:
    loaded = parse({key: text})
    assert loaded.config == OperatorConfig()
    assert [problem.key for problem in loaded.problems] == [key]
    assert loaded.is_usable is not fatal


def test_queues_are_named_in_lower_case_and_unknown_ones_have_no_limits() -> None:
    config = parse({"storyrun.queue.GPU.concurrency": "2", "storyrun.queue.gpu.default-priority": "5"}).config
    assert (config.storyruns.queue("gpu").concurrency, config.storyruns.queue("gpu").default_priority) == (2, 5)
    assert config.storyruns.queue("default").priority_aging_seconds == 60
    assert config.storyruns.queue("nowhere").concurrency == 0


def test_the_streaming_spelling_of_the_child_ttl_wins_over_the_realtime_one() -> None:
    data = {"realtime.ttl-seconds-after-finished": "1", "streaming.ttl-seconds-after-finished": "2"}
    assert parse(data).config.realtime_ttl_seconds_after_finished == 2


def test_file_storage_needs_a_path_and_a_claim() -> None:
    assert not parse({"controller.storage.provider": "file"}).is_usable


def test_a_back_off_that_starts_above_its_maximum_is_fatal() -> None:
    loaded = parse({"story.rate-limiter.base-delay": "2m", "story.rate-limiter.max-delay": "1m"})
    assert not loaded.is_usable


def test_unknown_keys_are_listed_and_dead_ones_are_silent() -> None:
    loaded = parse({"loop.max-iterations": "3", "job.backof-limit": "1"})
    assert loaded.unknown == ("job.backof-limit",)
    assert not loaded.problems


def test_every_key_is_declared_once() -> None:
    keys = known_keys()
    assert "storyrun.max-concurrent-reconciles" in keys
    assert "engram.default-message-timeout-seconds" in keys
    assert len(keys) > 70
