from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bobrapet.local.node.cgroups import ControlGroups
from bobrapet.local.node.credentials import with_token_volume
from bobrapet.local.node.environment import Machine
from bobrapet.local.node.errors import VolumeUnavailable
from bobrapet.local.node.services import Services
from bobrapet.local.node.volumemanager import VolumeManager
from bobrapet.local.node.volumes import PodFolder
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.errors import ConnectionFailed
from bobrapet.runtime.rest.config import RestConfig

from .pods import pod


class Api:
    """Issues numbered tokens that live for an hour."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.issued = 0
        self.failures: list[Exception] = []
        self.objects: dict[tuple[str, str], Any] = {}
        self.looks = 0

    async def get_object(self, kind: str, namespace: str, name: str) -> Any:
        self.looks += 1
        return self.objects.get((kind, name))

    async def token(self, pod: Any, account: str, audience: str | None, seconds: int) -> tuple[str, datetime]:
        if self.failures:
            raise self.failures.pop(0)
        self.issued += 1
        return f"token-{self.issued}", self.clock.now() + timedelta(hours=1)


class Setting:
    def __init__(self, folder: Path, made: dict[str, Any]) -> None:
        self.clock = FakeClock()
        self.api = Api(self.clock)
        unused: Any = None
        services = Services(
            api=self.api,  # type: ignore[arg-type]
            config=RestConfig(host="https://127.0.0.1:1"),
            launcher=unused,
            images=unused,
            events=unused,
            clock=self.clock,
            machine=Machine("here", "1", "1"),
            folder=folder / "pods",
            ca=b"CA",
            environment={},
            working_directory="/",
            groups=ControlGroups({}),
            volume_refresh=60,
        )
        self.folder = PodFolder(services.folder, "ns", "p", "uid")
        self.manager = VolumeManager(made, self.folder, services)

    def token(self) -> str:
        return self.read("kube-api-access/token")

    def read(self, path: str) -> str:
        return (self.folder.volumes / path).read_text()


async def test_a_token_is_renewed_when_four_fifths_of_its_life_are_over(tmp_path: Path) -> None:
    setting = Setting(tmp_path, with_token_volume(pod()))
    await setting.manager.lay_out()
    assert setting.token() == "token-1"
    await setting.clock.advance(0.8 * 3600 - 1)
    assert setting.token() == "token-1"
    await setting.clock.advance(1)
    assert setting.token() == "token-2"
    await setting.clock.advance(0.8 * 3600)
    assert setting.token() == "token-3"
    await setting.manager.aclose()


async def test_a_renewal_that_fails_is_tried_again_before_the_token_expires(tmp_path: Path) -> None:
    setting = Setting(tmp_path, with_token_volume(pod()))
    await setting.manager.lay_out()
    setting.api.failures = [ConnectionFailed("down")]
    await setting.clock.advance(3599)
    assert setting.token() == "token-2"
    await setting.manager.aclose()


async def test_a_changed_secret_and_config_map_are_seen_within_a_minute(tmp_path: Path) -> None:
    sources = [{"secret": {"name": "s"}}, {"configMap": {"name": "c", "optional": True}}]
    setting = Setting(tmp_path, pod(volumes=[{"name": "v", "projected": {"sources": sources}}]))
    setting.api.objects[("Secret", "s")] = {"data": {"key": "MQ=="}}
    await setting.manager.lay_out()
    setting.api.objects[("Secret", "s")] = {"data": {"key": "Mg=="}}
    setting.api.objects[("ConfigMap", "c")] = {"data": {"late": "x"}}
    await setting.clock.advance(59)
    assert setting.read("v/key") == "1"
    await setting.clock.advance(1)
    assert (setting.read("v/key"), setting.read("v/late")) == ("2", "x")
    await setting.manager.aclose()


async def test_what_a_volume_shows_stays_when_its_object_is_deleted(tmp_path: Path) -> None:
    setting = Setting(tmp_path, pod(volumes=[{"name": "v", "secret": {"secretName": "s"}}]))
    setting.api.objects[("Secret", "s")] = {"data": {"key": "MQ=="}}
    await setting.manager.lay_out()
    del setting.api.objects[("Secret", "s")]
    await setting.clock.advance(60)
    assert setting.read("v/key") == "1"
    setting.api.objects[("Secret", "s")] = {"data": {"key": "Mg=="}}
    await setting.clock.advance(60)
    assert setting.read("v/key") == "2"
    await setting.manager.aclose()


async def test_changed_labels_are_seen_when_the_pod_tells(tmp_path: Path) -> None:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    made = pod(volumes=[{"name": "v", "downwardAPI": {"items": items}}])
    setting = Setting(tmp_path, made)
    await setting.manager.lay_out()
    made["metadata"] = {**made["metadata"], "labels": {"now": "other"}}
    setting.manager.pod_changed()
    await setting.clock.advance(0)
    assert setting.read("v/labels") == 'now="other"'
    await setting.manager.aclose()


async def test_a_pod_that_shows_nothing_but_its_token_is_not_looked_at_every_minute(tmp_path: Path) -> None:
    setting = Setting(tmp_path, with_token_volume(pod()))
    await setting.manager.lay_out()
    before = setting.api.looks
    await setting.clock.advance(2000)
    assert setting.api.looks == before
    await setting.manager.aclose()


async def test_a_claim_is_one_folder_for_all_pods_that_name_it(tmp_path: Path) -> None:
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "c"}}
    setting = Setting(tmp_path, pod(volumes=[claim]))
    await setting.manager.lay_out()
    (setting.folder.volumes / "data" / "kept").touch()
    setting.folder.remove()
    assert (tmp_path / "claims/ns/c/kept").exists()


async def test_a_volume_that_needs_a_cluster_is_named_with_what_is_offered(tmp_path: Path) -> None:
    setting = Setting(tmp_path, pod(volumes=[{"name": "v", "nfs": {"server": "x", "path": "/"}}]))
    with pytest.raises(VolumeUnavailable, match=r"'v' is of kind nfs.*emptyDir"):
        await setting.manager.lay_out()
