"""One start of one container: everything between its spec in the pod and the process that runs.

The command and its environment, where its volumes are mounted, what holds it (user, limits), and its log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import credentials, environment, volumes
from .cgroups import Group, limits_of
from .logs import ContainerLog, LogPipe
from .processes import Command, Mount, Process, User
from .security import Wish, refuse_root, wish
from .services import Services
from .status import Container
from .volumemanager import VolumeManager
from .volumes import PodFolder


@dataclass
class Run:
    """A container while the node deals with it."""

    index: int
    spec: Mapping[str, Any]
    process: Process | None = None
    command: Command | None = None
    log: ContainerLog | None = None
    pipes: tuple[LogPipe, ...] = ()
    group: Group | None = None
    crashes: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)
    """The container has started: for a sidecar the moment when the next one may."""

    def close(self) -> None:
        """Takes what the container still wrote, ends its log, and removes what held it."""
        for pipe in self.pipes:
            pipe.close()
        if self.log is not None:
            self.log.close()
        if self.group is not None:
            self.group.remove()
        self.group = None


class Launch:
    """Starts the containers of one pod."""

    def __init__(self, pod: Mapping[str, Any], folder: PodFolder, volumes: VolumeManager, services: Services) -> None:
        self._pod = pod
        self._folder = folder
        self._volumes = volumes
        self._services = services

    async def start(self, run: Run, container: Container) -> Process:
        """Starts the container and fills in `run`. Raises NodeError."""
        services, spec = self._services, run.spec
        image_command = services.images.resolve(container.image)
        objects = await self._volumes.objects(environment.references(spec))
        asked = wish(self._pod["spec"], spec)
        user = self._user(spec, asked)
        env = environment.environment(self._pod, spec, objects, services.machine, self._environment(run, user))
        argv = environment.command_line(spec, image_command, env)
        mounts = self._mountable(self._folder.mount(container.name, spec.get("volumeMounts") or (), env))
        mounts += self._folder.offer_termination_message(container.name, message_path(spec))
        cwd = self._working_directory(run)
        if user is not None:
            self._folder.open_to(container.name, user.user)
            needed = [str(self._folder.root(container.name)), cwd, *self._read_by(argv, env)]
            user = User(user.user, user.group, user.groups, needed)
        run.log = ContainerLog(self._folder.log(container.name, container.restarts))
        run.log.open()
        run.pipes = run.log.pipe("stdout"), run.log.pipe("stderr")
        try:
            run.group = self._control_group(spec)
            command = run.command = Command(
                argv,
                env,
                cwd,
                mounts,
                str(self._folder.scratch(container.name)),
                no_new_privileges=asked.no_new_privileges,
                groups=run.group.joins if run.group is not None else (),
                user=user,
                own=[str(self._folder.path), *self._folder.adopted()],
                drop_capabilities=asked.drop if services.strict else (),
                read_only=asked.read_only_root and services.strict,
                writable=self._writable(container.name, cwd, spec),
            )
            stdout, stderr = (pipe.writer for pipe in run.pipes)
            process = await services.launcher.run(command, stdout, stderr, run.group)
        except BaseException:
            run.close()
            raise
        for pipe in run.pipes:
            pipe.close_writer()
        run.process = process
        self._tell_what_is_missing(run, process.without, mounts, asked)
        return process

    # -- what the process finds

    def _environment(self, run: Run, user: User | None) -> dict[str, str]:
        root = self._folder.root(run.spec["name"])
        env = {
            **self._services.environment,
            **credentials.service_environment(self._services.config),
            "HOSTNAME": self._pod["spec"].get("hostname") or self._pod["metadata"]["name"],
            "BUBU_POD_ROOT": str(root),
            "TMPDIR": str(root / "tmp"),
        }
        if credentials.token_volume(self._pod) is not None:
            env["KUBECONFIG"] = f"{root}{volumes.TOKEN_FOLDER}/{credentials.KUBECONFIG}"
        if user is not None:
            env |= _home(user.user)
        return env

    def _mountable(self, mounts: Sequence[Mount]) -> list[Mount]:
        """Those that hide nothing that the container needs from this machine; the others are only linked."""
        return [
            mount
            for mount in mounts
            if not any(path.is_relative_to(os.path.realpath(mount.target)) for path in self._services.visible)
        ]

    def _working_directory(self, run: Run) -> str:
        wanted = run.spec.get("workingDir")
        if not wanted:
            return self._services.working_directory
        folder = self._folder.root(run.spec["name"]) / str(wanted).lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    # -- what holds the process

    def _user(self, spec: Mapping[str, Any], asked: Wish) -> User | None:
        """Who is to run the container; None: the user of the node. Raises ConfigInvalid for a root that may not be."""
        if not self._services.strict:
            return None
        mine = os.geteuid()
        refuse_root(self._pod["spec"], spec, mine if asked.user is None else asked.user)
        if mine != 0 or (asked.user is None and asked.group is None and not asked.groups):
            return None
        return User(asked.user or 0, asked.group or 0, asked.groups)

    def _read_by(self, argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """What a command cannot do without although it is not said: the Python of components."""
        program = shutil.which(argv[0], path=env.get("PATH"))
        python = self._services.python
        if program is not None and any(Path(program).is_relative_to(folder) for folder in python):
            return [str(folder) for folder in python]
        return []

    def _writable(self, container: str, cwd: str, spec: Mapping[str, Any]) -> list[str]:
        """What is no part of an image's file system, so that the machine stands in for what the pod brings along."""
        linked = [mount["mountPath"] for mount in spec.get("volumeMounts") or () if not mount.get("readOnly")]
        return [str(self._folder.root(container)), *self._folder.writable(), cwd, *linked]

    def _control_group(self, spec: Mapping[str, Any]) -> Group | None:
        services = self._services
        limits = limits_of(spec, cpu=services.strict)
        missing: Sequence[str] = services.groups.missing(limits)
        why = services.groups.why_not or "this process may make no control groups for that"
        group = None
        with contextlib.suppress(OSError):
            group = services.groups.make(limits)
        if missing:
            message = f"limits of {' and '.join(missing)} are not applied to containers: {why}"
            services.events.warning_of_node("LimitsNotApplied", message)
        return group

    def _tell_what_is_missing(self, run: Run, without: Mapping[str, str], mounts: Sequence[Mount], asked: Wish) -> None:
        """What the machine did not permit, as Warnings of the pod, or of the node where it is the same for all."""
        services = self._services
        if "mounts" in without:
            self._tell_unmounted(mounts, without["mounts"])
        if "limits" in without:
            services.events.warning_of_node(
                "LimitsNotApplied", f"limits are not applied to containers: {without['limits']}"
            )
        if not services.strict:
            return
        missing = []
        if asked.read_only_root and (why := without.get("read_only") or without.get("mounts")):
            missing.append(f"readOnlyRootFilesystem: {why}")
        if "user" in without:
            missing.append(f"runAsUser: {without['user']}")
        elif os.geteuid() != 0 and asked.user not in (None, os.geteuid()):
            missing.append(f"runAsUser: only root may run containers as user {asked.user}")
        if missing:
            message = f"container {run.spec['name']} runs without {'; '.join(missing)}"
            services.events.warning(self._pod, "SecurityContextNotApplied", message)

    def _tell_unmounted(self, mounts: Sequence[Mount], why: str) -> None:
        """Volumes are not where the pod wants them. Every pod has its token; components know where else that is."""
        spec = self._pod["spec"]
        containers = (*(spec.get("initContainers") or ()), *spec["containers"])
        told = (volumes.TOKEN_FOLDER, *(message_path(container) for container in containers))
        paths = [mount.target for mount in mounts if mount.target not in told]
        if paths:
            message = (
                f"this machine permits no mounts for containers ({why}); {', '.join(paths)} are found below the folder "
                "that BUBU_POD_ROOT names"
            )
            self._services.events.warning(self._pod, "VolumesNotMounted", message)


def message_path(spec: Mapping[str, Any]) -> str:
    """Where a container may write why it ended."""
    return str(spec.get("terminationMessagePath") or "/dev/termination-log")


def stop_signal(spec: Mapping[str, Any]) -> int:
    """What asks a container to end."""
    name = (spec.get("lifecycle") or {}).get("stopSignal") or "SIGTERM"
    return int(getattr(signal, name, signal.SIGTERM))


def _home(user: int) -> dict[str, str]:
    """What a login would say of the user, if this machine knows it."""
    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        return {"HOME": "/", "USER": str(user), "LOGNAME": str(user)}
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
