"""The chart gives the objects of the overlays, refuses what it does not know, and says what to do next."""

from __future__ import annotations

import copy
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.manifests.rendered import CHART, MANIFESTS, Object, call, chart, kustomize, objects, tool

OVERLAYS = {
    "default": (),
    "default-certmanager": ("webhook.certificates.provider=cert-manager",),
    "prometheus": ("serviceMonitor.enabled=true", "prometheusRule.enabled=true"),
    "network-policy": ("networkPolicy.enabled=true",),
}
INSTALL = ("--dry-run=client", "--namespace", "bobrapet-system", "--set", "crds.enabled=false")
ONLY_KUSTOMIZE = {"Namespace /bobrapet-system"}
"""helm makes the namespace of a release itself, with --create-namespace."""


def comparable(obj: Object) -> Object:
    """Without what says by whom an object is kept: labels of helm or kustomize, and helm's own policy."""
    obj = copy.deepcopy(obj)
    meta = obj["metadata"]
    keepers = ("app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "app.kubernetes.io/version")
    for label in (*keepers, "helm.sh/chart"):
        meta.get("labels", {}).pop(label, None)
    meta.get("annotations", {}).pop("helm.sh/resource-policy", None)
    for field in ("labels", "annotations"):
        if not meta.get(field):
            meta.pop(field, None)
    for container in obj.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
        container["args"] = sorted(container["args"])
    if "rules" in obj:
        obj["rules"] = sorted(obj["rules"], key=lambda rule: sorted(map(str, rule.items())))
    if obj["kind"] == "CustomResourceDefinition":
        meta.pop("labels", None)
    return obj


@pytest.mark.parametrize("overlay", ["default", "default-certmanager"])
def test_chart_and_overlay_are_the_same_objects(overlay: str) -> None:
    ours, theirs = objects(chart(*OVERLAYS[overlay], crds=True)), objects(kustomize(overlay))
    assert ours.keys() == theirs.keys() - ONLY_KUSTOMIZE
    for key, obj in ours.items():
        assert comparable(obj) == comparable(theirs[key]), key


@pytest.mark.parametrize("overlay", ["prometheus", "network-policy"])
def test_what_an_optional_part_adds_is_the_same(overlay: str) -> None:
    added = objects(chart(*OVERLAYS[overlay])).keys() - objects(chart()).keys()
    theirs = {
        f"{key.partition(' ')[0]} bobrapet-system/bobrapet-{obj['metadata']['name']}": obj
        for key, obj in objects(kustomize(overlay)).items()
    }
    assert added == theirs.keys()
    ours = objects(chart(*OVERLAYS[overlay]))
    for key in added:
        assert ours[key]["spec"] == theirs[key]["spec"], key


def test_names_follow_the_release_and_its_namespace_everywhere() -> None:
    text = chart(release="wf", namespace="team-a")
    for key, obj in objects(text).items():
        if obj["kind"] != "CustomResourceDefinition":
            assert obj["metadata"]["name"].startswith("wf-bobrapet-"), key
            assert obj["metadata"].get("namespace", "team-a") == "team-a", key
    assert "bobrapet-system" not in text.replace("bobrapet-system-", "")
    manager = objects(text)["Deployment team-a/wf-bobrapet-controller-manager"]
    args = manager["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--config-namespace=team-a" in args
    assert "--config-name=wf-bobrapet-operator-config" in args
    assert "--webhook-name-prefix=wf-bobrapet-" in args
    secrets = objects(text)["Role team-a/wf-bobrapet-webhook-certificate-role"]["rules"]
    assert ["wf-bobrapet-webhook-server-cert"] in [rule.get("resourceNames") for rule in secrets]


def test_what_people_set_reaches_the_pod() -> None:
    text = chart(
        "controllerManager.replicas=3",
        "controllerManager.manager.image.digest=sha256:" + "0" * 64,
        "controllerManager.manager.logLevel=debug",
        "controllerManager.manager.extraEnv[0].name=A",
        "controllerManager.manager.extraEnv[0].value=b",
        "controllerManager.nodeSelector.disk=ssd",
        "controllerManager.extraVolumes[0].name=v",
        "controllerManager.extraVolumes[0].emptyDir.medium=Memory",
        "controllerManager.manager.extraVolumeMounts[0].name=v",
        "controllerManager.manager.extraVolumeMounts[0].mountPath=/v",
        "controllerManager.affinity.podAntiAffinity.a=b",
        "watchNamespaces={a,b}",
    )
    spec = objects(text)["Deployment bobrapet-system/bobrapet-controller-manager"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["replicas"] == 3
    assert container["image"] == f"ghcr.io/bubustack/bobrapet@sha256:{'0' * 64}"
    assert {"--zap-log-level=debug", "--watch-namespaces=a,b", "--leader-elect"} <= set(container["args"])
    assert container["env"] == [{"name": "A", "value": "b"}]
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["affinity"] == {"podAntiAffinity": {"a": "b"}}
    assert {"name": "v", "emptyDir": {"medium": "Memory"}} in pod["volumes"]
    assert {"name": "v", "mountPath": "/v"} in container["volumeMounts"]


def test_operator_config_maps_to_the_keys_of_the_config_map() -> None:
    text = chart(
        "operatorConfig.controllerReconcileTimeout=30s",
        "operatorConfig.engramDefaultMaxInlineSize=4096",
        "operatorConfig.debugEnableMetrics=false",
        "operatorConfig.storyrunQueueFastConcurrency=3",
    )
    assert objects(text)["ConfigMap bobrapet-system/bobrapet-operator-config"]["data"] == {
        "controller.reconcile-timeout": "30s",
        "engram.default-max-inline-size": "4096",
        "debug.enable-metrics": "false",
        "storyrun.queue.fast.concurrency": "3",
    }


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("controllerManager.replica=2", "replica"),
        ("controllerManager.replicas=many", "replicas"),
        ("operatorConfig.controllerReconcileTimeouts=1s", "controllerReconcileTimeouts"),
        ("webhook.certificates.provider=vault", "provider"),
        ("controllerManager.manager.image.digest=abc", "digest"),
        ("controllerManager.replicas=2,controllerManager.leaderElection=false", "leaderElection"),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_name(value: str, named: str) -> None:
    done = subprocess.run(
        [tool("helm"), "template", "x", str(CHART), "--set", value], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert named in done.stderr


def test_crds_are_objects_of_the_release_so_that_an_upgrade_changes_them() -> None:
    crds = {key: obj for key, obj in objects(chart(crds=True)).items() if obj["kind"] == "CustomResourceDefinition"}
    assert len(crds) == 12
    assert all(obj["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for obj in crds.values())
    assert not [key for key in objects(chart()) if key.startswith("CustomResourceDefinition")]


def test_dashboards_come_as_config_maps_that_grafana_finds() -> None:
    found = {
        key: obj
        for key, obj in objects(chart("dashboards.enabled=true")).items()
        if obj["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    }
    assert len(found) == 2
    for obj in found.values():
        for name, text in obj["data"].items():
            assert yaml.safe_load(text)["title"], name


def test_the_notes_tell_the_next_step_and_helm_finds_no_fault() -> None:
    said = call(tool("helm"), "lint", "--strict", "--quiet", str(CHART))
    assert "ERROR" not in said
    said = call(tool("helm"), "install", "bobrapet", str(CHART), *INSTALL)
    notes = said.partition("NOTES:")[2]
    assert "rollout status deployment/bobrapet-controller-manager" in notes
    assert "kubectl apply -f" in notes


def test_claims_of_file_storage_are_mounted_where_the_manager_looks_for_them() -> None:
    prefix = "fileStorage.claims"
    own = (f"{prefix}[0].namespace=bobrapet-system", f"{prefix}[0].claim=payloads")
    other = (f"{prefix}[1].namespace=team", f"{prefix}[1].claim=data", f"{prefix}[1].volume.nfs.server=files")
    pod = manager_pod(chart(*own, *other, f"{prefix}[1].volume.nfs.path=/x"))
    assert "--storage-claims-path=/claims" in pod["containers"][0]["args"]
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert mounts["claim-0"] == "/claims/bobrapet-system/payloads"
    assert mounts["claim-1"] == "/claims/team/data"
    volumes = {each.pop("name"): each for each in pod["volumes"]}
    assert volumes["claim-0"] == {"persistentVolumeClaim": {"claimName": "payloads"}}
    assert volumes["claim-1"] == {"nfs": {"server": "files", "path": "/x"}}


def test_a_claim_that_no_pod_of_the_manager_can_mount_is_refused() -> None:
    values = ("--set", "fileStorage.claims[0].namespace=team", "--set", "fileStorage.claims[0].claim=data")
    command = [tool("helm"), "template", "bobrapet", str(CHART), *values]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode != 0
    assert "give the volume behind team/data" in done.stderr


def test_the_component_of_file_storage_gives_what_the_chart_gives(tmp_path: Path) -> None:
    # kubectl takes relative paths only.
    here = {part: os.path.relpath(MANIFESTS / part, tmp_path) for part in ("default", "file-storage")}
    overlay = {"resources": [here["default"]], "components": [here["file-storage"]]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    prefix = "fileStorage.claims[0]"
    ours = manager_pod(chart(f"{prefix}.namespace=bobrapet-system", f"{prefix}.claim=payloads"))
    theirs = manager_pod(call(tool("kubectl"), "kustomize", str(tmp_path)))
    for pod in (ours, theirs):
        pod["containers"][0]["args"].sort()
    assert ours == theirs


def test_the_engram_of_the_operator_comes_with_the_chart_where_its_kind_is_known() -> None:
    shown = call(
        *(tool("helm"), "template", "bobrapet", str(CHART), "--set", "crds.enabled=false"),
        *("--api-versions", "catalog.bubustack.io/v1alpha1/EngramTemplate"),
    )
    made = objects(shown)["EngramTemplate /materialize"]
    assert "post-install" in made["metadata"].pop("annotations")["helm.sh/hook"]
    assert made == yaml.safe_load((MANIFESTS / "engrams/materialize.yaml").read_text())
    assert "EngramTemplate /materialize" not in objects(chart()), "applied with its kind it would be refused"


def manager_pod(text: str) -> Object:
    found: Object = objects(text)["Deployment bobrapet-system/bobrapet-controller-manager"]["spec"]["template"]["spec"]
    return copy.deepcopy(found)
