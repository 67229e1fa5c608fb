"""Fetches what a pod's volumes hold, puts it on the disk, and keeps the tokens fresh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bobrapet.runtime.errors import ApiError, ControllerRuntimeError

from . import credentials, volumes
from .environment import Objects, Reference
from .errors import VolumeUnavailable
from .services import Services
from .volumes import TOKEN_MODE, File, PodFolder, TokenRequest

MIN_RENEWAL = 10.0  # seconds between two attempts to renew a token

log = logging.getLogger(__name__)


class VolumeManager:
    """The volumes of one pod, and the objects that it refers to."""

    def __init__(self, pod: Mapping[str, Any], folder: PodFolder, services: Services) -> None:
        self.pod = pod
        self.folder = folder
        self._services = services
        self._listed: Sequence[Mapping[str, Any]] = pod["spec"].get("volumes") or ()
        self._renewal: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Stops renewing tokens."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait({self._renewal})

    async def lay_out(self) -> bool:
        """Creates the pod's volumes. Raises VolumeUnavailable."""
        services = self._services
        self.folder.create()
        wanted = [reference for volume in self._listed for reference in volumes.references(volume)]
        objects, (tokens, expiry) = await asyncio.gather(self.objects(wanted), self._tokens())
        token_volume = credentials.token_volume(self.pod)
        for volume in self._listed:
            name = volume["name"]
            adopted = self._adopted(volume)
            if adopted is not None:
                self.folder.adopt(name, adopted)
                continue
            files = volumes.contents(volume, self.pod, objects, services.machine, tokens, services.ca)
            if name == token_volume:
                files.append(credentials.kubeconfig(services.config, services.ca, self.pod["metadata"]["namespace"]))
            if "emptyDir" in volume or volume.keys() == {"name"}:
                self.folder.write(name, files)
            else:
                self.folder.publish(name, files)
        if expiry is not None:
            self._renewal = asyncio.create_task(self._renew(expiry))
        return True

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
            claim.mkdir(parents=True, exist_ok=True)
            return claim
        supported = {"secret", "configMap", "downwardAPI", "projected", "emptyDir"}
        kinds = [kind for kind in volume if kind != "name"]
        if kinds and not supported.intersection(kinds):
            raise VolumeUnavailable(
                f"volume {volume['name']!r} is of kind {kinds[0]}, which needs a cluster; this node offers "
                f"{', '.join(sorted(supported))}, hostPath and persistentVolumeClaim"
            )
        return None

    async def _tokens(self) -> tuple[dict[TokenRequest, str], datetime | None]:
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

    async def _renew(self, expiry: datetime | None) -> None:
        """Replaces the tokens when four fifths of their life are over, as a kubelet does."""
        clock = self._services.clock
        while expiry is not None:
            left = (expiry - clock.now()).total_seconds()
            await clock.sleep(max(left * 0.8, MIN_RENEWAL))
            try:
                tokens, expiry = await self._tokens()
                for volume in self._listed:
                    renewed = [
                        File(request.path, tokens[request].encode(), TOKEN_MODE)
                        for request in volumes.token_requests(volume)
                    ]
                    if renewed:
                        self.folder.write(volume["name"], renewed)
            except (VolumeUnavailable, ControllerRuntimeError, OSError) as error:
                name = self.pod["metadata"]["name"]
                log.warning("pod %s: its token could not be renewed, trying again: %s", name, error)
