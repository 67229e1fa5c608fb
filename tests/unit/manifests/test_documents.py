"""Every command that a document shows is run by a named test or script, or docs/limits.md says why it is not.

A page whose commands are taken from the page and executed is named as a whole; other commands are named one by one, by
what runs them. A command that is new belongs to neither, and fails here.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from tests.unit.manifests.rendered import ROOT

PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", *ROOT.glob("examples/*/README.md")])

EXECUTED_PAGES = {
    "docs/components.md": "tests/unit/sdk/test_docs.py::test_the_commands_print_what_the_page_shows",
    "docs/engrams.md": "tests/unit/engrams/test_docs.py::test_a_command_prints_what_the_page_shows",
    "docs/steps.md": "tests/cli/test_steps_page.py::test_the_example_gives_the_output_of_the_page",
    "examples/earthquake-report/README.md": "tests/cli/test_examples.py"
    "::test_the_earthquake_report_does_what_its_page_shows_and_is_cached",
    "examples/enrichment/README.md": "tests/cli/test_examples.py::test_enrichment_does_what_its_page_shows",
    "examples/order-approval/README.md": "tests/cli/test_examples.py::test_order_approval_does_what_its_page_shows",
}
E2E = "hack/e2e"
CONFIG = "tests/cli/test_config.py"
KUBECTL = "tests/cli/test_kubectl_commands.py::test_a_command_of_the_page_is_taken_by_the_api_server"
RUN_BY = {
    r"kubectl apply -k manifests/default$": E2E,
    r"kubectl -n bobrapet-system rollout status deployment/bobrapet-controller-manager$": E2E,
    r"kubectl apply -f manifests/engrams$": E2E,
    r"kubectl create namespace workflows$": E2E,
    r"kubectl apply -k manifests/samples$": E2E,
    r"kubectl delete storytriggers,storyruns,stepruns,stories,engrams,impulses --all --all-namespaces$": E2E,
    r"kubectl delete engramtemplates,impulsetemplates --all$": E2E,
    r"kubectl delete -k manifests/default$": E2E,
    r"kubectl create clusterrolebinding \S+ --clusterrole=bobrapet-metrics-reader --serviceaccount=\S+$": E2E,
    r"kubectl -n workflows get storyruns$": KUBECTL,
    r"kubectl (patch|annotate) storyrun ": KUBECTL,
    r"kubectl apply -k manifests/default-certmanager$": "tests/unit/manifests/test_on_real_server.py"
    "::test_optional_overlays_are_applied_without_a_warning",
    r"helm install bobrapet manifests/chart/bobrapet --namespace bobrapet-system --create-namespace$": (
        "tests/unit/manifests/test_helm_release.py::test_a_release_is_installed_upgraded_removed_and_installed_again"
    ),
    r"bobrapet config --changed": "tests/behaviour/test_config_command.py"
    "::test_the_configuration_of_a_cluster_is_shown_with_its_sources",
    r"bobrapet config -f operator.yaml": f"{CONFIG}::test_values_are_shown_with_their_sources",
    r"bobrapet config check operator.yaml": f"{CONFIG}::test_a_bad_file_is_explained_line_by_line",
    r"bobrapet explain etl-1$": "tests/cli/test_explain.py"
    "::test_a_run_is_explained_while_it_is_served_and_after_its_server_was_killed",
    r"BOBRAPET_SEEDS=2000 BOBRAPET_FIRST_SEED=7000 pytest tests/simulation$": "tests/simulation/test_simulation.py"
    "::test_whatever_happens_every_run_ends_as_its_story_says",
    r"hack/mutate ": "tests/unit/hack/test_mutate.py::test_every_mutation_of_the_engine_fails_a_test_of_it",
    r"make demo$": "tests/cli/test_demo.py::test_the_demo_prints_the_output_that_the_readme_shows",
    r"bobrapet run examples/batch-etl --input url=": "tests/cli/test_run.py"
    "::test_the_seed_story_runs_on_real_data_and_prints_its_output",
    r'bobrapet run orders.yaml --image example/pay="python3 pay.py"$': (
        "tests/cli/test_run.py::test_a_crash_shows_the_last_log_lines"
    ),
}


def commands(page: Path) -> list[str]:
    blocks = "".join(re.findall(r"```(?:console|sh|bash)\n(.*?)```", page.read_text(), re.DOTALL)).replace("\\\n", " ")
    return [line[2:].split("  #")[0].strip() for line in blocks.splitlines() if line.startswith("$ ")]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@functools.cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@functools.cache
def all_tests() -> frozenset[str]:
    return frozenset().union(*(functions(str(file.relative_to(ROOT))) for file in (ROOT / "tests").rglob("test_*.py")))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_is_run_or_listed_with_a_reason(page: Path) -> None:
    if named(page) in EXECUTED_PAGES:
        assert commands(page), "the page has no command any more"
        return
    limits = (ROOT / "docs/limits.md").read_text()
    unknown = [each for each in commands(page) if not any(re.match(known, each) for known in RUN_BY)]
    assert [each for each in unknown if f"`{each}`" not in limits] == []


@pytest.mark.parametrize("runner", sorted({*EXECUTED_PAGES.values(), *RUN_BY.values()}))
def test_what_runs_a_command_exists(runner: str) -> None:
    file, _, function = runner.partition("::")
    assert (ROOT / file).is_file()
    assert not function or function in functions(file), f"{file} has no {function}"


def test_no_runner_is_named_for_a_command_that_no_page_shows() -> None:
    shown = [command for page in PAGES for command in commands(page)]
    assert [known for known in RUN_BY if not any(re.match(known, command) for command in shown)] == []


def test_the_end_to_end_script_calls_what_the_pages_show() -> None:
    said = (ROOT / E2E).read_text()
    for page in PAGES:
        for command in commands(page):
            if any(re.match(known, command) and runner == E2E for known, runner in RUN_BY.items()):
                words = [word for word in command.split()[1:] if "/" in word or "," in word or "--cluster" in word]
                missing = [word for word in words if word not in said]
                assert missing == [], f"{E2E} does not run {command!r}"


def test_every_protection_is_proven_by_a_test_that_exists() -> None:
    rows = re.findall(r"^\| to .*\|$", (ROOT / "docs/security.md").read_text(), re.MULTILINE)
    assert len(rows) >= 15
    for row in rows:
        what, _, proof = row.strip("| ").split(" | ")
        names = re.findall(r"`([^`]+)`", proof)
        assert names, f"{what}: nothing proves it"
        for name in names:
            assert name in all_tests() or (ROOT / name).is_file(), f"{what}: there is no {name}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), target
