"""The environment and the command line of a container, from its spec and the objects that it refers to.

Pure: the node fetches what `references` names, then everything here is a function of plain objects.
Follows the rules of a kubelet: later entries win, `$(NAME)` is expanded from what was defined before, `$$` escapes, an
unknown `$(NAME)` stays as it is.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from . import quantity
from .errors import ConfigInvalid

Object = Mapping[str, Any]
Reference = tuple[Literal["Secret", "ConfigMap"], str]

_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['([^']*)'\]")
_EXPANSION = re.compile(r"\$(?:\$|\(([^()]*)\))")


@dataclass(frozen=True, slots=True)
class Objects:
    """The Secrets and ConfigMaps that a pod refers to, by name, as the API server gave them; the missing are absent."""

    secrets: Mapping[str, Object] = field(default_factory=dict)
    config_maps: Mapping[str, Object] = field(default_factory=dict)

    def data(self, kind: str, name: str) -> dict[str, bytes] | None:
        """The object's keys with their values as bytes; None when it does not exist."""
        if kind == "Secret":
            secret = self.secrets.get(name)
            return (
                None if secret is None else {key: _decode(value) for key, value in (secret.get("data") or {}).items()}
            )
        config = self.config_maps.get(name)
        if config is None:
            return None
        text = {key: value.encode() for key, value in (config.get("data") or {}).items()}
        return text | {key: _decode(value) for key, value in (config.get("binaryData") or {}).items()}


@dataclass(frozen=True, slots=True)
class Machine:
    """What the downward API tells about the node; resources are those a container without limits may use."""

    name: str
    cpu: str
    memory: str
    ip: str = "127.0.0.1"


def references(container: Object) -> Iterator[Reference]:
    """The objects that the container's environment is taken from."""
    for source in container.get("envFrom") or ():
        if "secretRef" in source:
            yield "Secret", source["secretRef"].get("name", "")
        if "configMapRef" in source:
            yield "ConfigMap", source["configMapRef"].get("name", "")
    for entry in container.get("env") or ():
        value_from = entry.get("valueFrom") or {}
        if "secretKeyRef" in value_from:
            yield "Secret", value_from["secretKeyRef"].get("name", "")
        if "configMapKeyRef" in value_from:
            yield "ConfigMap", value_from["configMapKeyRef"].get("name", "")


def environment(
    pod: Object, container: Object, objects: Objects, machine: Machine, base: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of the container; `base` (PATH and the like) gives way to what the pod says.

    Raises ConfigInvalid with the sentence that the pod's status shall show.
    """
    result = dict(base)
    for source in container.get("envFrom") or ():
        result.update(_from_source(source, objects))
    for entry in container.get("env") or ():
        name = entry["name"]
        if "valueFrom" in entry:
            value = _from_reference(entry["valueFrom"], pod, container, objects, machine)
            if value is None:
                continue
        else:
            value = expand(entry.get("value", ""), result)
        if "\0" in value:
            raise ConfigInvalid(f"environment variable {name} holds a NUL byte, which no process can receive")
        result[name] = value
    return result


def command_line(container: Object, image_command: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """`command` replaces the image's entry point, `args` follow it; both are expanded.

    Raises ConfigInvalid when nothing is left to execute.
    """
    entry = [expand(word, env) for word in container.get("command") or ()] or [*image_command]
    line = entry + [expand(word, env) for word in container.get("args") or ()]
    if not line:
        image = container.get("image", "")
        raise ConfigInvalid(
            f'no command specified: image "{image}" has none on this machine and the container sets no command'
        )
    return line


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replaces `$(NAME)` by its value; `$$(NAME)` stands for the text `$(NAME)`."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return env.get(name, match.group(0))

    return _EXPANSION.sub(value, text)


def field_value(pod: Object, path: str, machine: Machine) -> str:
    """A field as the downward API writes it; labels and annotations as a whole one `key="value"` a line.

    Raises ConfigInvalid for a path that the downward API does not offer.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript is not None:
        table = metadata.get(subscript.group(1).partition(".")[2]) or {}
        return str(table.get(subscript.group(2), ""))
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(metadata.get(path.partition(".")[2], ""))
        case "metadata.labels" | "metadata.annotations":
            table = metadata.get(path.partition(".")[2]) or {}
            return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(table.items()))
        case "spec.nodeName":
            return machine.name
        case "spec.serviceAccountName":
            return str(spec.get("serviceAccountName") or "default")
        case "status.hostIP" | "status.hostIPs" | "status.podIP" | "status.podIPs":
            return machine.ip
    raise ConfigInvalid(f"fieldRef {path!r}: the downward API has no such field")


def resource_value(pod: Object, container: Object, reference: Object, machine: Machine) -> str:
    """A `resourceFieldRef`: a limit or request of a container, or what the machine has when there is no limit."""
    target = container
    name = reference.get("containerName")
    if name:
        candidates = [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]
        found = next((candidate for candidate in candidates if candidate.get("name") == name), None)
        if found is None:
            raise ConfigInvalid(f"resourceFieldRef: the pod has no container {name!r}")
        target = found
    kind, _, resource = str(reference.get("resource", "")).partition(".")
    resources = target.get("resources") or {}
    amount = (resources.get(kind) or {}).get(resource)
    if amount is None and kind == "limits":
        amount = {"cpu": machine.cpu, "memory": machine.memory}.get(resource)
    try:
        return quantity.in_units(str(amount or "0"), str(reference.get("divisor") or "") or None)
    except ValueError as error:
        raise ConfigInvalid(f"resourceFieldRef {kind}.{resource}: {error}") from error


def _from_source(source: Object, objects: Objects) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    result: dict[str, str] = {}
    for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
        reference = source.get(key)
        if reference is None:
            continue
        name = reference.get("name", "")
        data = objects.data(kind, name)
        if data is None:
            if reference.get("optional"):
                continue
            raise ConfigInvalid(_missing(kind, name))
        for variable, value in data.items():
            # A kubelet skips keys that cannot name a variable; so do we.
            if variable and "=" not in variable and b"\0" not in value:
                result[prefix + variable] = _text(value)
    return result


def _from_reference(
    value_from: Object, pod: Object, container: Object, objects: Objects, machine: Machine
) -> str | None:
    """The value, or None when an optional object or key is absent (the variable is then not set)."""
    if "fieldRef" in value_from:
        return field_value(pod, value_from["fieldRef"].get("fieldPath", ""), machine)
    if "resourceFieldRef" in value_from:
        return resource_value(pod, container, value_from["resourceFieldRef"], machine)
    for kind, key in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
        reference = value_from.get(key)
        if reference is None:
            continue
        name = reference.get("name", "")
        data = objects.data(kind, name)
        if data is not None and reference["key"] in data:
            return _text(data[reference["key"]])
        if reference.get("optional"):
            return None
        if data is None:
            raise ConfigInvalid(_missing(kind, name))
        raise ConfigInvalid(f"couldn't find key {reference['key']} in {kind} {name!r}")
    raise ConfigInvalid(f"unsupported valueFrom: {', '.join(value_from) or 'nothing'}")


def _missing(kind: str, name: str) -> str:
    return f'{kind.lower()} "{name}" not found'


def _decode(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ConfigInvalid(f"data is not base64: {error}") from error


def _text(value: bytes) -> str:
    """Bytes as an environment carries them: undecodable ones survive, as os.fsencode turns them back."""
    return value.decode("utf-8", "surrogateescape")


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
