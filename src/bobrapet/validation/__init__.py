"""Every check of an object, once: admission, controllers and the command line share them.

    check_manifest(manifest, scene)     an object as it was written: structure and meaning, all faults
    check_object(object, scene, old)    an object that satisfies its CRD, on create or update
    with_defaults(manifest, config)     what admission fills in first

Pure: no clock, no network. Other objects come through `scene.Lookup`. By module: `json_schema` (users' schemas),
`references` (ReferenceGrant), one module per kind or family of kinds.
"""

from __future__ import annotations

from bobrapet.validation.defaults import with_defaults, with_schema_defaults
from bobrapet.validation.faults import Fault, FaultReason, Findings
from bobrapet.validation.json_schema import CompiledSchema, InvalidSchema, Stands, Violation, compile_schema
from bobrapet.validation.objects import check_manifest, check_object, kind_of
from bobrapet.validation.references import Referrer, Refused, Target, refusal
from bobrapet.validation.scene import Absent, Lookup, Objects, Scene, Wanted
from bobrapet.validation.story import declared_only, story_inputs
from bobrapet.validation.structure import check_structure

__all__ = [
    "Absent",
    "CompiledSchema",
    "Fault",
    "FaultReason",
    "Findings",
    "InvalidSchema",
    "Lookup",
    "Objects",
    "Referrer",
    "Refused",
    "Scene",
    "Stands",
    "Target",
    "Violation",
    "Wanted",
    "check_manifest",
    "check_object",
    "check_structure",
    "compile_schema",
    "declared_only",
    "kind_of",
    "refusal",
    "story_inputs",
    "with_defaults",
    "with_schema_defaults",
]
