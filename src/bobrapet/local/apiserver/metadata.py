"""`metadata` as the server owns it: system fields, names, what a write may touch."""

from __future__ import annotations

import json
import random
import re
import uuid
from datetime import datetime

from bobrapet.local.apiserver.errors import FieldError
from bobrapet.local.apiserver.types import Object, Resource

# The alphabet of generated names: no vowels and no look-alikes, so that no words and no mistakes appear.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX = 5
_MAX_GENERATED_BASE = 63 - _SUFFIX

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
ANNOTATIONS_LIMIT = 256 * 1024


def timestamp(now: datetime) -> str:
    """RFC 3339 in seconds, as `metav1.Time` is written."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(base: str) -> str:
    """`base` and five random characters."""
    return base[:_MAX_GENERATED_BASE] + "".join(random.choices(_ALPHABET, k=_SUFFIX))


def initialise(obj: Object, namespace: str, now: datetime) -> None:
    """Sets the system fields of a new object and drops those a client cannot give."""
    metadata = obj["metadata"]
    for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
        metadata.pop(name, None)
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = timestamp(now)


def carry_over(obj: Object, old: Object) -> None:
    """Restores in an update the system fields that no client can change."""
    metadata, before = obj["metadata"], old["metadata"]
    for name in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        if name in before:
            metadata[name] = before[name]
        else:
            metadata.pop(name, None)
    metadata.pop("selfLink", None)
    if "generateName" in before:
        metadata.setdefault("generateName", before["generateName"])
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in metadata and not metadata[name]:
            del metadata[name]


def subdomain_errors(name: str) -> list[str]:
    """Why `name` is no DNS subdomain."""
    errors = []
    if len(name) > 253:
        errors.append("must be no more than 253 characters")
    if not _SUBDOMAIN.fullmatch(name):
        errors.append(_SUBDOMAIN_TEXT)
    return errors


def label_errors(name: str) -> list[str]:
    """Why `name` is no DNS label."""
    errors = []
    if len(name) > 63:
        errors.append("must be no more than 63 characters")
    if not _LABEL.fullmatch(name):
        errors.append(_LABEL_TEXT)
    return errors


def path_segment_errors(name: str) -> list[str]:
    """Why `name` cannot be a segment of a URL path; RBAC kinds take anything else."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in name]


def qualified_name_errors(name: str) -> list[str]:
    """Why `name` is no label key."""
    prefix, slash, rest = name.rpartition("/")
    errors: list[str] = []
    if slash:
        if not prefix:
            errors.append("prefix part must be non-empty")
        else:
            errors += [f"prefix part {error}" for error in subdomain_errors(prefix)]
    if not rest:
        errors.append("name part must be non-empty")
    elif len(rest) > 63:
        errors.append("name part must be no more than 63 characters")
    if not _QUALIFIED.fullmatch(rest):
        errors.append(_QUALIFIED_TEXT)
    return errors


def label_value_errors(value: str) -> list[str]:
    """Why `value` is no label value."""
    errors = []
    if len(value) > 63:
        errors.append("must be no more than 63 characters")
    if value and not _QUALIFIED.fullmatch(value):
        errors.append(_VALUE_TEXT)
    return errors


def quote(value: str) -> str:
    """A string as messages show it."""
    return json.dumps(value, ensure_ascii=False)


def validate(obj: Object, resource: Resource) -> list[FieldError]:
    """The faults of `metadata` of any object."""
    metadata = obj["metadata"]
    errors: list[FieldError] = []
    name = metadata.get("name", "")
    if not name:
        errors.append(
            FieldError("metadata.name", "Required value: name or generateName is required", "FieldValueRequired")
        )
    else:
        errors += [
            FieldError("metadata.name", f"Invalid value: {quote(name)}: {text}")
            for text in resource.strategy.name_errors(name)
        ]
    errors += label_map_errors(metadata.get("labels"), "metadata.labels")
    errors += _annotation_errors(metadata.get("annotations"))
    errors += _finalizer_errors(metadata.get("finalizers"))
    errors += _owner_errors(metadata.get("ownerReferences"))
    return errors


def validate_update(obj: Object, old: Object) -> list[FieldError]:
    """The faults of a change of `metadata`."""
    errors = []
    if "deletionTimestamp" in old["metadata"]:
        before = old["metadata"].get("finalizers") or []
        added = [name for name in obj["metadata"].get("finalizers") or [] if name not in before]
        if added:
            shown = "[]string{" + ", ".join(quote(name) for name in added) + "}"
            errors.append(
                FieldError(
                    "metadata.finalizers",
                    "Forbidden: no new finalizers can be added if the object is being deleted, "
                    f"found new finalizers {shown}",
                    "FieldValueForbidden",
                )
            )
    return errors


def label_map_errors(labels: dict[str, str] | None, path: str) -> list[FieldError]:
    """The faults of a map of labels."""
    errors = []
    for key, value in (labels or {}).items():
        errors += [FieldError(path, f"Invalid value: {quote(key)}: {text}") for text in qualified_name_errors(key)]
        errors += [FieldError(path, f"Invalid value: {quote(value)}: {text}") for text in label_value_errors(value)]
    return errors


def _annotation_errors(annotations: dict[str, str] | None) -> list[FieldError]:
    errors = []
    size = 0
    for key, value in (annotations or {}).items():
        size += len(key.encode()) + len(value.encode())
        errors += [
            FieldError("metadata.annotations", f"Invalid value: {quote(key)}: {text}")
            for text in qualified_name_errors(key.lower())
        ]
    if size > ANNOTATIONS_LIMIT:
        message = f"Too long: may not be more than {ANNOTATIONS_LIMIT} bytes"
        errors.append(FieldError("metadata.annotations", message, "FieldValueTooLong"))
    return errors


def _finalizer_errors(finalizers: list[str] | None) -> list[FieldError]:
    errors = []
    for name in finalizers or []:
        errors += [
            FieldError("metadata.finalizers", f"Invalid value: {quote(name)}: {text}")
            for text in qualified_name_errors(name)
        ]
    return errors


_OWNER_FIELDS = {
    "apiVersion": "version must not be empty",
    "kind": "must not be empty",
    "name": "must not be empty",
    "uid": "must not be empty",
}


def _owner_errors(owners: list[Object] | None) -> list[FieldError]:
    errors = []
    controller = None
    for owner in owners or []:
        for name, text in _OWNER_FIELDS.items():
            if not owner.get(name):
                errors.append(FieldError(f"metadata.ownerReferences.{name}", f'Invalid value: "": {text}'))
        if owner.get("controller"):
            if controller is not None:
                shown = f"controller reference {quote(controller)} and {quote(owner.get('name', ''))}"
                errors.append(
                    FieldError(
                        "metadata.ownerReferences",
                        f'Invalid value: only one reference can have Controller set to true. Found "true" in {shown}',
                    )
                )
            controller = owner.get("name", "")
    return errors
