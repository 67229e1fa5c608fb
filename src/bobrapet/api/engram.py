"""Engram (bubustack.io): a configured instance of an EngramTemplate (spec api 5.2)."""

from typing import ClassVar

from pydantic import Field

from bobrapet.api.enums import Phase, ValidationStatus, WorkloadMode
from bobrapet.api.execution import ExecutionOverrides, ExecutionPolicy, TLSConfig
from bobrapet.api.meta import Conditions, KubernetesObject, ObservedStatus, Spec
from bobrapet.api.references import EngramTemplateReference
from bobrapet.api.wire import Int32, Int64, Items, JSONObject, Map, Model, Time, Version, unset_items, unset_map


class EngramTransport(Model):
    """Transport settings of the instance."""

    tls: TLSConfig | None = None
    """Certificates for transports that negotiate TLS."""


class EngramSpec(Spec):
    """Which template, and how it is configured."""

    version: Version | None = None
    """Version of the Engram's contract, for references that pin one."""
    template_ref: EngramTemplateReference
    """Template that the instance is made of."""
    mode: WorkloadMode | None = None
    """job, deployment or statefulset; must be among the template's supportedModes. Default: job if the template
    supports it, else its first mode."""
    with_: JSONObject | None = Field(default=None, alias="with")
    """Configuration, checked against the template's configSchema."""
    secrets: Map[str, str] = unset_map()
    """Names of Secrets in the same namespace, by key of the template's secretSchema."""
    execution_policy: ExecutionPolicy | None = None
    """Defaults of execution for this instance."""
    overrides: ExecutionOverrides | None = None
    """Changes of execution for this instance, on top of executionPolicy."""
    transport: EngramTransport | None = None
    """Transport settings of the instance."""


class EngramStatus(ObservedStatus):
    """What the Engram controller observed."""

    conditions: Conditions = unset_items()
    """Lifecycle of the Engram: Ready, TemplateResolved."""
    replicas: Int32 | None = None
    """Pods of a deployment or statefulset."""
    ready_replicas: Int32 | None = None
    """Pods that are ready."""
    phase: Phase | None = None
    """Summary of the lifecycle."""
    validation_status: ValidationStatus | None = None
    """Outcome of validation by the controller: valid, invalid, unknown or pending."""
    validation_errors: Items[str] = unset_items()
    """What is wrong, for people."""
    usage_count: Int32 | None = None
    """Stories that refer to this Engram."""
    triggers: Int64 | None = None
    """StepRuns of this Engram so far."""
    last_execution_time: Time | None = None
    """When a step ran this Engram last."""
    total_executions: Int32 | None = None
    """Executions so far."""
    failed_executions: Int32 | None = None
    """Failed executions so far."""


class Engram(KubernetesObject):
    """Engram is a configured instance of an EngramTemplate; steps of Stories run it."""

    API_VERSION: ClassVar = "bubustack.io/v1alpha1"
    KIND: ClassVar = "Engram"
    PLURAL: ClassVar = "engrams"
    SHORT_NAMES: ClassVar = ("engram",)
    CATEGORIES: ClassVar = ("bubu", "ai")
    COLUMNS: ClassVar = (
        ("Template", "string", ".spec.templateRef.name"),
        ("Mode", "string", ".spec.mode"),
        ("Status", "string", ".status.validationStatus"),
        ("Usage", "integer", ".status.usageCount"),
        ("Triggers", "integer", ".status.triggers"),
    )

    spec: EngramSpec
    """Which template, and how it is configured. Written by the author."""
    status: EngramStatus = Field(default_factory=EngramStatus)
    """What the Engram controller observed."""
