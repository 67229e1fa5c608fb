"""Volumes as folders. What a mount is on a cluster is a link in a folder of the container's own, told in BUBU_POD_ROOT.

    pods/<namespace>_<name>_<uid>/
        volumes/<volume>/          content, one folder each
        volumes/<volume>/..data    a link to the files as the API server has them; changed at once, as by a kubelet
        roots/<container>/         BUBU_POD_ROOT: mount paths below it are links to volumes
        logs/<container>/<n>.log   output of the n-th start

`contents` is pure and says what the files of a volume are; `PodFolder` puts them on the disk.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .environment import Machine, Object, Objects, Reference, expand, field_value, resource_value
from .errors import ConfigInvalid, VolumeUnavailable
from .processes import Mount

TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
ROOT_CA_CONFIG_MAP = "kube-root-ca.crt"
DEFAULT_TOKEN_SECONDS = 3607  # what the ServiceAccount admission plugin asks for
TOKEN_MODE = 0o600
PATH_MAX_NAME = 255
DATA = "..data"
TERMINATION_MESSAGE = 4096
"""Bytes of a termination message."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a volume: path below the volume, content, permissions."""

    path: str
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom the files of published volumes belong. None: as they are made; a `group` may read them all."""

    user: int | None = None
    group: int | None = None
    shared: bool = False
    """Containers run as several users, so that not even tokens can be for one alone."""

    def take(self, path: Path, mode: int) -> None:
        """Hands a file or folder over."""
        if self.group is not None:
            mode |= 0o2050 if path.is_dir() else 0o040
        elif self.shared:
            mode |= 0o044
        if self.user is not None or self.group is not None:
            os.chown(path, -1 if self.user is None else self.user, -1 if self.group is None else self.group)
        os.chmod(path, mode)

    def share(self, folder: Path) -> None:
        """Lets the group write into a folder, and gives it what is made there."""
        state = folder.stat()
        if self.group is None or state.st_gid == self.group:
            return
        os.chown(folder, -1, self.group)
        folder.chmod(stat.S_IMODE(state.st_mode) | 0o2070)


NOBODY = Owner()


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A ServiceAccount token that a volume wants at a path."""

    path: str
    audience: str | None
    seconds: int


def references(volume: Object) -> Iterator[Reference]:
    """The objects that the volume is made from."""
    for source in _sources(volume):
        if "secret" in source:
            yield "Secret", _object_name(source["secret"])
        if "configMap" in source:
            yield "ConfigMap", _object_name(source["configMap"])


def token_requests(volume: Object) -> Iterator[TokenRequest]:
    """The tokens that the volume holds."""
    for source in _sources(volume):
        token = source.get("serviceAccountToken")
        if token is not None:
            seconds = int(token.get("expirationSeconds") or 3600)
            yield TokenRequest(token.get("path") or "token", token.get("audience"), seconds)


def changes(volume: Object) -> bool:
    """Whether the volume can change while the pod runs, other than by the renewal of a token."""
    if any(name != ROOT_CA_CONFIG_MAP for _, name in references(volume)):
        return True
    return tells_metadata(volume)


def tells_metadata(volume: Object) -> bool:
    """Whether the volume shows labels or annotations of the pod."""
    return any(
        str((item.get("fieldRef") or {}).get("fieldPath", "")).startswith(("metadata.labels", "metadata.annotations"))
        for source in _sources(volume)
        for item in (source.get("downwardAPI") or {}).get("items") or ()
    )


def contents(
    volume: Object, pod: Object, objects: Objects, machine: Machine, tokens: Mapping[TokenRequest, str], ca: bytes
) -> list[File]:
    """The files of a Secret, ConfigMap, downward API or projected volume; none for the kinds that are just folders.

    `ca` stands in for the ConfigMap kube-root-ca.crt where nothing publishes it. Raises VolumeUnavailable.
    """
    body = next((volume[kind] for kind in ("secret", "configMap", "downwardAPI", "projected") if kind in volume), None)
    if body is None:
        return []
    mode = int(body.get("defaultMode") or 0o644)
    files: list[File] = []
    for source in _sources(volume):
        files.extend(_from_object("Secret", source.get("secret"), objects, mode))
        config = source.get("configMap")
        if config is not None and _object_name(config) == ROOT_CA_CONFIG_MAP and ca:
            objects = Objects(
                objects.secrets, {ROOT_CA_CONFIG_MAP: {"data": {"ca.crt": ca.decode()}}, **objects.config_maps}
            )
        files.extend(_from_object("ConfigMap", config, objects, mode))
        downward = source.get("downwardAPI")
        if downward is not None:
            files.extend(_from_fields(downward, pod, machine, mode))
    files.extend(File(request.path, tokens[request].encode(), TOKEN_MODE) for request in token_requests(volume))
    return files


