"""Manifests from files, folders and standard input, in the order in which they can be applied."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bobrapet.cli.errors import ManifestError
from bobrapet.cli.yaml_documents import Document, YamlError, load_documents

_ENDINGS: Final = frozenset({".yaml", ".yml", ".json"})
_MAX_BYTES: Final = 64 * 1024 * 1024

# What others refer to comes first. Kinds that are not named here come in between, by their order in the files.
_FIRST: Final = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "EngramTemplate",
    "ImpulseTemplate",
    "Transport",
    "ReferenceGrant",
    "Engram",
)
_LAST: Final = ("Story", "Impulse", "StoryTrigger", "StoryRun", "StepRun")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object and where it was written."""

    object: dict[str, Any]
    source: str
    document: Document | None = None

    @property
    def kind(self) -> str:
        return str(self.object.get("kind", ""))

    @property
    def name(self) -> str:
        return str((self.object.get("metadata") or {}).get("name", ""))

    @property
    def namespace(self) -> str:
        return str((self.object.get("metadata") or {}).get("namespace") or "")

    def at(self, path: Sequence[str | int] = ()) -> str:
        """Where a field stands, for a message: `story.yaml: document 2, line 14`."""
        if self.document is None:
            return self.source
        return f"{self.source}: document {self.document.index}, line {self.document.line_of(tuple(path))}"


def load(paths: Iterable[str], *, stdin: Any = None) -> list[Manifest]:
    """Reads every manifest below `paths` (`-` is standard input).

    Raises:
        ManifestError: with all faults: files that cannot be read, text that is not YAML, documents that are no objects.
    """
    faults: list[str] = []
    manifests: list[Manifest] = []
    for path in paths:
        if path == "-":
            text = (stdin or sys.stdin).read()
            manifests += _objects(text, "standard input", faults)
            continue
        for file in _files(Path(path), faults):
            try:
                if file.stat().st_size > _MAX_BYTES:
                    faults.append(f"{file}: larger than {_MAX_BYTES // 2**20} MiB, so not a manifest")
                    continue
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                faults.append(f"{file}: cannot be read: {_reason(error)}")
                continue
            manifests += _objects(text, str(file), faults)
    if faults:
        raise ManifestError(faults)
    return manifests


def apply_order(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Sorts so that what others refer to is applied first; within a kind the order of the files stays."""

    def rank(manifest: Manifest) -> int:
        if manifest.kind in _FIRST:
            return _FIRST.index(manifest.kind)
        if manifest.kind in _LAST:
            return 1_000 + _LAST.index(manifest.kind)
        return 500

    return sorted(manifests, key=rank)


def _files(path: Path, faults: list[str]) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix in _ENDINGS and file.is_file())
        if not found:
            faults.append(f"{path}: no *.yaml, *.yml or *.json below this folder")
        return found
    if not path.exists():
        faults.append(f"{path}: no such file or folder")
        return []
    return [path]


def _objects(text: str, source: str, faults: list[str]) -> list[Manifest]:
    manifests: list[Manifest] = []
    try:
        for document in load_documents(text):
            if not isinstance(document.value, dict):
                faults.append(
                    f"{source}: document {document.index}, line {document.line}: "
                    f"holds {_a(document.value)}, not a Kubernetes object"
                )
                continue
            manifests += _items(Manifest(document.value, source, document), faults)
    except YamlError as error:
        where = f"{source}: line {error.line}" if error.line else source
        faults.append(f"{where}: not valid YAML: {error}")
    return manifests


def _items(manifest: Manifest, faults: list[str]) -> list[Manifest]:
    """Opens a `List`; anything else is itself."""
    value = manifest.object
    for name in ("apiVersion", "kind"):
        if not isinstance(value.get(name), str) or not value[name]:
            faults.append(f"{manifest.at()}: {name}: missing; every object names its apiVersion and kind")
            return []
    if value["kind"] == "List" and isinstance(value.get("items"), list):
        found: list[Manifest] = []
        for item in value["items"]:
            if isinstance(item, dict):
                found += _items(Manifest(item, manifest.source, manifest.document), faults)
        return found
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        faults.append(f"{manifest.at(('metadata',))}: {value['kind']}: metadata.name: missing")
        return []
    return [manifest]


def _a(value: Any) -> str:
    match value:
        case list():
            return "a list"
        case str():
            return "text"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case _:
            return "nothing"


def _reason(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return error.strerror or str(error)
