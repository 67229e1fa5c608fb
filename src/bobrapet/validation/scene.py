"""What the checks of an object may look at besides the object: the operator's configuration and other objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeVar

from bobrapet.api import KubernetesObject, ReferenceGrant
from bobrapet.config.operator import OperatorConfig
from bobrapet.validation.faults import Findings
from bobrapet.validation.references import Referrer, Target, refusal

ObjectT = TypeVar("ObjectT", bound=KubernetesObject)


class Lookup(Protocol):
    """Finds other objects, as fresh as the caller can make it."""

    def find(self, kind: type[ObjectT], namespace: str, name: str) -> ObjectT | None:
        """The object, or None when there is none. `namespace` is empty for cluster-scoped kinds."""

    def has_secret(self, namespace: str, name: str) -> bool:
        """Whether a Secret exists."""

    def grants(self, namespace: str) -> Sequence[ReferenceGrant]:
        """The ReferenceGrants of a namespace."""


class Wanted(NamedTuple):
    """Something that a check asked for and `Objects` was not told about."""

    kind: str
    """A kind of the API, `Secret`, or `ReferenceGrant` (with an empty name: all of the namespace)."""
    namespace: str
    name: str


class Objects:
    """A lookup in objects that are already at hand. What is missing is remembered in `wanted`.

    A caller that reads over the network checks, fetches what was wanted, tells (`add`, or `settle` for what does not
    exist), and checks again until nothing new is wanted.
    """

    def __init__(self, objects: Iterable[KubernetesObject] = (), secrets: Iterable[tuple[str, str]] = ()) -> None:
        self._objects: dict[Wanted, KubernetesObject] = {}
        self._secrets = set(secrets)
        self._settled: set[Wanted] = set()
        self.wanted: set[Wanted] = set()
        for object in objects:
            self.add(object)

    def add(self, object: KubernetesObject) -> None:
        namespace = (object.metadata.namespace or "") if object.NAMESPACED else ""
        key = Wanted(object.KIND, namespace, object.metadata.name or "")
        self._objects[key] = object
        self.settle(key)

    def add_secret(self, namespace: str, name: str) -> None:
        self._secrets.add((namespace, name))
        self.settle(Wanted("Secret", namespace, name))

    def settle(self, key: Wanted) -> None:
        """Says that `key` was looked up; unless it was added, it does not exist."""
        self._settled.add(key)
        self.wanted.discard(key)

    def find(self, kind: type[ObjectT], namespace: str, name: str) -> ObjectT | None:
        key = Wanted(kind.KIND, namespace if kind.NAMESPACED else "", name)
        found = self._objects.get(key)
        if found is None:
            self._want(key)
        return found if isinstance(found, kind) else None

    def has_secret(self, namespace: str, name: str) -> bool:
        if (namespace, name) in self._secrets:
            return True
        self._want(Wanted("Secret", namespace, name))
        return False

    def grants(self, namespace: str) -> Sequence[ReferenceGrant]:
        self._want(Wanted("ReferenceGrant", namespace, ""))
        return [
            grant
            for key, grant in self._objects.items()
            if isinstance(grant, ReferenceGrant) and key.namespace == namespace
        ]

    def _want(self, key: Wanted) -> None:
        if key not in self._settled:
            self.wanted.add(key)


class Absent(Enum):
    """What an absent reference means that may still appear (decision 4)."""

    WARNS = "warns"
    """Admission: the order in which objects are applied must not matter."""
    REFUSES = "refuses"
    """`bobrapet run`: nothing will appear later."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The surroundings of one check."""

    lookup: Lookup = field(default_factory=Objects)
    config: OperatorConfig = field(default_factory=OperatorConfig)
    absent: Absent = Absent.WARNS
    hydrate: Callable[[Any], Any] | None = None
    """Replaces references to storage by what is stored. None: no storage is configured."""

    def missing(self, findings: Findings, path: str, text: str) -> None:
        """Reports a reference to something that is not there (yet)."""
        if self.absent is Absent.REFUSES:
            findings.not_found(path, text)
        else:
            findings.warn(path, f"{text} yet; it is looked for again until it appears")

    def unfit(self, findings: Findings, path: str, text: str) -> None:
        """Reports a reference to something that is there and does not suit, but may still be changed."""
        if self.absent is Absent.REFUSES:
            findings.invalid(path, text)
        else:
            findings.warn(path, text)

    def may_refer(self, findings: Findings, path: str, referrer: Referrer, target: Target) -> bool:
        """Checks a reference against the cross-namespace policy; a refusal is reported."""
        policy = self.config.references.cross_namespace_policy
        grants = self.lookup.grants(target.namespace) if policy == "grant" else ()
        refused = refusal(referrer, target, policy, grants)
        if refused:
            findings.forbidden(path, str(refused))
        return refused is None
