"""How keyword options become query parameters and request bodies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Labels = str | Mapping[str, str] | None
"""A label selector: its text (`app=web,tier in (a,b)`) or a map of labels that must be equal."""

Fields = str | Mapping[str, str] | None
"""A field selector, in the same two forms."""

FieldValidation = Literal["Ignore", "Warn", "Strict"]
PropagationPolicy = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """A delete goes through only if the object still has this uid and resourceVersion (where given)."""

    uid: str | None = None
    resource_version: str | None = None


def selector_text(selector: Labels) -> str | None:
    """The text of a selector given as text or as a map of equalities; None when it selects everything."""
    if not selector:
        return None
    if isinstance(selector, str):
        return selector
    return ",".join(f"{key}={value}" for key, value in selector.items())


def write_params(
    *,
    dry_run: bool = False,
    field_owner: str | None = None,
    field_validation: str | None = None,
    force: bool | None = None,
) -> dict[str, str]:
    """Query parameters of create, update, patch and apply."""
    params: dict[str, str] = {}
    if dry_run:
        params["dryRun"] = "All"
    if field_owner:
        params["fieldManager"] = field_owner
    if field_validation:
        params["fieldValidation"] = field_validation
    if force is not None:
        params["force"] = "true" if force else "false"
    return params


def list_params(
    *,
    labels: Labels = None,
    fields: Fields = None,
    limit: int | None = None,
    continue_: str | None = None,
    resource_version: str | None = None,
) -> dict[str, str]:
    """Query parameters of list, watch and delete-collection."""
    params: dict[str, str] = {}
    label_text, field_text = selector_text(labels), selector_text(fields)
    if label_text:
        params["labelSelector"] = label_text
    if field_text:
        params["fieldSelector"] = field_text
    if limit is not None:
        params["limit"] = str(limit)
    if continue_:
        params["continue"] = continue_
    if resource_version is not None:
        params["resourceVersion"] = resource_version
    return params


def delete_options(
    *,
    grace_period_seconds: int | None = None,
    preconditions: Preconditions | None = None,
    propagation_policy: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """The DeleteOptions body; empty when nothing was asked for."""
    body: dict[str, Any] = {}
    if grace_period_seconds is not None:
        body["gracePeriodSeconds"] = grace_period_seconds
    if preconditions is not None:
        wanted = {"uid": preconditions.uid, "resourceVersion": preconditions.resource_version}
        body["preconditions"] = {key: value for key, value in wanted.items() if value is not None}
    if propagation_policy:
        body["propagationPolicy"] = propagation_policy
    if dry_run:
        body["dryRun"] = ["All"]
    if body:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", **body}
    return body
