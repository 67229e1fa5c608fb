"""Whether one object may refer to another in a foreign namespace: deny, grant or allow.

One rule for admission and run time, for every reference that the API has. Rules: spec admission A2.3, seed "References
and scoping".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bobrapet.api.enums import CrossNamespacePolicy

if TYPE_CHECKING:
    from bobrapet.api import ObjectReference, ReferenceGrant

CORE = "bubustack.io"
RUNS = "runs.bubustack.io"


@dataclass(frozen=True, slots=True)
class Referrer:
    """The object that refers."""

    group: str
    kind: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Target:
    """The object that is referred to."""

    group: str
    kind: str
    namespace: str
    name: str

    @property
    def label(self) -> str:
        """The word that messages use, `EngramRef` for an Engram."""
        return f"{self.kind}Ref"


@dataclass(frozen=True, slots=True)
class Refused:
    """The reference is not allowed; the text says why and what would allow it."""

    message: str

    def __str__(self) -> str:
        return self.message


def target_namespace(reference: ObjectReference, referrer_namespace: str) -> str:
    """The namespace that a reference means: its own, or the referrer's when it names none."""
    return (reference.namespace or "").strip() or referrer_namespace


def crosses_namespace(referrer: Referrer, target: Target) -> bool:
    """Whether the reference leaves its namespace. An unknown namespace on either side is never foreign."""
    return bool(referrer.namespace and target.namespace and referrer.namespace != target.namespace)


def refusal(
    referrer: Referrer,
    target: Target,
    policy: str,
    grants: Iterable[ReferenceGrant] = (),
) -> Refused | None:
    """None when `referrer` may refer to `target`, else why not.

    `grants` are ReferenceGrants of the target's namespace (others are ignored); they matter under the policy `grant`
    only. A policy that is no known word denies.
    """
    if not crosses_namespace(referrer, target) or policy == CrossNamespacePolicy.ALLOW:
        return None
    if policy != CrossNamespacePolicy.GRANT:
        return Refused(
            f"cross-namespace {target.label} references are not allowed "
            f"(operator setting references.cross-namespace-policy is deny)"
        )
    if any(permits(grant, referrer, target) for grant in grants):
        return None
    return Refused(
        f"cross-namespace {target.label} reference to {target.namespace}/{target.name} is not permitted "
        f"(no ReferenceGrant): one in namespace {target.namespace} must allow {referrer.kind} "
        f"({referrer.group}) of namespace {referrer.namespace} to refer to {target.kind} ({target.group})"
    )


def permits(grant: ReferenceGrant, referrer: Referrer, target: Target) -> bool:
    """Whether one grant allows the reference: some entry of `from` and some entry of `to` match, in any combination."""
    if (grant.metadata.namespace or "") != target.namespace:
        return False
    return any(
        (entry.group.strip(), entry.kind.strip(), entry.namespace.strip())
        == (referrer.group, referrer.kind, referrer.namespace)
        for entry in grant.spec.from_
    ) and any(
        (entry.group.strip(), entry.kind.strip()) == (target.group, target.kind)
        and (entry.name or "").strip() in ("", target.name)
        for entry in grant.spec.to
    )
