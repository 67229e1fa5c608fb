"""Admission in both worlds: an API server that asks our webhooks over TLS says what the checks say.

The 98 objects of the API specification, everything that the tests of the admission table judge, and the manifests of
the design document.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest

from bobrapet.admission import WEBHOOKS
from bobrapet.config.operator import OperatorConfig
from tests.behaviour import worlds
from tests.behaviour.admission_world import WITHIN, AdmissionWorld, Answer, admission_world
from tests.unit.validation.builders import Judged, engram, story
from tests.unit.validation.replay import judged
from tests.unit.validation.test_api_objects import INVALID, OBJECTS, SURROUNDINGS, VALID, edited
from tests.unit.validation.test_seed_objects import AROUND as SEED_AROUND
from tests.unit.validation.test_seed_objects import OBJECTS as SEED

T = TypeVar("T")
pytestmark = pytest.mark.xdist_group("admission")  # its worlds are started once

ORDER = (
    *("Secret", "EngramTemplate", "ImpulseTemplate", "Transport", "ReferenceGrant", "Engram", "Story", "Impulse"),
    *("StoryRun", "StepRun", "StoryTrigger", "EffectClaim", "TransportBinding"),
)


@pytest.fixture(scope="module", params=["embedded", "envtest"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdmissionWorld]:
    name = request.param
    if name == "envtest" and (why := worlds.real_missing()):
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    with admission_world(name, tmp_path_factory.mktemp(name)) as running:
        yield running


# The examples of the API specification


def around(variant: str) -> list[dict[str, Any]]:
    """What the examples say exists beside them; later ones replace earlier ones of their name."""
    found = [group["valid"]["min"] for group in OBJECTS.values()]
    if variant == "full":
        found += [group["valid"]["full"] for group in OBJECTS.values() if "full" in group["valid"]]
    found += [OBJECTS["Transport"]["valid"]["full"], *SURROUNDINGS]
    unique = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]): each for each in found}
    return sorted(copy.deepcopy([*unique.values()]), key=lambda each: ORDER.index(each["kind"]))


def place(api: AdmissionWorld, objects: list[dict[str, Any]]) -> None:
    """Makes exactly these objects exist."""
    api.clear()
    for each in objects:
        each["metadata"].pop("uid", None)
        answer = api.create(at_home(api, each))
        assert answer.accepted, (each["kind"], each["metadata"]["name"], answer.text)


def at_home(api: AdmissionWorld, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with the uid that its StepRun has here: nobody can choose one."""
    made = {key: value for key, value in copy.deepcopy(manifest).items() if key != "status"}
    reference = made["spec"].get("stepRunRef", {}) if isinstance(made.get("spec"), dict) else {}
    if made["kind"] == "EffectClaim" and reference.get("uid"):
        step = {"kind": "StepRun", "metadata": {"namespace": "workflows", "name": reference["name"]}}
        reference["uid"] = (api.get(step) or {"metadata": {}})["metadata"].get("uid", reference["uid"])
    return made


def asked(api: AdmissionWorld, manifest: dict[str, Any]) -> Answer:
    """The worse of creating the object and of writing its status; afterwards what had its name is back."""
    before = api.get(manifest)
    answer = api.replace(at_home(api, manifest))
    if answer.accepted and "status" in manifest:
        answer = api.update({**manifest, "spec": answer.body["spec"]}, "/status")
    if before is not None:
        for field in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
            before["metadata"].pop(field, None)
        assert api.replace(at_home(api, before)).accepted
    else:
        api.delete(manifest)
    return answer


