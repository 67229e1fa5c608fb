"""Names, paths and configurations are those of the Go operator (spec admission A1)."""

from __future__ import annotations

import base64

from bobrapet.admission import WEBHOOKS, Service, Url, webhook_configurations


def test_paths_and_names_are_those_of_go() -> None:
    mutating, validating = webhook_configurations(Service(ca_bundle=b"PEM"))
    found = {hook["name"]: hook["clientConfig"]["service"]["path"] for hook in validating["webhooks"]}
    assert found == {
        "vstory-v1alpha1.kb.io": "/validate-bubustack-io-v1alpha1-story",
        "vengram-v1alpha1.kb.io": "/validate-bubustack-io-v1alpha1-engram",
        "vimpulse-v1alpha1.kb.io": "/validate-bubustack-io-v1alpha1-impulse",
        "vstoryrun-v1alpha1.kb.io": "/validate-runs-bubustack-io-v1alpha1-storyrun",
        "vsteprun-v1alpha1.kb.io": "/validate-runs-bubustack-io-v1alpha1-steprun",
        "vstorytrigger-v1alpha1.kb.io": "/validate-runs-bubustack-io-v1alpha1-storytrigger",
        "veffectclaim-v1alpha1.kb.io": "/validate-runs-bubustack-io-v1alpha1-effectclaim",
        "vtransport.kb.io": "/validate-transport-bubustack-io-v1alpha1-transport",
        "vtransportbinding.kb.io": "/validate-transport-bubustack-io-v1alpha1-transportbinding",
    }
    found = {hook["name"]: hook["clientConfig"]["service"]["path"] for hook in mutating["webhooks"]}
    assert found == {
        "mstory-v1alpha1.kb.io": "/mutate-bubustack-io-v1alpha1-story",
        "mengram-v1alpha1.kb.io": "/mutate-bubustack-io-v1alpha1-engram",
        "mimpulse-v1alpha1.kb.io": "/mutate-bubustack-io-v1alpha1-impulse",
        "msteprun-v1alpha1.kb.io": "/mutate-runs-bubustack-io-v1alpha1-steprun",
    }


def test_a_webhook_is_asked_about_writes_of_its_resource_only() -> None:
    for configuration in webhook_configurations(Service()):
        for hook in configuration["webhooks"]:
            (rule,) = hook["rules"]
            assert rule["operations"] == ["CREATE", "UPDATE"]  # a DELETE is never asked about
            assert rule["apiVersions"] == ["v1alpha1"]
            assert rule["resources"][0] in {row.kind.PLURAL for row in WEBHOOKS}  # and so never the status
            assert (hook["failurePolicy"], hook["sideEffects"]) == ("Fail", "None")
            assert hook["admissionReviewVersions"] == ["v1"]


def test_the_endpoint_is_a_service_or_a_url() -> None:
    bundle = base64.b64encode(b"PEM").decode()
    config = webhook_configurations(Url("https://127.0.0.1:9443/", b"PEM"))[0]["webhooks"][0]["clientConfig"]
    assert config == {"url": "https://127.0.0.1:9443/mutate-bubustack-io-v1alpha1-story", "caBundle": bundle}
    config = webhook_configurations(Service("ns", "hooks", 8443))[0]["webhooks"][0]["clientConfig"]
    path = "/mutate-bubustack-io-v1alpha1-story"
    assert config == {"service": {"namespace": "ns", "name": "hooks", "port": 8443, "path": path}}
