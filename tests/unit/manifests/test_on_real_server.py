"""What is applied, on a real API server: no field unknown, no warning heard, Pod Security `restricted` kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bobrapet.runtime.envtest import Environment, Options
from tests.behaviour.cluster import Cluster
from tests.unit.manifests.rendered import MANIFESTS, ROOT, Object, chart, kustomize, objects, tool

pytestmark = pytest.mark.xdist_group("manifests on a real server")
"""One server serves them all, in their order: the last one takes the webhooks away."""

# Kinds of others that the optional parts use; their own CRDs are not in any package that is at hand here.
FOREIGN = {
    "cert-manager.io": {"Certificate": "certificates", "ClusterIssuer": "clusterissuers"},
    "monitoring.coreos.com": {"ServiceMonitor": "servicemonitors", "PrometheusRule": "prometheusrules"},
}


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not os.environ.get("KUBEBUILDER_ASSETS"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "KUBEBUILDER_ASSETS is not set: see hack/envtest"
        )
    with Environment(Options()) as environment:
        yield environment.kubeconfig(tmp_path_factory.mktemp("server") / "kubeconfig")


SOON = re.compile("no matches for kind|could not find the requested resource|failed calling webhook")
"""What passes: kinds that the API server knows and does not serve yet, and webhooks that it still asks."""
PATIENCE = 90


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    # What kubectl keeps of another server that had this port is no business of this one's.
    command = [tool("kubectl"), f"--kubeconfig={kubeconfig}", f"--cache-dir={kubeconfig.parent / 'cache'}", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=180)


def complaints(stderr: str) -> list[str]:
    """What kubectl says, but for what it only notes (lines of klog with `I`): that it took long, for example."""
    return [line for line in stderr.splitlines() if not re.match(r"I\d{4} ", line)]


def apply(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> None:
    """Applies, strictly, and wants to hear nothing."""
    deadline = time.monotonic() + PATIENCE
    while True:
        done = kubectl(kubeconfig, "apply", "--server-side", "--validate=strict", *arguments, stdin=stdin)
        if done.returncode == 0 or not SOON.search(done.stderr) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert done.returncode == 0, done.stderr
    assert complaints(done.stderr) == []


@pytest.fixture(scope="module")
def installed(kubeconfig: Path) -> Path:
    apply(kubeconfig, "-k", str(MANIFESTS / "default"))
    with Cluster(kubeconfig) as cluster:  # discovery must know the kinds before objects of them are applied
        for name in ("stories.bubustack.io", "storyruns.runs.bubustack.io"):
            kubectl(kubeconfig, "wait", "--for=condition=Established", f"crd/{name}", "--timeout=100s")
        assert cluster.find("Namespace", "", "bobrapet-system")
    return kubeconfig


@pytest.mark.real
def test_the_default_overlay_is_applied_without_a_warning(installed: Path) -> None:
    again = kubectl(installed, "diff", "-k", str(MANIFESTS / "default"), "--server-side", "--force-conflicts")
    assert (again.returncode, complaints(again.stderr)) == (0, []), again.stdout


@pytest.mark.real
def test_the_pod_of_the_manager_is_admitted_where_only_restricted_pods_are(installed: Path) -> None:
    pod = objects(kustomize("default"))["Deployment bobrapet-system/bobrapet-controller-manager"]["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **pod}
    pod["metadata"] |= {"name": "probe", "namespace": "bobrapet-system"}
    apply(installed, "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    refused = kubectl(installed, "apply", "--server-side", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert "violates PodSecurity" in refused.stderr, "the level is not enforced, so the test above says nothing"


@pytest.mark.real
def test_the_chart_replaces_the_overlay_without_a_warning(installed: Path) -> None:
    apply(installed, "--force-conflicts", "-f", "-", stdin=chart(crds=True))
    everything = (
        "controllerManager.replicas=2",
        "networkPolicy.enabled=true",
        "dashboards.enabled=true",
        "operatorConfig.controllerReconcileTimeout=30s",
        "controllerManager.manager.extraEnv[0].name=A",
        "controllerManager.manager.extraEnv[0].value=b",
        "controllerManager.topologySpreadConstraints[0].maxSkew=1",
        "controllerManager.topologySpreadConstraints[0].topologyKey=kubernetes.io/hostname",
        "controllerManager.topologySpreadConstraints[0].whenUnsatisfiable=ScheduleAnyway",
        "controllerManager.topologySpreadConstraints[0].labelSelector.matchLabels.control-plane=controller-manager",
    )
    apply(installed, "--force-conflicts", "--dry-run=server", "-f", "-", stdin=chart(*everything))


@pytest.mark.real
def test_optional_overlays_are_applied_without_a_warning(installed: Path) -> None:
    apply(installed, "-f", "-", stdin=yaml.safe_dump_all(foreign_kinds()))
    for group, kinds in FOREIGN.items():
        for plural in kinds.values():
            kubectl(installed, "wait", "--for=condition=Established", f"crd/{plural}.{group}", "--timeout=100s")
    apply(
        installed,
        "-f",
        "-",
        stdin=yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cert-manager"}}),
    )
    for overlay in ("default-certmanager", "dashboards"):
        apply(installed, "--force-conflicts", "--dry-run=server", "-k", str(MANIFESTS / overlay))
    for part in ("prometheus", "network-policy"):
        text = kustomize(part).replace("namespace: system", "namespace: bobrapet-system")
        apply(installed, "--force-conflicts", "--dry-run=server", "-f", "-", stdin=text)


def foreign_kinds() -> list[Object]:
    found = []
    for group, kinds in FOREIGN.items():
        for kind, plural in kinds.items():
            scope = "Cluster" if kind.startswith("Cluster") else "Namespaced"
            version = {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
            spec = {
                "group": group,
                "scope": scope,
                "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
                "versions": [version],
            }
            meta = {"name": f"{plural}.{group}"}
            found.append(
                {
                    "apiVersion": "apiextensions.k8s.io/v1",
                    "kind": "CustomResourceDefinition",
                    "metadata": meta,
                    "spec": spec,
                }
            )
    return found


@pytest.mark.real
def test_nothing_is_admitted_while_no_manager_answers(installed: Path) -> None:
    story = (MANIFESTS / "samples/v1alpha1_story.yaml").read_text()
    deadline = time.monotonic() + PATIENCE
    while True:
        refused = kubectl(installed, "create", "--dry-run=server", "-f", "-", stdin=story)
        if "failed calling webhook" in refused.stderr or time.monotonic() > deadline:
            break
        time.sleep(0.2)  # the API server hears of its webhooks a moment after they are stored
    assert refused.returncode != 0
    assert "failed calling webhook" in refused.stderr


@pytest.mark.real
def test_the_samples_are_what_the_kinds_allow(installed: Path) -> None:
    # Nobody answers the webhooks here; what they would say is tested with the validation itself.
    kubectl(installed, "delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "--all")
    apply(
        installed,
        "-f",
        "-",
        stdin=yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "workflows"}}),
    )
    apply(installed, "-k", str(MANIFESTS / "samples"))
    assert (ROOT / "manifests/samples").is_dir()
