"""Owner references: what is deleted with what, and who reconciles whom (spec runtime CU-1 to CU-5).

All functions change `obj` in place and send nothing; the caller writes it.
"""

from __future__ import annotations

from typing import Any

from bobrapet.runtime.client.apiutil import gvk_for_object
from bobrapet.runtime.client.object import ObjectKey, metadata_dict, replace_metadata
from bobrapet.runtime.errors import ClientError
from bobrapet.runtime.scheme import Scheme


class AlreadyOwned(ClientError):
    """Another object is the controller already; there can be one only."""

    def __init__(self, obj: Any, owner: dict[str, Any]) -> None:
        self.object = obj
        self.owner = owner
        super().__init__(
            f"{obj.kind} {ObjectKey.of(obj)} is controlled by {owner.get('kind')} {owner.get('name')} already"
        )


class NotOwned(ClientError):
    """There is no such owner reference to remove."""


class InvalidOwner(ClientError):
    """The garbage collector would delete an object with this owner at once."""


def set_controller_reference(owner: Any, obj: Any, scheme: Scheme, *, block_owner_deletion: bool = True) -> None:
    """Makes `owner` the controller of `obj`. Raises `AlreadyOwned` when another object is it.

    An entry for the same group, kind and name is replaced, so that a new uid or version counts.
    """
    _check_namespaces(owner, obj)
    reference = _reference(owner, scheme)
    reference |= {"controller": True, "blockOwnerDeletion": block_owner_deletion}
    for existing in _references(obj):
        if existing.get("controller") and not _same_owner(existing, reference):
            raise AlreadyOwned(obj, existing)
    _upsert(obj, reference)


def set_owner_reference(owner: Any, obj: Any, scheme: Scheme, *, block_owner_deletion: bool | None = None) -> None:
    """Makes `owner` one of the owners of `obj`: the object goes when the last of them has gone."""
    _check_namespaces(owner, obj)
    reference = _reference(owner, scheme)
    if block_owner_deletion is not None:
        reference["blockOwnerDeletion"] = block_owner_deletion
    _upsert(obj, reference)


def remove_owner_reference(owner: Any, obj: Any, scheme: Scheme) -> None:
    """Removes the entry of `owner`. Raises `NotOwned` when there is none."""
    reference = _reference(owner, scheme)
    before = _references(obj)
    after = [entry for entry in before if not _same_owner(entry, reference)]
    if len(after) == len(before):
        raise NotOwned(f"{obj.kind} {ObjectKey.of(obj)} is not owned by {reference['kind']} {reference['name']}")
    _replace(obj, after)


def remove_controller_reference(owner: Any, obj: Any, scheme: Scheme) -> None:
    """Removes the entry of `owner`. Raises `NotOwned` when it is not the controller."""
    reference = _reference(owner, scheme)
    if not any(_same_owner(entry, reference) and entry.get("controller") for entry in _references(obj)):
        raise NotOwned(f"{obj.kind} {ObjectKey.of(obj)} is not controlled by {reference['kind']} {reference['name']}")
    remove_owner_reference(owner, obj, scheme)


def has_owner_reference(owner: Any, obj: Any, scheme: Scheme) -> bool:
    """Whether `owner` is among the owners of `obj`."""
    reference = _reference(owner, scheme)
    return any(_same_owner(entry, reference) for entry in _references(obj))


def has_controller_reference(obj: Any) -> bool:
    """Whether any object is the controller of `obj`."""
    return any(entry.get("controller") for entry in _references(obj))


def _reference(owner: Any, scheme: Scheme) -> dict[str, Any]:
    gvk = gvk_for_object(owner, scheme)
    meta = owner.metadata
    return {"apiVersion": gvk.api_version, "kind": gvk.kind, "name": meta.name or "", "uid": meta.uid or ""}


def _same_owner(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Group, kind and name; neither version nor uid (CU-4)."""
    return (_group(a), a.get("kind"), a.get("name")) == (_group(b), b.get("kind"), b.get("name"))


def _group(reference: dict[str, Any]) -> str:
    group, _, _ = str(reference.get("apiVersion") or "").rpartition("/")
    return group


def _check_namespaces(owner: Any, obj: Any) -> None:
    owner_namespace, namespace = owner.metadata.namespace or "", obj.metadata.namespace or ""
    if owner_namespace and owner_namespace != namespace:
        where = f"in namespace {namespace!r}" if namespace else "cluster-scoped"
        raise InvalidOwner(
            f"{owner.kind} {ObjectKey.of(owner)} cannot own {obj.kind} {obj.metadata.name}, which is {where}: "
            "an owner must be cluster-scoped or in the same namespace"
        )


def _references(obj: Any) -> list[dict[str, Any]]:
    return list(metadata_dict(obj).get("ownerReferences") or ())


def _upsert(obj: Any, reference: dict[str, Any]) -> None:
    references = _references(obj)
    for index, existing in enumerate(references):
        if _same_owner(existing, reference):
            references[index] = reference
            break
    else:
        references.append(reference)
    _replace(obj, references)


def _replace(obj: Any, references: list[dict[str, Any]]) -> None:
    raw = dict(metadata_dict(obj))
    raw["ownerReferences"] = references
    replace_metadata(obj, raw)
