from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from bobrapet.local.node.credentials import kubeconfig, token_volume, with_token_volume
from bobrapet.local.node.environment import Machine, Objects
from bobrapet.local.node.errors import VolumeUnavailable
from bobrapet.local.node.volumes import File, PodFolder, TokenRequest, contents, references, token_requests
from bobrapet.runtime.rest.config import RestConfig

from .pods import container, pod

MACHINE = Machine("here", cpu="2", memory="1Gi")
OBJECTS = Objects(
    secrets={"s": {"data": {"a": base64.b64encode(b"1").decode(), "b": base64.b64encode(b"2").decode()}}},
    config_maps={"c": {"data": {"conf": "x=1"}}},
)


def files(volume: dict[str, Any]) -> dict[str, bytes]:
    tokens = dict.fromkeys(token_requests(volume), "jwt")
    made = contents(volume, pod(), OBJECTS, MACHINE, tokens, b"CA")
    return {file.path: file.content for file in made}


def test_a_secret_volume_holds_all_keys_or_the_chosen_ones_with_their_modes() -> None:
    assert files({"name": "v", "secret": {"secretName": "s"}}) == {"a": b"1", "b": b"2"}
    volume = {"name": "v", "secret": {"secretName": "s", "items": [{"key": "a", "path": "x/y", "mode": 0o400}]}}
    assert contents(volume, pod(), OBJECTS, MACHINE, {}, b"") == [File("x/y", b"1", 0o400)]


def test_a_missing_object_or_key_is_named_unless_it_is_optional() -> None:
    with pytest.raises(VolumeUnavailable, match='secret "none" not found'):
        files({"name": "v", "secret": {"secretName": "none"}})
    with pytest.raises(VolumeUnavailable, match="non-existent configmap key: z"):
        files({"name": "v", "configMap": {"name": "c", "items": [{"key": "z", "path": "z"}]}})
    assert files({"name": "v", "secret": {"secretName": "none", "optional": True}}) == {}


def test_a_projected_volume_joins_token_authority_secret_and_fields() -> None:
    volume = {
        "name": "v",
        "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "token", "audience": "me", "expirationSeconds": 700}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"secret": {"name": "s"}},
                {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ]
        },
    }
    assert list(token_requests(volume)) == [TokenRequest("token", "me", 700)]
    assert list(references(volume)) == [("ConfigMap", "kube-root-ca.crt"), ("Secret", "s")]
    assert files(volume) == {"token": b"jwt", "ca.crt": b"CA", "a": b"1", "b": b"2", "ns": b"ns"}


def test_a_published_authority_wins_over_the_one_of_the_node() -> None:
    volume = {"name": "v", "configMap": {"name": "kube-root-ca.crt"}}
    published = Objects({}, {"kube-root-ca.crt": {"data": {"ca.crt": "PUBLISHED"}}})
    assert contents(volume, pod(), published, MACHINE, {}, b"CA") == [File("ca.crt", b"PUBLISHED")]


def test_mount_paths_are_found_below_the_root_of_the_container_and_shared_between_containers(tmp_path: Path) -> None:
    folder = PodFolder(tmp_path, "ns", "p", "uid")
    folder.create()
    folder.publish("secret", [File("key", b"1", 0o400)])
    folder.make("shared")
    folder.mount("a", [{"name": "secret", "mountPath": "/etc/x"}, {"name": "shared", "mountPath": "/tmp"}], {})
    folder.mount("b", [{"name": "shared", "mountPath": "/data", "subPathExpr": "$(WHO)"}], {"WHO": "me"})
    key = folder.root("a") / "etc/x/key"
    assert key.read_bytes() == b"1"
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    (folder.root("b") / "data/out").write_text("hello")
    assert (folder.root("a") / "tmp/me/out").read_text() == "hello"
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_volume_mounted_inside_another_is_found_in_it(tmp_path: Path) -> None:
    folder = PodFolder(tmp_path, "ns", "p", "uid")
    folder.create()
    folder.make("outer")
    folder.publish("inner", [File("f", b"1")])
    mounts = [{"name": "inner", "mountPath": "/a/b"}, {"name": "outer", "mountPath": "/a"}]
    folder.mount("c", mounts, {})
    folder.mount("c", mounts, {})  # as a restart does
    assert (folder.root("c") / "a/b/f").read_bytes() == b"1"