def lasting(fault: Callable[[], T]) -> T:
    """What `fault` finds, once it finds nothing or keeps finding it.

    A yes may rest on a cache that has not heard of a deletion yet, so a difference has to last.
    """
    deadline = time.monotonic() + WITHIN
    while (found := fault()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("variant", ["min", "full", "full-streaming"])
def test_valid_examples_are_accepted(api: AdmissionWorld, variant: str) -> None:
    place(api, around(variant))
    refused = {
        f"{kind}-{name}": answer.text
        for kind, name, manifest in VALID
        if name == variant and not (answer := asked(api, manifest)).accepted
    }
    assert refused == {}


def test_invalid_examples_are_refused_by_the_layer_that_should(api: AdmissionWorld) -> None:
    place(api, around("min"))
    wrong = {edit["id"]: fault for kind, edit in INVALID if (fault := lasting(partial(_misjudged, api, kind, edit)))}
    assert wrong == {}


def _misjudged(api: AdmissionWorld, kind: str, edit: dict[str, Any]) -> str:
    """The answer about an invalid example, where it is not what it should be."""
    bad = edited(OBJECTS[kind]["valid"]["min"], edit)
    if edit["layer"] == "update":
        answer = api.update(at_home(api, bad), dry_run=True)
    else:
        answer = asked(api, bad)
    # What only the controller minds is accepted; everything else is Invalid, with its causes.
    if edit["layer"] == "controller":
        return "" if answer.accepted else answer.text
    return "" if answer.status == 422 and answer.causes else answer.text


# The admission table


def _foreign(api: AdmissionWorld) -> Answer:
    return api.create(story("name: a, ref: {name: e, namespace: other}", name="probe"), dry_run=True)


SETTLED: dict[str, Callable[[AdmissionWorld], bool]] = {
    "deny": lambda api: "are not allowed" in _foreign(api).text,
    "grant": lambda api: "no ReferenceGrant" in _foreign(api).text,
    "allow": lambda api: _foreign(api).accepted,
}


def _can_be_asked(record: Judged) -> bool:
    """Templates have no webhook; API servers keep deletion and status to themselves, and objects above 1 MiB out."""
    objects = [record.given, *([record.old] if record.old else [])]
    if record.given["kind"] not in {row.kind.KIND for row in WEBHOOKS}:
        return False
    if any("deletionTimestamp" in each["metadata"] or "status" in each for each in objects):
        return False
    return len(str(record.given)) < 1_000_000 and record.around.absent.value == "warns"


@pytest.mark.parametrize("policy", ["deny", "grant", "allow"])
def test_the_admission_table_over_the_wire(api: AdmissionWorld, policy: str) -> None:
    records = [
        record
        for record in judged()
        if record.around.config.references.cross_namespace_policy == policy and _can_be_asked(record)
    ]
    same = OperatorConfig()
    records = [record for record in records if replace(record.around.config, references=same.references) == same]
    api.clear()
    data = {"references.cross-namespace-policy": policy} if policy != "deny" else {}
    api.configure(lambda: SETTLED[policy](api), **data)
    wrong: list[str] = []
    asked_about = 0
    surroundings: Any = None
    for record in sorted(records, key=lambda record: (id(record.around), len(record.objects), record.secrets)):
        if surroundings != (record.objects, record.secrets):
            surroundings = (record.objects, record.secrets)
            if not _place_scene(api, record):
                surroundings = None
                continue
        fault = lasting(partial(_difference, api, record))
        if fault is not None:
            asked_about += 1
            wrong += [fault] if fault else []
    api.clear()
    api.configure(lambda: SETTLED["deny"](api))
    assert wrong == []
    assert asked_about >= {"deny": 150, "grant": 3, "allow": 1}[policy]


def _difference(api: AdmissionWorld, record: Judged) -> str | None:
    """How the answer differs from the findings, empty when it does not; None when the question cannot be asked."""
    answer = _ask(api, record)
    if answer is None:
        return None
    fault = ""
    if answer.accepted is not record.found.is_valid:
        fault = f"{answer.text}; the checks say {[str(fault) for fault in record.found.faults]}"
    elif answer.accepted and len(answer.warnings) < len(record.found.warnings):
        fault = f"warnings {answer.warnings}, not {record.found.warnings}"
    return f"{record.given['kind']} {record.given['spec']}: {fault}" if fault else ""


def _place_scene(api: AdmissionWorld, record: Judged) -> bool:
    """Makes what is around the object exist; whether that can be."""
    api.clear()
    found = [each.to_wire() for each in record.objects]
    for each in sorted(found, key=lambda each: ORDER.index(each["kind"])):
        each["metadata"].pop("uid", None)
        if not api.create(each).accepted:
            return False
    for namespace, name in record.secrets:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
        assert api.replace(secret).accepted
    return True


def _ask(api: AdmissionWorld, record: Judged) -> Answer | None:
    """What the API server says; None when it cannot be brought to the point."""
    if record.old is None:
        answer = api.create(record.given, dry_run=True)
        return None if answer.status == 409 else answer
    if record.given["metadata"]["name"] != record.old["metadata"]["name"] or not api.replace(record.old).accepted:
        return None
    answer = api.update(record.given, dry_run=True)
    api.delete(record.old)
    return answer


# The design document


def test_the_manifests_of_the_design_apply_unchanged(api: AdmissionWorld) -> None:
    place(api, [each for each in SEED_AROUND if each["kind"] in ("EngramTemplate", "Engram") and each not in SEED])
    refused = {}
    for manifest in sorted(SEED, key=lambda each: ORDER.index(each["kind"])):
        answer = api.replace(manifest)
        if not answer.accepted:
            refused[f"{manifest['kind']} {manifest['metadata']['name']}"] = answer.text
    assert refused == {}
    api.clear()


def test_all_faults_come_as_causes_and_a_dry_run_leaves_nothing(api: AdmissionWorld) -> None:
    api.clear()
    answer = api.create(story("name: a, needs: [b]", "name: c, ref: {name: gone}, type: wait", "name: c"), dry_run=True)
    assert answer.status == 422
    good = story("name: a, ref: {name: e}, with: {x: '{{ inputs.a }}'}", name="good")
    assert api.create(good, dry_run=True).accepted
    assert api.get(good) is None
    wrong = story("name: a, needs: [b]", "name: c, if: '{{ inputs.'", name="wrong")
    causes = {cause["field"]: cause["reason"] for cause in api.create(wrong).causes}
    assert causes.keys() == {"spec.steps[0].needs[0]", "spec.steps[1].if"}
    assert api.create(engram(name="early")).accepted
    api.clear()


@pytest.mark.parametrize("kind", ["StoryTrigger", "EffectClaim"])
def test_what_waits_for_its_finalizer_goes_although_what_it_names_is_gone(api: AdmissionWorld, kind: str) -> None:
    place(api, around("min"))
    held = copy.deepcopy(OBJECTS[kind]["valid"]["min"])
    held["metadata"]["finalizers"] = ["example.org/kept"]
    named = OBJECTS["Story"]["valid"]["min"] if kind == "StoryTrigger" else SURROUNDINGS[2]
    assert api.replace(held).accepted
    api.delete(named)
    api.delete(held)
    stored = api.get(held)
    assert stored is not None
    assert stored["metadata"]["deletionTimestamp"]
    changed = {**stored, "spec": {**stored["spec"], "inputs" if kind == "StoryTrigger" else "details": {"a": 1}}}
    assert api.update(changed).status == 422
    stored["metadata"]["finalizers"] = []
    assert api.update(stored).accepted
    assert api.get(held) is None
    api.clear()
