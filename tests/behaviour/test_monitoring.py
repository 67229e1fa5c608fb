"""Rules, alerts and dashboards, judged by the engine of Prometheus on what a manager shows before and after runs."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bobrapet import admission
from bobrapet.runtime.envtest import PortLease
from bobrapet.runtime.metrics import REGISTRY
from tests.behaviour import rights, worlds
from tests.behaviour.builders import engram, step, story, storyrun, template
from tests.behaviour.cluster import PATIENCE, Cluster, eventually
from tests.unit.manifests.rendered import ROOT, tool

RULES = ROOT / "manifests/chart/bobrapet/files/monitoring/rules.yaml"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1"
on_one_control_plane = pytest.mark.xdist_group("monitoring")
MINUTES = 10
"""Between the two looks, as the rules are told."""


def monitoring() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_monitoring", ROOT / "hack/_monitoring.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_monitoring"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """What /metrics of a manager on a real control plane says before and after runs that show everything."""
    if why := worlds.real_missing():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    folder = tmp_path_factory.mktemp("monitoring")
    with PortLease() as ports, worlds.real_control_plane(folder) as environment:
        metrics, hooks, health = (ports.take() for _ in range(3))
        admin = environment.kubeconfig(folder / "kubeconfig")
        with Cluster(admin) as cluster:
            rights.grant(cluster)
            command = worlds.bobrapet(
                "manager",
                f"--kubeconfig={admin}",
                f"--metrics-bind-address=127.0.0.1:{metrics}",
                "--metrics-secure=false",
                f"--health-probe-bind-address=127.0.0.1:{health}",
                "--leader-elect",
                f"--leader-election-namespace={rights.NAMESPACE}",
                # On a busy machine a Lease of seconds is lost, and with it the process.
                *("--leader-election-lease-duration=20m", "--leader-election-renew-deadline=10m"),
                "--webhook-self-signed",
                f"--webhook-port={hooks}",
            )
            for configuration in admission.webhook_configurations(admission.Url(f"https://localhost:{hooks}")):
                cluster.call("POST", f"{WEBHOOKS}/{configuration['kind'].lower()}s", configuration)
            node = worlds.bobrapet("node", f"--kubeconfig={admin}", f"--data-dir={folder / 'node'}", *worlds.IMAGES)
            with (
                worlds.process(command, folder / "manager.log"),
                worlds.process(node, folder / "node.log"),
            ):
                url = f"http://127.0.0.1:{metrics}/metrics"
                _wait_ready(cluster, health)
                cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "m"}})
                _run(cluster, folder, "before")
                before = _read(url)
                _run(cluster, folder, "after")
                yield before, _with_an_open_run(cluster, folder, url)


def _wait_ready(cluster: Cluster, health: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            _read(f"http://127.0.0.1:{health}/readyz")
            cluster.apply(*(template(mode) for mode in ("echo", "flaky", "exits", "counted")))
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())


def _run(cluster: Cluster, folder: Path, name: str) -> None:
    """Runs that succeed, fail, are tried again, and wait for each other; one is deleted with its children."""
    cluster.apply(*(engram(mode, "m") for mode in ("echo", "flaky", "exits")))
    retry = {"retry": {"maxRetries": 2, "delay": "1s"}}
    calls = str(folder / f"calls-{name}")
    cluster.apply(
        story("fine", "m", step("a", "echo"), step("b", "echo"), step("c", "echo", "b"), policy={"concurrency": 1}),
        story("again", "m", step("a", "flaky", with_={"calls": calls}, execution=retry)),
        story("bad", "m", step("a", "exits", with_={"code": 2}, execution={"retry": {"maxRetries": 0}})),
    )
    runs = [(f"{each}-{name}", each) for each in ("fine", "again", "bad")]
    cluster.apply(*(storyrun(run, "m", each) for run, each in runs))
    ends = [cluster.wait_run("m", run)["status"]["phase"] for run, _ in runs]
    assert ends == ["Succeeded", "Succeeded", "Failed"]
    cluster.delete("StoryRun", "m", f"fine-{name}", propagationPolicy="Background")
    cluster.wait_gone("StoryRun", "m", f"fine-{name}")


def _with_an_open_run(cluster: Cluster, folder: Path, url: str) -> str:
    """What is shown while one step runs and the next waits for its slot."""
    with_ = {"calls": str(folder / "open"), "seconds": 600}
    steps = (step(name, "counted", with_=with_) for name in ("a", "b"))
    cluster.apply(engram("counted", "m"), story("open", "m", *steps, policy={"concurrency": 1}))
    cluster.apply(storyrun("open", "m", "open"))

    def page() -> str:
        text = _read(url)
        return text if "bobrapet_storyrun_queue_depth{" in text else ""

    return eventually(page, "a step waits for a slot", every=0.1)


def promtool(*arguments: str) -> str:
    done = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def samples(text: str) -> dict[str, float]:
    """Series in the notation of Prometheus -> value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels | {"namespace_of_scrape": "x", "pod": "manager-0"}
            labels.pop("namespace_of_scrape")
            inside = ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items())
            found[f"{sample.name}{{{inside}}}"] = sample.value
    return found


