"""What every Kubernetes object has: metadata, conditions, and the frame of apiVersion, kind, spec and status."""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from bobrapet.api.wire import Bool, Int64, Items, Map, Model, Rule, Schema, Time, unset_items, unset_map


class OwnerReference(Model):
    """An object that this one belongs to: when the owner is deleted, the garbage collector deletes this one."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: Bool | None = None
    block_owner_deletion: Bool | None = None


class ObjectMeta(Model):
    """Standard object metadata. The API server fills uid, resourceVersion, generation and the time stamps."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: Int64 | None = None
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    deletion_grace_period_seconds: Int64 | None = None
    labels: Map[str, str] = unset_map()
    annotations: Map[str, str] = unset_map()
    owner_references: Items[OwnerReference] = unset_items()
    finalizers: Items[str] = unset_items()
    managed_fields: Items[dict[str, Any]] = unset_items()


class Condition(Model):
    """One observation of an object's state; a list of conditions holds each type at most once."""

    type: Annotated[
        str,
        Schema(
            max_length=316,
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
            r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        ),
    ]
    """Name of the condition in CamelCase, for example Ready."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds: True, False or Unknown."""
    reason: Annotated[str, Schema(min_length=1, max_length=1024, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why the condition has its status, as one CamelCase word for programs."""
    message: Annotated[str, Schema(max_length=32768)]
    """Why the condition has its status, for people. May be empty."""
    last_transition_time: Time
    """When the status changed last."""
    observed_generation: Annotated[Int64, Schema(minimum=0)] | None = None
    """The metadata.generation that the condition was computed from."""


Conditions = Annotated[Items[Condition], Schema(list_type="map", map_keys=("type",))]


class LocalObjectReference(Model):
    """Names an object in the same namespace."""

    SCHEMA: ClassVar = Schema(map_type="atomic")

    name: Annotated[str, Schema(default="")] | None = None
    """Name of the object."""


class Spec(Model):
    """What the author of an object wants."""


class Status(Model):
    """What controllers observed. Written through the status subresource only."""

    ALWAYS: ClassVar[frozenset[str]] = frozenset()
    """Members that the CRD requires as soon as the status is not empty."""

    def model_dump(self, **options: Any) -> dict[str, Any]:
        self.complete()
        return super().model_dump(**options)

    def model_dump_json(self, **options: Any) -> str:
        self.complete()
        return super().model_dump_json(**options)

    def complete(self) -> None:
        """Marks the members that have to be written, if anything is."""
        if self.model_fields_set:
            self.__pydantic_fields_set__.update(self.ALWAYS)


class ObservedStatus(Status):
    """A status that tells which spec it was computed from."""

    observed_generation: Int64 | None = None
    """The metadata.generation that this status was computed from. Written by the controller."""


class KubernetesObject(Model):
    """Base of every kind.

    `metadata` and `status` are never None: an object without them shows empty ones, which are written only after
    something in them was assigned.
    """

    API_VERSION: ClassVar[str]
    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    NAMESPACED: ClassVar[bool] = True
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ()
    CATEGORIES: ClassVar[tuple[str, ...]] = ()
    COLUMNS: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """Columns of `kubectl get` before Age: name, type, JSON path."""
    SELECTABLE: ClassVar[tuple[str, ...]] = ()
    """JSON paths that field selectors may use."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    def model_post_init(self, context: Any, /) -> None:
        if not self.api_version:
            self.api_version = self.API_VERSION
        if not self.kind:
            self.kind = self.KIND

    def model_dump(self, **options: Any) -> dict[str, Any]:
        self._complete()
        return super().model_dump(**options)

    def model_dump_json(self, **options: Any) -> str:
        self._complete()
        return super().model_dump_json(**options)

    def _complete(self) -> None:
        """Marks metadata and status as set when something in them was assigned after they came from their default."""
        written = self.__pydantic_fields_set__
        if "metadata" not in written and self.metadata.model_fields_set:
            written.add("metadata")
        status = getattr(self, "status", None)
        if isinstance(status, Status) and status.model_fields_set:
            written.add("status")
            status.complete()

    @classmethod
    def group(cls) -> str:
        """The API group: `API_VERSION` without its version."""
        return cls.API_VERSION.partition("/")[0]


# Rules on `status` of the run kinds (spec api 4.1). Writers must shorten messages themselves: see conditions.py.
CONDITIONS_HAVE_READY: Final = Rule(
    "C-READY",
    "!has(self.conditions) || self.conditions.exists(c, c.type == 'Ready')",
    "once conditions are set, Ready must be among them",
)
CONDITIONS_HAVE_TIMES: Final = Rule(
    "C-LTT",
    "!has(self.conditions) || self.conditions.all(c, has(c.lastTransitionTime))",
    "every condition needs lastTransitionTime",
)
CONDITION_REASONS_ARE_SHORT: Final = Rule(
    "C-REASON",
    "!has(self.conditions) || self.conditions.all(c, !has(c.reason) || size(c.reason) <= 64)",
    "a condition reason has at most 64 characters",
)
CONDITION_MESSAGES_ARE_SHORT: Final = Rule(
    "C-MSG",
    "!has(self.conditions) || self.conditions.all(c, !has(c.message) || size(c.message) <= 2048)",
    "a condition message has at most 2048 characters",
)