class PodFolder:
    """The files of one pod on this machine."""

    def __init__(self, base: Path, namespace: str, name: str, uid: str) -> None:
        # Names are DNS labels, so `_` separates; a name as long as the API allows still has to fit a file name.
        label = f"{namespace}_{name}"[: PATH_MAX_NAME - len(uid) - 1]
        self.path = base / f"{label}_{uid}"
        self.volumes = self.path / "volumes"
        self.logs = self.path / "logs"
        self._published: dict[str, Sequence[File]] = {}
        self._adopted: dict[str, Path] = {}
        self._generation = 0

    @property
    def existed(self) -> bool:
        """A node has dealt with this pod before: something of it may have run."""
        return self.path.exists()

    def root(self, container: str) -> Path:
        """The folder that stands for `/` of a container."""
        return self.path / "roots" / container

    def log(self, container: str, restart: int) -> Path:
        """The log file of a start of a container."""
        return self.logs / container / f"{restart}.log"

    def starts(self) -> dict[str, int]:
        """The number of the last start of each container that was ever started (0: the first)."""
        found: dict[str, int] = {}
        for file in self.logs.glob("*/*.log"):
            if file.stem.isdigit():
                found[file.parent.name] = max(int(file.stem), found.get(file.parent.name, 0))
        return found

    def create(self) -> None:
        """Makes the folder, for this user alone: it holds Secrets."""
        self.volumes.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def make(self, volume: str) -> None:
        """An empty folder that every container of the pod may use, whoever it runs as."""
        folder = self.volumes / volume
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)

    def publish(self, volume: str, files: Sequence[File], owner: Owner = NOBODY) -> None:
        """Lets a volume show what the API server has, all of a change at once: containers only read it.

        What is there already stays as it is. The files of the change before are kept until the next one, for who is
        about to mount them.
        """
        if self._published.get(volume) == files:
            return
        folder = self.volumes / volume
        folder.mkdir(parents=True, exist_ok=True)
        self._generation += 1
        fresh = folder / f"..{self._generation}_{secrets.token_hex(4)}"
        fresh.mkdir()
        owner.take(fresh, 0o755)
        for file in files:
            target = fresh / _inside(file.path)
            for parent in reversed(target.relative_to(fresh).parents[:-1]):
                (fresh / parent).mkdir(exist_ok=True)
                owner.take(fresh / parent, 0o755)
            with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(file.content)
            owner.take(target, file.mode)
        data, before = folder / DATA, None
        if data.is_symlink():
            before = os.readlink(data)
        _link(data, fresh.name)
        names = {_inside(file.path).parts[0] for file in files}
        for name in names:
            if not (folder / name).is_symlink():
                _link(folder / name, f"{DATA}/{name}")
        for entry in folder.iterdir():
            if entry.name in names or entry.name in (DATA, fresh.name, before):
                continue
            if entry.is_symlink():
                entry.unlink()
            else:
                shutil.rmtree(entry)
        self._published[volume] = list(files)

    def adopt(self, volume: str, folder: Path) -> None:
        """Lets the volume be a folder that exists elsewhere (hostPath, a claim)."""
        link = self.volumes / volume
        self._adopted[volume] = folder
        if not link.is_symlink():
            link.symlink_to(folder, target_is_directory=folder.is_dir())

    def mount(self, container: str, mounts: Iterable[Object], env: Mapping[str, str]) -> list[Mount]:
        """Lays the container's mount paths out below its root, and says what could be mounted at them.

        Raises VolumeUnavailable for a sub-path that leaves its volume.
        """
        root = self.root(container)
        wanted = []
        (root / "tmp").mkdir(parents=True, exist_ok=True)
        # Shorter paths first, so that a mount inside a mount finds its folder.
        for mount in sorted(mounts, key=lambda mount: len(PurePosixPath(mount["mountPath"]).parts)):
            source = self.volumes / mount["name"]
            sub_path = mount.get("subPath") or expand(mount.get("subPathExpr") or "", env)
            if sub_path:
                source = source / _inside(sub_path)
                if not source.exists():
                    source.mkdir(parents=True)
            place = root / _inside(mount["mountPath"].lstrip("/"))
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_symlink():
                place.unlink()
            elif place.is_dir():
                shutil.rmtree(place)
            place.symlink_to(source)
            target = str(PurePosixPath("/", _inside(mount["mountPath"].lstrip("/"))))
            read_only = bool(mount.get("readOnly")) or mount["name"] in self._published
            wanted.append(Mount(str(source.resolve()), target, read_only))
        return wanted

    def offer_termination_message(self, container: str, path: str) -> list[Mount]:
        """Makes the file into which a container may write why it ended, and says where it could be mounted.

        Not in /dev, where it is by default: a hundred devices would have to be bound for each container.
        """
        file = self.root(container) / _inside(path.lstrip("/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.touch()
        return [] if path.startswith("/dev/") else [Mount(str(file), str(PurePosixPath("/", path)))]

    def termination_message(self, container: str, path: str) -> str:
        """What a container wrote there."""
        try:
            with open(self.root(container) / _inside(path.lstrip("/")), "rb") as file:
                return file.read(TERMINATION_MESSAGE).decode(errors="replace")
        except OSError:
            return ""

    def adopted(self) -> list[str]:
        """The folders outside of the pod that are volumes of it."""
        return [str(folder.resolve()) for folder in self._adopted.values() if folder.is_dir()]

    def writable(self) -> list[str]:
        """What the volumes are on this machine."""
        return [str(self.volumes), *self.adopted()]

    def open_to(self, container: str, user: int) -> None:
        """Lets another user use the container's own files. Who may enter `pods` at all, decides the node."""
        root = self.root(container)
        self.path.chmod(0o755)
        (root / "tmp").chmod(0o1777)
        for path, folders, files in os.walk(root):
            os.chown(path, user, -1)
            for name in (*folders, *files):
                os.chown(os.path.join(path, name), user, -1, follow_symlinks=False)

    def scratch(self, container: str) -> Path:
        """An empty folder for the start of a container."""
        folder = self.path / "scratch" / container
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def discard_files(self) -> None:
        """Removes volumes and roots, Secrets and tokens first of all; the logs stay until the pod is deleted."""
        shutil.rmtree(self.volumes, ignore_errors=True)
        shutil.rmtree(self.path / "roots", ignore_errors=True)
        shutil.rmtree(self.path / "scratch", ignore_errors=True)

    def remove(self) -> None:
        """Removes everything."""
        shutil.rmtree(self.path, ignore_errors=True)


def _link(place: Path, target: str) -> None:
    """A symbolic link that replaces what was there at once."""
    partial = place.with_name(f"{place.name}_tmp")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    os.replace(partial, place)


def _sources(volume: Object) -> list[Object]:
    """The sources of a volume, as if every volume were a projected one."""
    if "projected" in volume:
        return list(volume["projected"].get("sources") or ())
    return [volume]


def _object_name(reference: Object) -> str:
    return str(reference.get("secretName") or reference.get("name") or "")


def _from_object(kind: str, reference: Object | None, objects: Objects, mode: int) -> list[File]:
    if reference is None:
        return []
    name, optional = _object_name(reference), bool(reference.get("optional"))
    try:
        data = objects.data(kind, name)
    except ConfigInvalid as error:
        raise VolumeUnavailable(f"{kind} {name!r}: {error}") from error
    if data is None:
        if optional:
            return []
        raise VolumeUnavailable(f'{kind.lower()} "{name}" not found')
    items = reference.get("items")
    if not items:
        return [File(key, value, mode) for key, value in data.items()]
    files = []
    for item in items:
        if item["key"] in data:
            files.append(File(item["path"], data[item["key"]], int(item.get("mode") or mode)))
        elif not optional:
            raise VolumeUnavailable(f"references non-existent {kind.lower()} key: {item['key']} of {name!r}")
    return files


def _from_fields(downward: Object, pod: Object, machine: Machine, mode: int) -> list[File]:
    files = []
    for item in downward.get("items") or ():
        try:
            if "fieldRef" in item:
                value = field_value(pod, item["fieldRef"].get("fieldPath", ""), machine)
            else:
                value = resource_value(pod, {}, item.get("resourceFieldRef") or {}, machine)
        except ConfigInvalid as error:
            raise VolumeUnavailable(str(error)) from error
        files.append(File(item["path"], value.encode(), int(item.get("mode") or mode)))
    return files


def _inside(path: str) -> PurePosixPath:
    """A relative path without `..`, whatever the API server let through."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise VolumeUnavailable(f"{path!r} leaves its volume: it must be relative and without '..'")
    return pure