def input_series(before: str, after: str) -> list[dict[str, str]]:
    """Every series: the first value for five minutes, then the second for as long."""
    first, second = samples(before), samples(after)
    half = MINUTES // 2
    return [
        {"series": name, "values": f"{first.get(name, 0):.17g}x{half} {value:.17g}x{half}"}
        for name, value in second.items()
        if value == value  # NaN has no notation here
    ]


def test_promtool_finds_no_fault_in_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@on_one_control_plane
@pytest.mark.real
@pytest.mark.parametrize("name", ["operator", "runs"])
def test_every_query_of_a_dashboard_returns_data(name: str, scraped: tuple[str, str], tmp_path: Path) -> None:
    dashboard = json.loads((ROOT / f"manifests/dashboards/{name}.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(expressions) >= 15
    tests = []
    for expression in expressions:
        filled = expression.replace("$namespace", ".*").replace("[1h]", "[10m]")
        # A comparison with a number drops what is NaN, which looks like nothing in a dashboard.
        query = f"count(({filled}) > -1e300) > bool 0"
        tests.append({"expr": query, "eval_time": f"{MINUTES - 3}m", "exp_samples": [{"labels": "{}", "value": 1}]})
    _judge(tmp_path, tests, scraped)


@on_one_control_plane
@pytest.mark.real
def test_every_recording_rule_records_and_no_alert_fires_in_a_healthy_system(
    scraped: tuple[str, str], tmp_path: Path
) -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    records = [rule["record"] for rule in rules if "record" in rule]
    one = [{"labels": "{}", "value": 1}]
    tests = [
        {"expr": f"count({name} > -1e300) > bool 0", "eval_time": f"{MINUTES - 3}m", "exp_samples": one}
        for name in records
    ]
    tests.append({"expr": 'count(ALERTS{alertstate="firing"})', "eval_time": f"{MINUTES - 3}m", "exp_samples": []})
    _judge(tmp_path, tests, scraped)


def _judge(folder: Path, tests: list[dict[str, Any]], scraped: tuple[str, str]) -> None:
    file = folder / "test.yaml"
    given = {"interval": "1m", "input_series": input_series(*scraped), "promql_expr_test": tests}
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [given]}))
    promtool("test", "rules", str(file))


