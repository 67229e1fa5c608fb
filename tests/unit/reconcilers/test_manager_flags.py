"""The flags of bobrapet-manager: those of the Go operator, read as Go reads them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bobrapet.manager import Options, overrides, parse_flags
from bobrapet.reconcilers.builtin import ConfigMap
from bobrapet.reconcilers.operatorconfig import ConfigSource
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.object import ObjectKey


def test_without_flags_it_serves_probes_and_elects_nobody() -> None:
    options = parse_flags([], {})
    assert (options.health_probe_bind_address, options.leader_elect, options.metrics_bind_address) == (
        ":8081",
        False,
        "0",
    )
    assert Options().health_probe_bind_address == "0", "inside another process nothing is served"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--leader-elect", "--config-name", "mine"],
        ["-leader-elect=true", "-config-name=mine"],
        ["--leader-elect=1", "--config-name=mine"],
    ],
)
def test_one_dash_or_two_and_booleans_that_stand_alone(arguments: list[str]) -> None:
    options = parse_flags(arguments, {})
    assert (options.leader_elect, options.config_name) == (True, "mine")


def test_a_boolean_takes_its_value_only_behind_an_equals_sign() -> None:
    with pytest.raises(SystemExit) as caught:
        parse_flags(["--leader-elect", "false"], {})
    assert caught.value.code == 2


def test_the_environment_fills_in_and_a_flag_wins() -> None:
    environ = {"BOBRAPET_LEADER_ELECT": "true", "BOBRAPET_METRICS_BIND_ADDRESS": ":8443"}
    options = parse_flags(["--leader-elect=false"], environ)
    assert (options.leader_elect, options.metrics_bind_address) == (False, ":8443")


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["--no-such-flag"], {}, "no-such-flag"),
        (["--leader-elect=perhaps"], {}, "--leader-elect: 'perhaps' is neither true nor false"),
        ([], {"BOBRAPET_LEADER_ELECT": "perhaps"}, "BOBRAPET_LEADER_ELECT: 'perhaps'"),
        (["--zap-encoder=xml"], {}, "json, console"),
        (["surplus"], {}, "surplus"),
        (["--leader-election-lease-duration=15"], {}, "--leader-election-lease-duration: "),
        (["--leader-election-retry-period=0s"], {}, "must be more than 0"),
        (["--max-concurrent-reconciles=storyrum=8"], {}, "'storyrum=8' is not CONTROLLER=WORKERS"),
        (["--max-concurrent-reconciles=storyrun=0"], {}, "a number above 0"),
    ],
)
def test_bad_usage_ends_with_two_and_says_what_is_wrong(
    arguments: list[str], environ: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_flags(arguments, environ)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_and_version_need_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    for argument, text in (("--help", "leader election"), ("--version", "bobrapet-manager ")):
        with pytest.raises(SystemExit) as caught:
            parse_flags([argument], {})
        assert caught.value.code == 0
        assert text in capsys.readouterr().out


def test_help_is_quick_because_it_imports_nothing_of_the_operator() -> None:
    code = "import sys, bobrapet.manager; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"asyncio", "aiohttp", "pydantic", "bobrapet.runtime"} & set(modules)


async def test_workers_of_a_flag_win_over_the_config_map() -> None:
    key = ObjectKey("bobrapet-system", "bobrapet-operator-config")
    data = {"storyrun.max-concurrent-reconciles": "3", "steprun.max-concurrent-reconciles": "4"}
    metadata = {"name": key.name, "namespace": key.namespace}
    client = (
        ClientBuilder()
        .with_objects(ConfigMap({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}))
        .build()
    )
    options = parse_flags(["--max-concurrent-reconciles", "storyrun=16"], {})
    source = ConfigSource(key, overrides=overrides(options))
    await source.load(client)
    rates = source().rates
    assert (rates.storyrun.max_concurrent_reconciles, rates.steprun.max_concurrent_reconciles) == (16, 4)
