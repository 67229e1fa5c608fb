"""The examples do what their pages say, in both worlds. tests/cli/test_examples.py runs them as a reader would."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.behaviour.builders import storyrun
from tests.behaviour.cluster import Object
from tests.behaviour.worlds import ROOT, World

EXAMPLES = ROOT / "examples"


def module(example: str, name: str) -> Any:
    """A Python file of an example, as the module that it is."""
    path = EXAMPLES / example / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def apply(world: World, namespace: str, *paths: Path) -> None:
    for path in paths:
        for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
            for document in yaml.safe_load_all(file.read_text()):
                if document["kind"] != "EngramTemplate":
                    document["metadata"]["namespace"] = namespace
                world.cluster.apply(document)


@contextmanager
def served(server: Any) -> Iterator[Any]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def files() -> ThreadingHTTPServer:
    """Serves the data of the examples."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=EXAMPLES / "data"))


def paused(run: Object) -> bool:
    return bool(run.get("status", {}).get("stepStates", {}).get("approve", {}).get("phase") == "Paused")


def marked(mark: str, step_run: Object) -> bool:
    """Whether it is told of a step what it had to do with the cache."""
    return bool(step_run["metadata"].get("annotations", {}).get("cache.bubustack.io/status") == mark)


def test_a_large_order_waits_for_its_approval_and_a_broken_connection_charges_nobody_twice(
    world: World, namespace: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    apply(world, namespace, EXAMPLES / "order-approval")
    inputs = {"id": "o-1", "ledger": str(ledger), "amount": 5000, "address": "Bern", "flaky_bank": True}
    world.cluster.apply(storyrun("r", namespace, "order-approval", inputs))
    world.cluster.wait("StoryRun", namespace, "r", paused)
    decision = {"status": {"gates": {"approve": {"state": "Approved", "message": "checked"}}}}
    world.cluster.merge("StoryRun", namespace, "r", decision, "status")
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert ledger.read_text().splitlines() == ["reserve o-1", "charge o-1 5000.00", "ship o-1 to Bern", "notify o-1"]
    charge = world.cluster.get("StepRun", namespace, "r-charge")
    assert charge["status"]["retries"] == 1
    assert [effect["key"] for effect in charge["status"]["effects"]] == ["charge:o-1"]
    claims = world.cluster.list("EffectClaim", namespace)
    assert [claim["spec"]["completionStatus"] for claim in claims] == ["completed"]
    assert claims[0]["metadata"]["ownerReferences"][0]["name"] == "r-charge"


def test_a_report_goes_through_the_payload_store_and_the_second_one_comes_from_the_cache(
    world: World, namespace: str
) -> None:
    apply(world, namespace, ROOT / "manifests/engrams", EXAMPLES / "earthquake-report")
    with served(files()) as server:
        inputs = {"url": f"http://127.0.0.1:{server.server_port}/earthquakes.json"}
        runs = []
        for name, mark in (("first", "stored"), ("second", "hit")):
            world.cluster.apply(storyrun(name, namespace, "earthquake-report", inputs))
            runs.append(world.cluster.wait_run(namespace, name)["status"])
            # An output is put into the cache after the end of its step.
            world.cluster.wait("StepRun", namespace, f"{name}-summarize", partial(marked, mark))
    assert [run["phase"] for run in runs] == ["Succeeded", "Succeeded"], runs
    assert runs[0]["output"]["report"] == runs[1]["output"]["report"]
    body = world.cluster.get("StepRun", namespace, "first-fetch")["status"]["output"]["body"]
    assert body["$bubuStorageRef"] == f"outputs/{namespace}/first-fetch/body.json"
    assert body["$bubuStorageContentType"] == "text/plain"
    assert world.cluster.find("Job", namespace, "second-summarize") is None


def test_companies_are_enriched_two_at_a_time_by_a_register_that_fails_and_limits(world: World, namespace: str) -> None:
    server = module("enrichment", "server")
    apply(world, namespace, ROOT / "manifests/engrams", EXAMPLES / "enrichment")
    # A question that is given up and asked again would be counted twice: here nobody gives up on a busy machine.
    patient = {"spec": {"with": {"timeout": "120s"}}}
    world.cluster.merge("Engram", namespace, "register", patient)
    with served(server.Register(rate=2)) as register:
        world.cluster.apply(storyrun("r", namespace, "enrichment", {"register": register.url}))
        run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Succeeded", run["status"]
    companies = run["status"]["output"]["companies"]
    assert {key: value["rating"] for key, value in companies.items()} == {"c1": "A", "c2": "B", "c3": "A", "c4": "C"}
    assert register.answers[503] == 4, "each profile once, and then not again"
    children = [run for run in world.cluster.list("StoryRun", namespace) if run["metadata"]["name"] != "r"]
    assert len(children) == 4
    assert {child["metadata"]["ownerReferences"][0]["name"] for child in children} == {"r-enrich"}