@pytest.mark.parametrize("path", ["../../etc", "/etc"])
def test_nothing_leaves_its_volume(tmp_path: Path, path: str) -> None:
    folder = PodFolder(tmp_path, "ns", "p", "uid")
    folder.create()
    with pytest.raises(VolumeUnavailable, match="leaves its volume"):
        folder.publish("v", [File(path, b"")])
    with pytest.raises(VolumeUnavailable, match="leaves its volume"):
        folder.mount("c", [{"name": "v", "mountPath": "/m", "subPath": path}], {})


def test_a_published_volume_changes_as_a_whole_and_what_is_open_stays_readable(tmp_path: Path) -> None:
    folder = PodFolder(tmp_path, "ns", "p", "uid")
    folder.create()
    volume = folder.volumes / "v"
    folder.publish("v", [File("a", b"1"), File("deep/b", b"1"), File("gone", b"1")])
    before = (volume / "..data").resolve()
    with open(volume / "a", "rb") as held:
        folder.publish("v", [File("a", b"2"), File("deep/b", b"2"), File("new", b"2", 0o400)])
        assert held.read() == b"1"
    assert (before / "a").read_bytes() == b"1", "who was about to mount it still finds it"
    assert {entry.name for entry in volume.iterdir() if not entry.name.startswith("..")} == {"a", "deep", "new"}
    assert [(volume / name).read_bytes() for name in ("a", "deep/b", "new")] == [b"2"] * 3
    assert stat.S_IMODE((volume / "new").stat().st_mode) == 0o400
    folder.publish("v", [File("a", b"3")])
    assert not before.exists()
    assert sorted(os.listdir(volume))[-1] == "a"


def test_a_volume_that_did_not_change_is_left_alone(tmp_path: Path) -> None:
    folder = PodFolder(tmp_path, "ns", "p", "uid")
    folder.create()
    folder.publish("v", [File("a", b"1")])
    before = os.readlink(folder.volumes / "v/..data")
    folder.publish("v", [File("a", b"1")])
    assert os.readlink(folder.volumes / "v/..data") == before


def test_secrets_are_gone_after_the_pod_but_logs_stay_until_it_is_deleted(tmp_path: Path) -> None:
    folder = PodFolder(tmp_path, "ns", "p", "uid")
    folder.create()
    folder.publish("secret", [File("key", b"1")])
    folder.log("c", 3).parent.mkdir(parents=True)
    folder.log("c", 3).touch()
    folder.discard_files()
    assert not folder.volumes.exists()
    assert folder.starts() == {"c": 3}
    folder.remove()
    assert not folder.existed


def test_every_container_gets_a_token_unless_admission_did_it_or_the_pod_declines() -> None:
    plain = with_token_volume(pod(container(), initContainers=[container("init")]))
    assert token_volume(plain) == "kube-api-access"
    assert all(entry["volumeMounts"] for entry in (*plain["spec"]["containers"], *plain["spec"]["initContainers"]))
    assert with_token_volume(plain) == plain
    assert token_volume(with_token_volume(pod(automountServiceAccountToken=False))) is None


def test_the_kubeconfig_of_a_pod_points_to_the_server_and_the_token_beside_it() -> None:
    file = kubeconfig(RestConfig(host="https://127.0.0.1:6443"), b"CA", "ns")
    assert b'"tokenFile": "token"' in file.content
    assert b'"server": "https://127.0.0.1:6443"' in file.content
    assert b'"namespace": "ns"' in file.content
    assert file.mode == 0o600