ALERTS = {
    "BobrapetManagerDown": ([], "10m"),
    "BobrapetNoLeader": ([("leader_election_master_status", {"name": "l"}, "0x30")], "10m"),
    "BobrapetReconcileErrors": (
        [
            ("controller_runtime_reconcile_total", {"controller": "c"}, "0+10x60"),
            ("controller_runtime_reconcile_errors_total", {"controller": "c"}, "0+5x60"),
        ],
        "40m",
    ),
    "BobrapetReconcileStuck": ([("workqueue_longest_running_processor_seconds", {"controller": "c"}, "301x30")], "10m"),
    "BobrapetQueueBacklog": ([("workqueue_depth", {"controller": "c"}, "2000x40")], "30m"),
    "BobrapetWebhookErrors": (
        [("controller_runtime_webhook_requests_total", {"webhook": "/w", "code": "500"}, "0+1x40")],
        "20m",
    ),
    "BobrapetWebhookSlow": (
        [
            ("controller_runtime_webhook_latency_seconds_bucket", {"webhook": "/w", "le": le}, values)
            for le, values in (("1", "0x40"), ("5", "0+10x40"), ("+Inf", "0+10x40"))
        ],
        "30m",
    ),
    "BobrapetWebhookCertificateExpires": (
        [("bobrapet_webhook_certificate_expiration_timestamp_seconds", {"pod": "p"}, "1000000x120")],
        "100m",
    ),
    "BobrapetEventLoopLag": (
        [
            ("bobrapet_runtime_event_loop_lag_seconds_bucket", {"pod": "p", "le": le}, values)
            for le, values in (("1", "0x40"), ("5", "0+10x40"), ("+Inf", "0+10x40"))
        ],
        "30m",
    ),
    "BobrapetStoryRunsFail": (
        [
            ("bobrapet_storyruns_total", {"namespace": "n", "story": "s", "phase": "Failed"}, "0+3x100"),
            ("bobrapet_storyruns_total", {"namespace": "n", "story": "s", "phase": "Succeeded"}, "0+1x100"),
        ],
        "90m",
    ),
    "BobrapetStepsWaitLong": (
        [
            ("bobrapet_storyrun_queue_age_seconds_bucket", {"namespace": "n", "queue": "q", "le": le}, values)
            for le, values in (("600", "0x60"), ("1800", "0+10x60"), ("+Inf", "0+10x60"))
        ],
        "50m",
    ),
}
"""Alert -> series that must make it fire, and when."""


def test_every_alert_fires_when_it_should_and_leads_to_its_page(tmp_path: Path) -> None:
    rules = {
        rule["alert"]: rule
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert rules.keys() == ALERTS.keys()
    page = (ROOT / "docs/operations.md").read_text()
    anchors = {f"#{heading.strip().lower()}" for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}
    tests = []
    for name, (series, when) in ALERTS.items():
        assert f"#{rules[name]['annotations']['runbook_url'].partition('#')[2]}" in anchors, (
            f"docs/operations.md has no {name}"
        )
        given = []
        for metric, labels, values in series:
            inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
            given.append({"series": f"{metric}{{{inside}}}", "values": values})
        up = (
            [] if name == "BobrapetManagerDown" else [{"series": 'bobrapet_build_info{version="1"}', "values": "1x200"}]
        )
        expected = {"expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})', "eval_time": when}
        only = {
            "expr": f'count(ALERTS{{alertname!="{name}",alertstate="firing"}})',
            "eval_time": when,
            "exp_samples": [],
        }
        expected_samples = [{"labels": "{}", "value": 1}]
        tests.append(
            {
                "interval": "1m",
                "input_series": given + up,
                "promql_expr_test": [expected | {"exp_samples": expected_samples}, only],
            }
        )
    file = tmp_path / "alerts.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", str(file))


def test_no_dashboard_asks_for_a_series_that_nobody_defines() -> None:
    known = _defined()
    for name, dashboard in monitoring().DASHBOARDS.items():
        for expression in dashboard.expressions():
            asked = set(
                re.findall(r"\b(?:bobrapet|controller_runtime|workqueue|rest_client|leader_election)_\w+", expression)
            )
            unknown = {each for each in asked if re.sub(r"_(bucket|sum|count|total)$", "", each) not in known}
            assert not unknown, f"{name}: {expression}"


def _defined() -> set[str]:
    """Series by name, without the suffix of their kind. Modules register their own when they are imported."""
    for module in (
        *("admission.certificatekeeper", "manager", "reconcilers.series", "runtime.internal.controller.metrics"),
        *("runtime.metrics.client_go_adapter", "runtime.metrics.leaderelection", "runtime.metrics.looplag"),
        "runtime.webhook.internal.metrics",
    ):
        importlib.import_module(f"bobrapet.{module}")
    collected = {  # when they are asked for, by what is running
        *("workqueue_depth", "workqueue_retries", "workqueue_queue_duration_seconds"),
        "workqueue_longest_running_processor_seconds",
        *("bobrapet_runtime_informer_objects", "bobrapet_runtime_watch_events"),
    }
    return {family.name for family in REGISTRY.collect()} | collected
