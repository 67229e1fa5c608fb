"""The admission table, rows about the other kinds (spec admission A10, 65 to 126), on the checks themselves."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.api import labels, names
from bobrapet.config.operator import OperatorConfig
from bobrapet.validation import Scene, check_manifest, with_defaults
from tests.unit.validation.builders import (
    engram,
    faults,
    findings,
    grant,
    manifest,
    one_fault,
    scene,
    story,
    template,
    typed,
    warnings,
)

DELETING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


# Engram


@pytest.mark.spec("admission-65", "admission-66")
def test_an_engram_names_a_template() -> None:
    assert "spec.templateRef.name: required" in one_fault(engram(templateRef={"name": "  "}))
    # Decision 4: the order in which objects are applied does not matter.
    assert "EngramTemplate 't' not found yet" in warnings(engram())[0]


@pytest.mark.spec("admission-67", "admission-68")
def test_an_engram_fits_its_template() -> None:
    around = scene(template())
    assert one_fault(engram(templateRef={"name": "t", "version": "2.0.0"}), around) == (
        'spec.templateRef.version: version "2.0.0" does not match template\'s actual version "1.0.0"'
    )
    assert "(supportedModes: job)" in one_fault(engram(mode="statefulset"), around)


@pytest.mark.spec("admission-69")
def test_configuration_of_an_engram() -> None:
    schema = {"type": "object", "required": ["model"], "properties": {"model": {"type": "string"}}}
    around = scene(template(configSchema=schema))
    assert one_fault(engram(**{"with": {"model": 1}}), around).startswith("spec.with.model: must be a string")
    assert 'spec.with: lacks "model"' in one_fault(engram(), around)
    assert "exceeds maximum allowed size" in one_fault(engram(**{"with": {"model": "y" * 4096}}), around)
    assert check_manifest(engram(**{"with": [1]}), around).faults[0].field == "spec.with"


@pytest.mark.spec("admission-70", "admission-71")
def test_secrets_of_an_engram() -> None:
    around = scene(template(secretSchema={"api": {"required": True, "description": "API token"}, "more": {}}))
    assert (
        one_fault(engram(), around) == 'spec.secrets[api]: required secret "api" (API token) is not bound to a Secret'
    )
    found = findings(engram(secrets={"api": "s", "mor": "s"}), around)
    assert [str(fault) for fault in found.faults] == [
        'spec.secrets[mor]: "mor" is not in the template\'s secretSchema; did you mean "more"?'
    ]
    assert "secret 's' not found yet" in warnings(engram(secrets={"api": "s"}), around)[0]
    bound = Scene(around.lookup, around.config)
    around.lookup.add_secret("ns", "s")  # type: ignore[attr-defined]
    assert warnings(engram(secrets={"api": "s"}), bound) == []


@pytest.mark.spec("admission-72")
def test_an_engram_that_is_being_deleted_keeps_its_spec() -> None:
    old = engram()
    assert one_fault({**engram(mode="job"), "metadata": {**old["metadata"], **DELETING}}, old=old) == (
        "spec: spec updates are not permitted while deletion is in progress"
    )
    assert faults({**old, "metadata": {**old["metadata"], **DELETING, "finalizers": []}}, old=old) == []


# Impulse


def impulse(**spec: Any) -> dict[str, Any]:
    return manifest("Impulse", {"templateRef": {"name": "it"}, "storyRef": {"name": "s"}, **spec})


def impulse_scene(*more: dict[str, Any], modes: tuple[str, ...] = ("deployment",), **spec: Any) -> Scene:
    given = {"version": "1", "supportedModes": list(modes), "image": "i", **spec}
    return scene(manifest("ImpulseTemplate", given, "it"), story("name: a", name="s", version="3"), *more)


@pytest.mark.spec("admission-73", "admission-74", "admission-75")
def test_an_impulse_names_a_story() -> None:
    around = impulse_scene()
    assert "spec.storyRef.name: required" in one_fault(impulse(storyRef={"name": " "}), around)
    assert "cross-namespace StoryRef" in one_fault(impulse(storyRef={"name": "s", "namespace": "other"}), around)
    assert "story 'x' not found" in warnings(impulse(storyRef={"name": "x"}), around)[0]
    assert "version mismatch" in warnings(impulse(storyRef={"name": "s", "version": "2"}), around)[0]
    allowed = scene(grant({"kind": "Story"}, kind="Impulse"), policy="grant")
    assert faults(impulse(storyRef={"name": "s", "namespace": "other"}), allowed) == []


@pytest.mark.spec("admission-76", "admission-77")
def test_an_impulse_is_always_on() -> None:
    assert "must not be 'job'" in one_fault(impulse(workload={"mode": "job"}), impulse_scene())
    fault = one_fault(impulse(), impulse_scene(modes=("statefulset",)))
    assert 'mode "deployment" is not supported' in fault


@pytest.mark.spec("admission-78")
def test_a_mapping_is_free() -> None:
    around = impulse_scene(contextSchema={"properties": {"a": {"type": "integer"}}})
    assert faults(impulse(mapping={"a": "text"}), around) == []


@pytest.mark.spec("admission-79", "admission-80", "admission-81")
@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ({"dedupe": {"mode": "key"}}, "dedupe.keyTemplate"),
        ({"dedupe": {"mode": "token", "keyTemplate": "{{ .x }}"}}, "dedupe.keyTemplate"),
        ({"retry": {"baseDelay": "0s", "maxDelay": "0s"}}, None),
        ({"retry": {"baseDelay": "10s", "maxDelay": "1s"}}, "retry.maxDelay"),
        ({"retry": {"baseDelay": "abc"}}, "retry.baseDelay"),
        ({"retry": {"baseDelay": ""}}, "retry.baseDelay"),
        ({"retry": {"maxAttempts": -1}}, "retry.maxAttempts"),
    ],
)
def test_delivery_policies(policy: dict[str, Any], path: str | None) -> None:
    found = faults(impulse(deliveryPolicy=policy), impulse_scene())
    assert [fault.split(": ")[0] for fault in found] == ([f"spec.deliveryPolicy.{path}"] if path else [])


@pytest.mark.spec("admission-82")
@pytest.mark.parametrize("name", ["maxInFlight", "ratePerSecond", "burst"])
def test_throttles_are_not_negative(name: str) -> None:
    assert one_fault(impulse(throttle={name: -1}), impulse_scene()).startswith(f"spec.throttle.{name}: ")


# Templates


def test_a_template_is_whole() -> None:
    broken = template(image=" ", version="", inputSchema={"type": "objct"})
    assert [fault.split(":")[0] for fault in faults(broken)] == ["spec.version", "spec.image", "spec.inputSchema"]


def test_two_names_of_one_field_agree() -> None:
    resources = {"defaultCPURequest": "1", "recommendedCpuRequest": "2"}
    fault = one_fault(template(execution={"resources": resources}))
    assert fault.startswith("spec.execution.resources.recommendedCpuRequest: ")
    assert faults(template(execution={"resources": {**resources, "recommendedCpuRequest": "1"}})) == []
    storage = {
        "s3": {"bucket": "b", "auth": {"secretRef": {"name": "a"}}, "authentication": {"secretRef": {"name": "b"}}}
    }
    assert one_fault(template(execution={"storage": storage})).startswith("spec.execution.storage.s3.authentication: ")


# StoryRun


def run(name: str = "r", annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    meta = {"annotations": annotations} if annotations else {}
    return manifest("StoryRun", {"storyRef": {"name": "s"}, **spec}, name, **meta)


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
RUN_SCENE = scene(story("name: a", name="s", version="1", inputsSchema=SCHEMA))


@pytest.mark.spec("admission-83", "admission-84", "admission-85")
def test_a_run_has_its_story() -> None:
    assert "referenced story 'ns/x' not found" in one_fault(run(storyRef={"name": "x"}), RUN_SCENE)
    assert "spec.storyRef.version" in one_fault(run(storyRef={"name": "s", "version": "2"}), RUN_SCENE)
    assert "cross-namespace" in one_fault(run(storyRef={"name": "s", "namespace": "other"}), RUN_SCENE)
    assert faults(run(storyRef={"name": "s", "version": " 1 "}), RUN_SCENE) == []


@pytest.mark.spec("admission-86", "admission-87", "admission-88")
def test_inputs_of_a_run() -> None:
    assert check_manifest(run(inputs=[1]), RUN_SCENE).faults[0].field == "spec.inputs"
    assert "(1025 bytes > 1024)" in one_fault(run(inputs={"x": "y" * (1025 - 8)}), RUN_SCENE)
    assert one_fault(run(inputs={"n": "x"}), RUN_SCENE).startswith("spec.inputs.n: must be an integer")
    assert one_fault(run(inputs={"n": "{{ inputs.x }}"}), RUN_SCENE).startswith("spec.inputs.n: ")
    assert 'unexpected key "extra"' in one_fault(run(inputs={"a": {"$bubuStorageRef": "x", "extra": 1}}), RUN_SCENE)
    reference = {"$bubuStorageRef": "x", "$bubuStorageContentType": "application/json"}
    assert "only checks reference shape" in warnings(run(inputs={"n": reference}), RUN_SCENE)[0]


def token_run(**changes: Any) -> dict[str, Any]:
    inputs = {"n": 1}
    annotations = {
        labels.ANNOTATION_TRIGGER_TOKEN: "evt-42",
        labels.ANNOTATION_TRIGGER_INPUT_HASH: names.input_hash(inputs),
    }
    annotations.update(changes.pop("annotations", {}))
    name = changes.pop("name", names.storyrun_name("ns", "s", "evt-42"))
    return run(name, {key: value for key, value in annotations.items() if value}, **{"inputs": inputs, **changes})


@pytest.mark.spec("admission-89", "admission-90", "admission-91")
def test_a_run_for_a_token_has_the_derived_name_and_the_hash() -> None:
    assert faults(token_run(), RUN_SCENE) == []
    assert "metadata.name must be" in one_fault(token_run(name="r"), RUN_SCENE)
    key = labels.ANNOTATION_TRIGGER_INPUT_HASH
    assert "required with a trigger token" in one_fault(token_run(annotations={key: ""}), RUN_SCENE)
    assert "does not match the inputs" in one_fault(token_run(inputs={"n": 2}), RUN_SCENE)


@pytest.mark.spec("admission-92", "admission-93", "admission-94")
def test_the_spec_of_a_run_is_immutable_but_for_cancel() -> None:
    old = run(inputs={"n": 1})
    assert "spec is immutable" in one_fault(run(inputs={"n": 2}), RUN_SCENE, old)
    for before in (old, run(inputs={"n": 1}, cancelRequested=False)):
        assert faults(run(inputs={"n": 1}, cancelRequested=True), RUN_SCENE, before) == []
    canceled = run(inputs={"n": 1}, cancelRequested=True)
    assert "cannot be taken back" in one_fault(old, RUN_SCENE, canceled)
    assert faults(run(inputs={"n": 2}, cancelRequested=True), RUN_SCENE, old) != []
    # A run whose Story is gone can still be written.
    assert faults(old, scene(), old) == []


@pytest.mark.spec("admission-95")
def test_the_token_of_a_run_is_immutable() -> None:
    with_token = token_run()
    without = run(with_token["metadata"]["name"], inputs={"n": 1})
    assert any("immutable once set" in fault for fault in faults(without, RUN_SCENE, with_token))
    assert any("immutable once set" in fault for fault in faults(with_token, RUN_SCENE, without))


@pytest.mark.spec("admission-96")
@pytest.mark.parametrize(("before", "after", "ok"), [(5, 4, False), (5, 0, False), (5, 5, True), (0, 5, True)])
def test_the_observed_generation_of_a_run_does_not_fall(before: int, after: int, ok: bool) -> None:
    old, new = {**run(), "status": {"observedGeneration": before}}, {**run(), "status": {"observedGeneration": after}}
    assert (faults(new, RUN_SCENE, old) == []) is ok


# StepRun


def step_run(status: dict[str, Any] | None = None, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    meta = {"labels": labels} if labels else {}
    given = manifest("StepRun", {"storyRunRef": {"name": "r"}, "stepId": "a", **spec}, "r-a", **meta)
    return {**given, "status": {"retries": 0, **status}} if status is not None else given


@pytest.mark.spec("admission-97")
def test_a_step_run_has_a_step() -> None:
    assert "spec.stepId: " in str(check_manifest(step_run(stepId=""), scene()).faults[0])
    given = step_run()
    del given["spec"]["stepId"]
    assert [str(fault) for fault in check_manifest(given, scene()).faults] == ["spec.stepId: required"]


@pytest.mark.spec("admission-98", "admission-99")
def test_defaults_of_a_step_run() -> None:
    filled = with_defaults(step_run(), OperatorConfig())["spec"]
    assert filled["retry"] == {"maxRetries": 3, "delay": "1s", "backoff": "exponential"}
    assert filled["idempotencyKey"] == "ns/ns/storyrun/r/step/a"
    assert with_defaults(step_run(idempotencyKey="k"), OperatorConfig())["spec"]["idempotencyKey"] == "k"


@pytest.mark.spec("admission-100", "admission-101")
def test_references_of_a_step_run() -> None:
    assert "referenced engram 'ns/e' not found" in one_fault(step_run(engramRef={"name": "e"}))
    around = scene(engram(version="1"))
    assert "spec.engramRef.version" in one_fault(step_run(engramRef={"name": "e", "version": "2"}), around)
    assert "cross-namespace StoryRunRef" in one_fault(step_run(storyRunRef={"name": "r", "namespace": "other"}))


@pytest.mark.spec("admission-102", "admission-103")
@pytest.mark.parametrize(
    ("target", "ok"),
    [
        ({"grpc": {"endpoint": "a:1"}, "terminate": {"stopMode": "success"}}, False),
        ({}, False),
        ({"grpc": {"endpoint": "svc"}}, False),
        ({"grpc": {"endpoint": "svc:70000"}}, False),
        ({"grpc": {"endpoint": "svc:0"}}, False),
        ({"grpc": {"endpoint": "grpc://svc.ns.svc:9000"}}, True),
        ({"grpc": {"endpoint": "[::1]:9000"}}, True),
        ({"grpc": {"address": "svc:9000"}}, True),
        ({"grpc": {"address": "svc:9000", "endpoint": "svc:9001"}}, False),
        ({"terminate": {"stopMode": "success"}}, True),
    ],
)
def test_downstream_targets(target: dict[str, Any], ok: bool) -> None:
    assert (faults(step_run(downstreamTargets=[target])) == []) is ok


@pytest.mark.spec("admission-104")
def test_input_of_a_step_run_is_bounded() -> None:
    block = {"x": "y" * 5000}
    assert "spec.input: too large" in one_fault(step_run(input=block))
    assert faults(step_run(input=block, labels={labels.MATERIALIZE: "TRUE"})) == []


@pytest.mark.spec("admission-105")
def test_the_error_contract() -> None:
    good = {"version": "v1", "type": "timeout", "message": "m"}
    assert faults(step_run({"error": good})) == []
    assert one_fault(step_run({"error": {**good, "message": ""}})).startswith("status.error.message: ")
    assert one_fault(step_run({"error": {**good, "version": "v2"}})).startswith("status.error.version: ")
    assert one_fault(step_run({"error": {**good, "exitCode": -1}})).startswith("status.error.exitCode: ")
    assert one_fault(step_run({"error": {**good, "extra": 1}})).startswith("status.error.extra: ")
    bogus = check_manifest(step_run({"error": {**good, "exitClass": "bogus"}}), scene())
    assert [fault.field for fault in bogus.faults] == ["status.error.exitClass"]


@pytest.mark.spec("admission-106")
@pytest.mark.parametrize(("before", "after", "ok"), [(5, 4, False), (5, 0, True), (4, 5, True)])
def test_the_observed_generation_of_a_step_run_does_not_fall(before: int, after: int, ok: bool) -> None:
    old, new = step_run({"observedGeneration": before}), step_run({"observedGeneration": after})
    assert (faults(new, scene(), old) == []) is ok


@pytest.mark.spec("admission-107")
def test_a_step_run_does_not_need_itself() -> None:
    assert one_fault(step_run({"needs": ["b", "r-a"]})).startswith("status.needs[1]: ")


# StoryTrigger, EffectClaim


def trigger(
    name: str | None = None, key: str = "", inputs: dict[str, Any] | None = None, **identity: Any
) -> dict[str, Any]:
    given = {"submissionId": "sub-1", **({"key": key} if key else {}), **identity}
    given = {member: value for member, value in given.items() if value is not None}
    derived = names.storytrigger_name("ns", "s", key, given.get("submissionId", ""))
    spec = {"storyRef": {"name": "s"}, "inputs": inputs or {}, "deliveryIdentity": given}
    return manifest("StoryTrigger", spec, name or derived)


@pytest.mark.spec("admission-108")
def test_a_trigger_with_key_and_hash() -> None:
    assert faults(trigger(key="k", mode="key", inputHash=names.input_hash({})), RUN_SCENE) == []


@pytest.mark.spec("admission-109")
@pytest.mark.parametrize(
    ("given", "path"),
    [
        (trigger("other"), "metadata.name"),
        (trigger(key="k", mode="key"), "spec.deliveryIdentity.inputHash"),
        (trigger(inputHash="00"), "spec.deliveryIdentity.inputHash"),
        (trigger(key="k", mode="none", inputHash=names.input_hash({})), "spec.deliveryIdentity.key"),
        (trigger(mode="token"), "spec.deliveryIdentity.key"),
        (trigger(submissionId=" "), "spec.deliveryIdentity.submissionId"),
    ],
)
def test_a_trigger_has_an_identity(given: dict[str, Any], path: str) -> None:
    assert path in [fault.split(": ")[0] for fault in faults(given, RUN_SCENE)]


@pytest.mark.spec("admission-110", "admission-111")
def test_a_trigger_is_immutable_and_stays_at_home() -> None:
    old = trigger()
    assert any("spec is immutable" in fault for fault in faults(trigger(inputs={"a": 1}), RUN_SCENE, old))
    away = trigger()
    away["spec"]["storyRef"]["namespace"] = "other"
    away["metadata"]["name"] = names.storytrigger_name("other", "s", "", "sub-1")
    assert "cross-namespace StoryRef" in one_fault(away, RUN_SCENE)


def test_a_trigger_that_is_being_deleted_is_not_checked() -> None:
    old = trigger()
    gone = {**old, "metadata": {**old["metadata"], **DELETING}}
    assert faults(gone, scene(), old) == []
    assert faults(old, scene(), old) != []


def claim(name: str | None = None, **spec: Any) -> dict[str, Any]:
    given = {"stepRunRef": {"name": "r-a"}, "effectKey": "mail", **spec}
    namespace = given["stepRunRef"].get("namespace", "ns")
    derived = names.effectclaim_name(namespace, given["stepRunRef"]["name"], given["effectKey"])
    return manifest("EffectClaim", given, name or derived)


CLAIM_SCENE = scene({**step_run(), "metadata": {"name": "r-a", "namespace": "ns", "uid": "u-1"}})
T1, T2 = "2026-01-01T10:00:00.000000Z", "2026-01-01T10:05:00.900000Z"


@pytest.mark.spec("admission-112", "admission-113")
def test_a_claim_stays_in_its_namespace() -> None:
    assert faults(claim(), CLAIM_SCENE) == []
    assert "not found" in one_fault(claim(), scene())
    away = claim(stepRunRef={"name": "r-a", "namespace": "other"})
    assert "must be in the claim's namespace" in one_fault(away, scene(policy="allow"))


@pytest.mark.spec("admission-114")
@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"stepRunRef": {"name": "r-a", "uid": "u-2"}}, "spec.stepRunRef.uid"),
        ({"completionStatus": "completed"}, "spec.completedAt"),
        ({"completedAt": T1}, "spec.completionStatus"),
        ({"renewTime": T1}, "spec.acquireTime"),
        ({"acquireTime": T2, "renewTime": T1}, "spec.renewTime"),
        ({"acquireTime": T1, "renewTime": T2, "completionStatus": "completed", "completedAt": T1}, "spec.completedAt"),
    ],
)
def test_a_claim_is_consistent(spec: dict[str, Any], path: str) -> None:
    assert one_fault(claim(**spec), CLAIM_SCENE).startswith(f"{path}: ")


def test_a_claim_may_be_released_and_taken_again() -> None:
    released = claim(holderIdentity="a", acquireTime=T1, renewTime=T1, completionStatus="released")
    assert faults(released, CLAIM_SCENE) == []
    again = claim(holderIdentity="b", acquireTime=T2, renewTime=T2)
    assert faults(again, CLAIM_SCENE, released) == []
    done = claim(acquireTime=T1, renewTime=T2, completionStatus="completed", completedAt="2026-01-01T10:05:00Z")
    assert faults(done, CLAIM_SCENE) == []


@pytest.mark.spec("admission-115")
def test_a_claim_keeps_its_identity_and_a_completed_one_everything() -> None:
    old = claim()
    assert any("spec.effectKey: is immutable" in fault for fault in faults(claim(effectKey="other"), CLAIM_SCENE, old))
    done = {"completionStatus": "completed", "completedAt": "2026-01-01T10:06:00Z"}
    found = one_fault(claim(holderIdentity="b", **done), CLAIM_SCENE, claim(holderIdentity="a", **done))
    assert found.startswith("spec.holderIdentity: is frozen")


# Transport, TransportBinding


def transport(**spec: Any) -> dict[str, Any]:
    return manifest("Transport", {"provider": "p", "driver": "d", **spec}, "tr")


@pytest.mark.spec("admission-116", "admission-117", "admission-118", "admission-119")
@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"supportedAudio": [{"name": "opus"}]}, None),
        ({}, "spec"),
        ({"supportedAudio": [{"name": "opus"}], "driver": " "}, "spec.driver"),
        ({"supportedAudio": [{"name": "opus"}, {"name": "opus"}]}, "spec.supportedAudio[1].name"),
        ({"supportedAudio": [{"name": "opus", "channels": -1}]}, "spec.supportedAudio[0].channels"),
        ({"supportedBinary": ["json"]}, "spec.supportedBinary[0]"),
        ({"supportedBinary": ["a/b", "A/B"]}, "spec.supportedBinary[1]"),
        (
            {"supportedBinary": ["a/b"], "defaultSettings": {"env": {"BUBU_TRANSPORT_SECURITY_MODE": "plaintext"}}},
            "spec.defaultSettings.env.BUBU_TRANSPORT_SECURITY_MODE",
        ),
        ({"supportedBinary": ["a/b"], "defaultSettings": {"env": {"BUBU_TRANSPORT_SECURITY_MODE": " TLS "}}}, None),
    ],
)
def test_transports(spec: dict[str, Any], path: str | None) -> None:
    assert [fault.split(": ")[0] for fault in faults(transport(**spec))] == ([path] if path else [])


def binding(**spec: Any) -> dict[str, Any]:
    given = {"transportRef": "tr", "stepName": "a", "engramName": "e", "driver": "d", "audio": {"direction": "publish"}}
    return manifest("TransportBinding", {**given, **spec}, "b")


BINDING_SCENE = scene(
    transport(
        supportedAudio=[{"name": "opus", "sampleRateHz": 48000}],
        supportedVideo=[{"name": "h264", "profile": "baseline"}],
        supportedBinary=["application/json"],
    )
)


@pytest.mark.spec("admission-120", "admission-121", "admission-122", "admission-123")
@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, None),
        ({"transportRef": " tr "}, None),
        ({"audio": None}, "spec"),
        ({"driver": " "}, "spec.driver"),
        ({"transportRef": "x"}, "spec.transportRef"),
        ({"driver": "D"}, "spec.driver"),
        ({"audio": {"direction": "publish", "codecs": [{"name": "opus", "sampleRateHz": 48000}]}}, None),
        ({"audio": {"direction": "publish", "codecs": [{"name": "opus"}, {"name": "aac"}]}}, "spec.audio.codecs[1]"),
        ({"video": {"direction": "publish", "codecs": [{"name": "h264", "profile": "HIGH"}]}}, "spec.video.codecs[0]"),
        ({"video": {"direction": "publish", "codecs": [{"name": "h264", "profile": "BaseLine"}]}}, None),
        ({"binary": {"direction": "publish", "mimeTypes": ["Application/JSON"]}}, None),
        ({"binary": {"direction": "publish", "mimeTypes": ["text/plain"]}}, "spec.binary.mimeTypes[0]"),
    ],
)
def test_bindings(spec: dict[str, Any], path: str | None) -> None:
    given = binding(**spec)
    given["spec"] = {name: value for name, value in given["spec"].items() if value is not None}
    assert [fault.split(": ")[0] for fault in faults(given, BINDING_SCENE)] == ([path] if path else [])


@pytest.mark.spec("admission-124", "admission-125")
def test_a_binding_keeps_transport_and_driver() -> None:
    old = binding()
    found = findings(binding(transportRef="other", driver="x"), BINDING_SCENE, old)
    causes = [fault.cause() for fault in found.faults if "immutable after creation" in fault.message]
    assert [cause["field"] for cause in causes] == ["spec.transportRef", "spec.driver"]
    assert {cause["reason"] for cause in causes} == {"FieldValueForbidden"}
    codecs = {"direction": "publish", "codecs": [{"name": "opus"}]}
    assert faults(binding(audio=codecs), BINDING_SCENE, old) == []


# Lookups


def test_what_a_check_wants_to_know_can_be_fetched_and_told() -> None:
    around = scene()
    lookup = around.lookup
    wanted = []
    for _ in range(4):
        findings(story("name: a, ref: {name: e}"), around)
        news = sorted(lookup.wanted, key=str)  # type: ignore[attr-defined]
        if not news:
            break
        wanted += [(key.kind, key.namespace, key.name) for key in news]
        for key in news:
            lookup.add(typed(engram() if key.kind == "Engram" else template()))  # type: ignore[attr-defined]
    assert wanted == [("Engram", "ns", "e"), ("EngramTemplate", "", "t")]
