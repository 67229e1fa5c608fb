"""Every command that the documents of a cluster show is run by something, or docs/limits.md says why it is not."""

from __future__ import annotations

import re

import pytest

from tests.unit.manifests.rendered import ROOT

PAGES = ("install", "operations", "security")
RUN_BY = {
    r"kubectl apply -k manifests/default$": "hack/e2e",
    r"kubectl -n bobrapet-system rollout status deployment/bobrapet-controller-manager": "hack/e2e",
    r"kubectl apply -f manifests/engrams": "hack/e2e",
    r"helm install bobrapet manifests/chart/bobrapet": "tests/unit/manifests/test_helm_release.py",
    r"kubectl create namespace workflows": "hack/e2e",
    r"kubectl apply -k manifests/samples": "hack/e2e",
    r"kubectl -n workflows get storyruns": "hack/e2e",
    r"kubectl apply -k manifests/default-certmanager": "tests/unit/manifests/test_on_real_server.py",
    r"kubectl delete storytriggers,storyruns,stepruns,stories,engrams,impulses --all": "hack/e2e",
    r"kubectl delete engramtemplates,impulsetemplates --all": "hack/e2e",
    r"kubectl delete -k manifests/default$": "hack/e2e",
    r"kubectl create clusterrolebinding \S+ --clusterrole=bobrapet-metrics-reader": "hack/e2e",
}
"""Command -> the file that runs it, which has to hold its telling words."""


def commands(page: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_run_or_listed_with_a_reason(page: str) -> None:
    limits = (ROOT / "docs/limits.md").read_text()
    for command in commands(page):
        runner = next((file for pattern, file in RUN_BY.items() if re.match(pattern, command)), None)
        assert runner or f"`{command}`" in limits, f"docs/{page}.md: nobody runs {command!r}"
        if runner:
            words = [word for word in command.split() if "/" in word or "," in word or word.startswith("--cluster")]
            said = (ROOT / runner).read_text()
            for word in words:
                assert word.removeprefix("manifests/").removeprefix("chart/bobrapet") in said, (
                    f"{runner} does not run {command!r}"
                )


def test_links_between_documents_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / f"docs/{page}.md").read_text()):
            assert (ROOT / "docs" / target).exists(), f"docs/{page}.md: {target}"
