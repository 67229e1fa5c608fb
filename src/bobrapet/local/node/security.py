"""What the security contexts of a pod ask for, as far as a process can be held to it. Pure.

Fields of a container win over those of its pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ConfigInvalid

Object = Mapping[str, Any]

CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
"""By number, as the kernel counts them."""

DEFAULT_CAPABILITIES = frozenset(
    {
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE"),
        *("NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP"),
    }
)
"""What container runtimes leave a container of root."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a container asks for."""

    user: int | None = None
    """None: that of the image, which here is the one of the node."""

    group: int | None = None
    groups: tuple[int, ...] = ()
    """Supplementary groups, the one of the volumes among them."""

    drop: tuple[int, ...] = ()
    """Capabilities that it can do without, or must."""

    read_only_root: bool = False
    no_new_privileges: bool = False


def wish(pod_spec: Object, container: Object) -> Wish:
    """What a container asks for."""
    pod, own = pod_spec.get("securityContext") or {}, container.get("securityContext") or {}
    fs_group = pod.get("fsGroup")
    return Wish(
        user=_number(own, pod, "runAsUser"),
        group=_number(own, pod, "runAsGroup"),
        groups=tuple(
            dict.fromkeys([*(pod.get("supplementalGroups") or ()), *([] if fs_group is None else [fs_group])])
        ),
        drop=_dropped(own),
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
    )


def refuse_root(pod_spec: Object, container: Object, user: int) -> None:
    """Raises ConfigInvalid when `user`, who would run the container, is root and the pod wants none."""
    own = (container.get("securityContext") or {}).get("runAsNonRoot")
    wanted = (pod_spec.get("securityContext") or {}).get("runAsNonRoot") if own is None else own
    if not wanted or user != 0:
        return
    if wish(pod_spec, container).user == 0:
        raise ConfigInvalid("container's runAsUser breaks non-root policy")
    raise ConfigInvalid("container has runAsNonRoot and would run as root, as this node does: set runAsUser")


def _number(own: Object, pod: Object, name: str) -> int | None:
    found = own.get(name, pod.get(name))
    return None if found is None else int(found)


def _dropped(own: Object) -> tuple[int, ...]:
    if own.get("privileged"):
        return ()
    given = own.get("capabilities") or {}
    add, drop = _names(given.get("add") or ()), _names(given.get("drop") or ())
    kept = set(CAPABILITIES) if "ALL" in add else set(DEFAULT_CAPABILITIES)
    kept = set() if "ALL" in drop else kept - drop
    kept |= add
    return tuple(number for number, name in enumerate(CAPABILITIES) if name not in kept)


def _names(given: Sequence[str]) -> set[str]:
    return {name.upper().removeprefix("CAP_") for name in given}
