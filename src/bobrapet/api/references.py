"""How one object names another (spec api 4.2)."""

from typing import Annotated

from bobrapet.api.wire import Model, Namespace, ObjectName, Schema, Version


class ObjectReference(Model):
    """Names an object, in the namespace of the referring object unless `namespace` says otherwise."""

    name: ObjectName
    """Name of the referenced object."""
    namespace: Namespace | None = None
    """Namespace of the referenced object. Default: the namespace of the referring object. Another namespace needs the
    operator's references.cross-namespace-policy, and under grant a ReferenceGrant there."""

    def key(self, referrer_namespace: str | None) -> str:
        """`<namespace>/<name>`, the key of indexes; only the name when there is no namespace at all."""
        namespace = (self.namespace or "").strip() or (referrer_namespace or "").strip()
        return f"{namespace}/{self.name.strip()}" if namespace else self.name.strip()


class _Identified(ObjectReference):
    uid: str | None = None
    """UID of the referenced object. Filled by controllers to notice that it was deleted and made anew; leave it out."""


class _Pinned(_Identified):
    version: Version | None = None
    """Pins spec.version of the referenced object. Default: any version."""


class StoryReference(_Pinned):
    """Names a Story."""


class EngramReference(_Pinned):
    """Names an Engram."""


class ImpulseReference(_Pinned):
    """Names an Impulse."""


class StoryRunReference(_Identified):
    """Names a StoryRun."""


class StepRunReference(_Identified):
    """Names a StepRun."""


class _TemplateReference(Model):
    name: Annotated[str, Schema(min_length=1, max_length=253)]
    """Name of the template, which is cluster-scoped."""
    version: Version | None = None
    """Pins spec.version of the template. Default: any version."""
    uid: str | None = None
    """UID of the template. Filled by controllers; leave it out."""


class EngramTemplateReference(_TemplateReference):
    """Names an EngramTemplate."""


class ImpulseTemplateReference(_TemplateReference):
    """Names an ImpulseTemplate."""
