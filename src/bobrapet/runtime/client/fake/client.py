"""A client without a cluster, for tests of controllers (spec runtime section 18).

>>> client = ClientBuilder().with_types(Story, StoryRun).with_objects(story).build()
>>> run = await client.create(StoryRun(...))

It is the real client over a fake server in memory: optimistic locking, finalizers, status subresources, all patch
types, selectors, paging and watch work. There is no admission, no defaulting, no garbage collection, and nothing runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeVar

from bobrapet.runtime.client.apiutil import RESTMapping, gvk_for_class, gvk_for_object
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.fake.kinds import WITH_STATUS, FakeRESTMapper
from bobrapet.runtime.client.fake.schema import validators
from bobrapet.runtime.client.fake.server import FakeServer
from bobrapet.runtime.client.fake.tracker import VersionedTracker
from bobrapet.runtime.client.interceptor import Funcs, Interceptor
from bobrapet.runtime.client.interfaces import WithWatch
from bobrapet.runtime.client.object import from_dict, to_dict
from bobrapet.runtime.client.typed_client import BUILT_IN_GROUPS
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.scheme import GroupVersionKind, Scheme

T = TypeVar("T")


class FakeClient(ApiClient):
    """`ApiClient` over a `FakeServer`, which is at `.server`; its objects are at `.tracker`."""

    def __init__(self, server: FakeServer, scheme: Scheme) -> None:
        super().__init__(server, scheme, server.mapper)
        self.server = server

    @property
    def tracker(self) -> VersionedTracker:
        return self.server.tracker


class ClientBuilder:
    """Collects what a fake client starts with."""

    def __init__(self, clock: Clock = REAL_CLOCK) -> None:
        self._clock = clock
        self._scheme = Scheme()
        self._mapper = FakeRESTMapper()
        self._objects: list[Any] = []
        self._with_status: set[GroupVersionKind] = set()
        self._indexes: dict[tuple[GroupVersionKind, str], Callable[[dict[str, Any]], list[str]]] = {}
        self._definitions: list[dict[str, Any]] = []
        self._funcs: Funcs | None = None
        for mapping in self._mapper.of_group_versions(BUILT_IN_GROUPS):
            if mapping.gvk.kind in WITH_STATUS:
                self._with_status.add(mapping.gvk)

    def with_types(self, *classes: type[Any]) -> Self:
        """Registers models, and opts those that have a status in to its subresource."""
        for cls in classes:
            mapping = self._mapper.add_class(cls)
            self._scheme.add_known_type(mapping.gvk, cls)
            if "status" in getattr(cls, "model_fields", ()):
                self._with_status.add(mapping.gvk)
        return self

    def with_scheme(self, scheme: Scheme) -> Self:
        """Registers the classes of a scheme, as `with_types` does."""
        return self.with_types(*scheme.all_known_types().values())

    def with_rest_mapping(self, *mappings: RESTMapping) -> Self:
        """Kinds whose plural or scope cannot be guessed."""
        for mapping in mappings:
            self._mapper.add(mapping)
        return self

    def with_objects(self, *objects: Any) -> Self:
        """Objects that are there from the start: models, `Unstructured`, or dicts."""
        self._objects += objects
        return self

    def with_status_subresource(self, *classes: type[Any]) -> Self:
        """Kinds whose status is written through `/status` only."""
        self._with_status |= {gvk_for_class(cls, self._scheme) for cls in classes}
        return self

    def with_index(self, cls: type[T], field: str, extract: Callable[[T], list[str]]) -> Self:
        """Makes a field selectable."""
        self._indexes[gvk_for_class(cls, self._scheme), field] = lambda raw: extract(from_dict(cls, raw))
        return self

    def with_crds(self, *definitions: dict[str, Any]) -> Self:
        """Serves CustomResourceDefinitions: their plural, scope, status subresource and schema."""
        self._definitions += definitions
        return self

    def with_interceptor_funcs(self, funcs: Funcs) -> Self:
        """Verbs that the test replaces; `build_intercepted` then gives the client with them."""
        self._funcs = funcs
        return self

    def build(self) -> FakeClient:
        server = FakeServer(VersionedTracker(self._clock), self._mapper, clock=self._clock)
        server.with_status |= self._with_status
        server.indexes.update(self._indexes)
        for definition in self._definitions:
            _serve(server, definition)
        for obj in self._objects:
            raw = obj if isinstance(obj, dict) else to_dict(obj)
            gvk = (
                GroupVersionKind.parse(raw["apiVersion"], raw["kind"])
                if isinstance(obj, dict)
                else gvk_for_object(obj, self._scheme)
            )
            server.tracker.seed(self._mapper.mapping(gvk).gvr, {"apiVersion": gvk.api_version, "kind": gvk.kind, **raw})
        return FakeClient(server, self._scheme)

    def build_intercepted(self) -> Interceptor:
        """The client behind the verbs of `with_interceptor_funcs`; the fake itself is at `.inner`."""
        inner: WithWatch = self.build()
        return Interceptor(inner, self._funcs or Funcs())


def _serve(server: FakeServer, definition: dict[str, Any]) -> None:
    spec = definition["spec"]
    for version in spec.get("versions") or ():
        gvk = GroupVersionKind(spec["group"], version["name"], spec["names"]["kind"])
        server.mapper.add(RESTMapping(gvk, spec["names"]["plural"], spec.get("scope") == "Namespaced"))
        if "status" in (version.get("subresources") or {}):
            server.with_status.add(gvk)
    server.schemas.update(validators(definition))
