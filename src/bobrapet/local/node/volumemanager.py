"""Fetches what a pod's volumes hold, puts it on the disk, and keeps it up to date.

As a kubelet does it: tokens are renewed when four fifths of their life are over, Secrets and ConfigMaps are looked at
every minute, labels and annotations when the pod changes. A volume changes as a whole or not at all.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bobrapet.runtime.errors import ApiError, ControllerRuntimeError

from . import credentials, security, volumes
from .environment import Objects, Reference
from .errors import VolumeUnavailable
from .services import Services
from .volumes import NOBODY, Owner, PodFolder, TokenRequest

MIN_RENEWAL = 10.0  # seconds between two attempts to renew a token
LONGEST_SLEEP = 86_400.0

log = logging.getLogger(__name__)


class VolumeManager:
    """The volumes of one pod, and the objects that it refers to."""

    def __init__(self, pod: Mapping[str, Any], folder: PodFolder, services: Services) -> None:
        self.pod = pod
        self.folder = folder
        self._services = services
        self._listed: Sequence[Mapping[str, Any]] = pod["spec"].get("volumes") or ()
        self._tokens: Mapping[TokenRequest, str] = {}
        self._pod_changed = asyncio.Event()
        self._upkeep: asyncio.Task[None] | None = None
        self._owner = _owner(pod["spec"]) if services.strict and os.geteuid() == 0 else NOBODY

    async def aclose(self) -> None:
        """Stops keeping things up to date."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.wait({self._upkeep})

    def pod_changed(self) -> None:
        """Labels or annotations of `pod` may be others."""
        self._pod_changed.set()

    async def lay_out(self) -> bool:
        """Creates the pod's volumes. Raises VolumeUnavailable."""
        self.folder.create()
        expiry = await self._publish(renew=True)
        for volume in self._listed:
            adopted = self._adopted(volume)
            if adopted is not None:
                self.folder.adopt(volume["name"], adopted)
            elif not _is_published(volume):
                self.folder.make(volume["name"])
                self._owner.share(self.folder.volumes / volume["name"])
        if expiry is not None or any(volumes.changes(volume) for volume in self._listed):
            self._upkeep = asyncio.create_task(self._keep(expiry))
        return True

    async def _publish(self, *, renew: bool) -> datetime | None:
        """Brings what the API server has to the disk; answers when the first token expires, if tokens were renewed."""
        services = self._services
        published = [volume for volume in self._listed if _is_published(volume)]
        wanted = [reference for volume in published for reference in volumes.references(volume)]
        expiry = None
        if renew:
            objects, (self._tokens, expiry) = await asyncio.gather(self.objects(wanted), self._fetch_tokens())
        else:
            objects = await self.objects(wanted)
        token_volume = credentials.token_volume(self.pod)
        for volume in published:
            name = volume["name"]
            files = volumes.contents(volume, self.pod, objects, services.machine, self._tokens, services.ca)
            if name == token_volume:
                files.append(credentials.kubeconfig(services.config, services.ca, self.pod["metadata"]["namespace"]))
            self.folder.publish(name, files, self._owner)
        return expiry

    async def objects(self, wanted: Iterable[Reference]) -> Objects:
        """Those of the Secrets and ConfigMaps that exist."""
        names = sorted(set(wanted))
        namespace = self.pod["metadata"]["namespace"]
        answers = await asyncio.gather(*(self._services.api.get_object(kind, namespace, name) for kind, name in names))
        found = {reference: answer for reference, answer in zip(names, answers, strict=True) if answer is not None}
        return Objects(
            {name: answer for (kind, name), answer in found.items() if kind == "Secret"},
            {name: answer for (kind, name), answer in found.items() if kind == "ConfigMap"},
        )

    def _adopted(self, volume: Mapping[str, Any]) -> Path | None:
        """The folder outside the pod that the volume is; None for one of its own. Raises VolumeUnavailable."""
        if "hostPath" in volume:
            return Path(str(volume["hostPath"]["path"]))
        if "persistentVolumeClaim" in volume:
            namespace, name = self.pod["metadata"]["namespace"], volume["persistentVolumeClaim"]["claimName"]
            claim: Path = self._services.folder.parent / "claims" / namespace / name
            if not claim.exists():
                claim.mkdir(parents=True, exist_ok=True)
                if self._services.strict:
                    claim.chmod(0o777)  # whoever a pod runs as
            self._owner.share(claim)
            return claim
        supported = {"secret", "configMap", "downwardAPI", "projected", "emptyDir"}
        kinds = [kind for kind in volume if kind != "name"]
        if kinds and not supported.intersection(kinds):
            raise VolumeUnavailable(
                f"volume {volume['name']!r} is of kind {kinds[0]}, which needs a cluster; this node offers "
                f"{', '.join(sorted(supported))}, hostPath and persistentVolumeClaim"
            )
        return None

    async def _fetch_tokens(self) -> tuple[dict[TokenRequest, str], datetime | None]:
        """The tokens that the volumes want, and when the first of them expires."""
        account = self.pod["spec"].get("serviceAccountName") or "default"
        requests = list({request for volume in self._listed for request in volumes.token_requests(volume)})
        api = self._services.api
        try:
            answers = await asyncio.gather(
                *(api.token(self.pod, account, request.audience, request.seconds) for request in requests)
            )
        except ApiError as error:
            raise VolumeUnavailable(f'token of serviceaccount "{account}": {error}') from error
        tokens = {request: token for request, (token, _) in zip(requests, answers, strict=True)}
        return tokens, min((expiry for _, expiry in answers), default=None)

    async def _keep(self, expiry: datetime | None) -> None:
        """Publishes again when a token gets old, the pod is another, or it is time to look."""
        clock = self._services.clock
        changing = any(volumes.changes(volume) for volume in self._listed)
        renewal = self._renewal(expiry)
        while True:
            look = clock.monotonic() + self._services.volume_refresh if changing else math.inf
            await self._until(min(look, renewal))
            renew = clock.monotonic() >= renewal
            try:
                expiry = await self._publish(renew=renew)
                if renew:
                    renewal = self._renewal(expiry)
            except (VolumeUnavailable, ControllerRuntimeError, OSError) as error:
                name = self.pod["metadata"]["name"]
                log.warning("pod %s: its volumes could not be brought up to date, trying again: %s", name, error)
                if renew:
                    renewal = clock.monotonic() + MIN_RENEWAL

    def _renewal(self, expiry: datetime | None) -> float:
        """The moment (monotonic) at which tokens are renewed."""
        if expiry is None:
            return math.inf
        clock = self._services.clock
        left = (expiry - clock.now()).total_seconds()
        return clock.monotonic() + max(left * 0.8, MIN_RENEWAL)

    async def _until(self, moment: float) -> None:
        """Waits until a moment, or until the pod tells something else of itself in a volume."""
        clock = self._services.clock
        told = any(volumes.tells_metadata(volume) for volume in self._listed)
        waits: list[asyncio.Task[Any]] = []
        if told:
            waits.append(asyncio.create_task(self._pod_changed.wait()))
        if moment < math.inf or not told:
            waits.append(asyncio.create_task(clock.sleep(max(0.0, min(moment - clock.monotonic(), LONGEST_SLEEP)))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._pod_changed.clear()


def _is_published(volume: Mapping[str, Any]) -> bool:
    """Whether what is in the volume comes from the API server."""
    return any(kind in volume for kind in ("secret", "configMap", "downwardAPI", "projected"))


def _owner(spec: Mapping[str, Any]) -> Owner:
    """To whom a kubelet gives what it puts into volumes."""
    containers = (*(spec.get("initContainers") or ()), *spec["containers"])
    users = {security.wish(spec, container).user for container in containers}
    group = (spec.get("securityContext") or {}).get("fsGroup")
    return Owner(users.pop() if len(users) == 1 else None, group, shared=len(users) > 1)
