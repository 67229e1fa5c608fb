"""Requirements on the Job of a step (spec workloads 5, 6, 9 to 11)."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bobrapet.config import policy
from bobrapet.config.operator import OperatorConfig, parse
from tests.unit.workloads.builders import build, container, engram, steprun, story, template, variables


@pytest.mark.spec("workloads-2")
def test_the_job_bears_the_name_of_its_steprun_and_belongs_to_it() -> None:
    job = build().job
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == ("r1-fetch", "wf")
    assert (
        job["metadata"]["labels"].items()
        >= {
            "app.kubernetes.io/name": "bobrapet",
            "app.kubernetes.io/component": "engram",
            "bubustack.io/steprun": "r1-fetch",
        }.items()
    )
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("StepRun", "u1", True)


@pytest.mark.spec("workloads-3")
def test_the_token_is_mounted_whatever_the_operator_says() -> None:
    config = parse({"security.automount-service-account-token": "false"}).config
    assert build(config=config).job["spec"]["template"]["spec"]["automountServiceAccountToken"] is True


@pytest.mark.spec("workloads-4")
def test_without_an_operator_account_the_runner_of_the_story_is_used() -> None:
    assert build().job["spec"]["template"]["spec"]["serviceAccountName"] == "etl-engram-runner"
    config = parse({"security.service-account-name": "ops"}).config
    assert build(config=config).job["spec"]["template"]["spec"]["serviceAccountName"] == "ops"


@pytest.mark.spec("workloads-5")
def test_an_account_named_by_a_step_is_ignored_unless_the_operator_allows_it() -> None:
    named = story(steps=[{"name": "fetch", "ref": {"name": "f"}, "execution": {"serviceAccountName": "mine"}}])
    assert build(story_=named).job["spec"]["template"]["spec"]["serviceAccountName"] == "etl-engram-runner"
    config = parse({"security.allow-step-service-account-override": "true"}).config
    assert build(story_=named, config=config).job["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


@pytest.mark.spec("workloads-6")
@pytest.mark.parametrize(("timeout", "seconds"), [("5m", 420), (None, 1920), ("1500ms", 122)])
def test_the_backstop_is_two_minutes_after_the_step_timeout(timeout: str | None, seconds: int) -> None:
    step = steprun(timeout=timeout) if timeout else steprun()
    assert build(step_=step).job["spec"]["activeDeadlineSeconds"] == seconds


ALWAYS = (
    "BUBU_STORY_NAME",
    "BUBU_STORY_VERSION",
    "BUBU_STORYRUN_ID",
    "BUBU_STEP_NAME",
    "BUBU_STEPRUN_NAME",
    "BUBU_STEPRUN_NAMESPACE",
    "BUBU_TRIGGER_DATA",
    "BUBU_EXECUTION_MODE",
    "BUBU_HYBRID_BRIDGE",
    "BUBU_GRPC_PORT",
    "BUBU_MAX_INLINE_SIZE",
    "BUBU_STORAGE_TIMEOUT",
    "BUBU_STEP_TIMEOUT",
    "BUBU_MAX_RECURSION_DEPTH",
    "BUBU_DEBUG",
    "BUBU_POD_NAME",
    "BUBU_POD_NAMESPACE",
    "BUBU_SERVICE_ACCOUNT_NAME",
    "BUBU_GRPC_MAX_RECV_BYTES",
    "BUBU_GRPC_MAX_SEND_BYTES",
    "BUBU_GRPC_CLIENT_MAX_RECV_BYTES",
    "BUBU_GRPC_CLIENT_MAX_SEND_BYTES",
    "BUBU_GRPC_DIAL_TIMEOUT",
    "BUBU_GRPC_CHANNEL_BUFFER_SIZE",
    "BUBU_GRPC_RECONNECT_MAX_RETRIES",
    "BUBU_GRPC_RECONNECT_BASE_BACKOFF",
    "BUBU_GRPC_RECONNECT_MAX_BACKOFF",
    "BUBU_GRPC_HANG_TIMEOUT",
    "BUBU_GRPC_MESSAGE_TIMEOUT",
    "BUBU_GRPC_CHANNEL_SEND_TIMEOUT",
    "BUBU_ENGRAM_NAME",
    "BUBU_ENGRAM_VERSION",
    "BUBU_STARTED_AT",
    "BUBU_STEP_CONFIG",
    "BUBU_TEMPLATE_CONTEXT",
)


@pytest.mark.spec("workloads-7")
def test_every_promised_variable_is_there_once_in_go_notation() -> None:
    workload = build(step_=steprun(timeout="300s"))
    counts = Counter(entry["name"] for entry in container(workload)["env"])
    assert {name: counts[name] for name in ALWAYS} == dict.fromkeys(ALWAYS, 1)
    found = variables(workload)
    assert found["BUBU_STEP_TIMEOUT"] == "5m0s"
    assert found["BUBU_GRPC_RECONNECT_BASE_BACKOFF"] == "500ms"
    assert found["BUBU_STARTED_AT"] == "2026-01-01T10:00:00.000000Z"
    assert json.loads(found["BUBU_TRIGGER_DATA"]) == {"url": "http://x"}
    assert json.loads(found["BUBU_STEP_CONFIG"]) == {"timeout": "3s"}


@pytest.mark.spec("workloads-8")
def test_an_impossible_user_is_a_problem_and_an_unset_one_is_absent() -> None:
    recommended = template(execution={"security": {"recommendedRunAsUser": 0}})
    assert "runAsUser" in policy.resolve(OperatorConfig(), template=recommended).problems[0]


@pytest.mark.spec("workloads-9")
def test_the_recursion_depth_of_the_story_beats_the_operators() -> None:
    deep = story(policy={"execution": {"maxRecursionDepth": 64}})
    assert variables(build(story_=deep))["BUBU_MAX_RECURSION_DEPTH"] == "64"
    assert variables(build())["BUBU_MAX_RECURSION_DEPTH"] == "32"


@pytest.mark.spec("workloads-10")
def test_secrets_arrive_as_variables_or_files_with_markers() -> None:
    schema = {
        "api": {"mountType": "env", "envPrefix": "HTTP_", "expectedKeys": ["TOKEN", "KEY"]},
        "all": {"mountType": "env"},
        "cert": {"mountType": "file"},
        "both": {"mountType": "both", "expectedKeys": ["k"]},
    }
    bound = {"api": "s1", "all": "s2", "cert": "s3", "both": "s4", "unknown": "s5"}
    workload = build(template_=template(secretSchema=schema), engram_=engram(secrets=bound))
    found = variables(workload)
    assert found["HTTP_TOKEN"] == {"secretKeyRef": {"name": "s1", "key": "TOKEN"}}
    assert (found["BUBU_SECRET_api"], found["BUBU_SECRET_api_NAME"]) == ("env:HTTP_", "s1")
    assert {"prefix": "all_", "secretRef": {"name": "s2"}} in container(workload)["envFrom"]
    assert found["BUBU_SECRET_cert"] == "file:/etc/bubu/secrets/cert"
    assert found["BUBU_SECRET_both"] == "env:both_"
    assert "BUBU_SECRET_both_NAME" not in found
    assert not [name for name in found if "unknown" in name]
    mounts = {mount["name"]: mount["mountPath"] for mount in container(workload)["volumeMounts"]}
    assert mounts["secret-cert"] == "/etc/bubu/secrets/cert"


def test_secrets_whose_names_differ_in_case_or_signs_only_have_volumes_of_their_own() -> None:
    schema = {name: {"mountType": "file"} for name in ("api", "API", "a.p.i", "a-p-i")}
    workload = build(template_=template(secretSchema=schema), engram_=engram(secrets=dict.fromkeys(schema, "s")))
    names = [mount["name"] for mount in container(workload)["volumeMounts"]]
    assert len(names) == len(set(names))
    assert {volume["name"] for volume in workload.job["spec"]["template"]["spec"]["volumes"]} == set(names)


@pytest.mark.spec("workloads-11")
def test_two_builds_are_byte_identical_whatever_the_order_of_maps() -> None:
    schema = {f"s{i}": {"mountType": "both"} for i in range(5)}
    bound = {f"s{i}": f"secret-{i}" for i in range(5)}
    first = build(template_=template(secretSchema=schema), engram_=engram(secrets=bound), inputs={"a": 1, "b": {}})
    second = build(
        template_=template(secretSchema=dict(reversed(schema.items()))),
        engram_=engram(secrets=dict(reversed(bound.items()))),
        inputs={"b": {}, "a": 1},
    )
    assert json.dumps(first.job) == json.dumps(second.job)


def test_large_inputs_travel_in_a_secret_that_the_steprun_owns() -> None:
    workload = build(inputs={"text": "x" * 40_000})
    assert workload.secret is not None
    name = workload.secret["metadata"]["name"]
    assert variables(workload)["BUBU_TRIGGER_DATA"] == {"secretKeyRef": {"name": name, "key": "triggerData"}}
    assert json.loads(workload.secret["stringData"]["triggerData"]) == {"text": "x" * 40_000}
    assert workload.secret["metadata"]["ownerReferences"][0]["uid"] == "u1"


def test_a_template_context_that_no_environment_holds_is_cut_part_by_part() -> None:
    steps = {f"s{i}": {"output": {"body": "x" * 50_000}} for i in range(5)}
    context = json.loads(variables(build(context={"inputs": {"a": 1}, "steps": steps}))["BUBU_TEMPLATE_CONTEXT"])
    assert context["inputs"] == {"a": 1}
    assert len(json.dumps(context)) < 128 * 1024
    omitted = [name for name, step in context["steps"].items() if "$bubuOmitted" in step]
    assert omitted
    assert len(omitted) < 5


def test_storage_credentials_come_under_both_families_of_names() -> None:
    s3 = {"bucket": "b", "endpoint": "http://s3", "authentication": {"secretRef": {"name": "creds"}}}
    found = variables(build(story_=story(policy={"storage": {"s3": s3, "timeoutSeconds": 7}})))
    assert found["BUBU_STORAGE_S3_BUCKET"] == "b"
    assert found["BUBU_STORAGE_TIMEOUT"] == "7s"
    reference = {"secretKeyRef": {"name": "creds", "key": "AWS_ACCESS_KEY_ID"}}
    assert found["AWS_ACCESS_KEY_ID"] == found["BUBU_S3_ACCESS_KEY_ID"] == reference


def test_file_storage_is_mounted_and_named() -> None:
    workload = build(story_=story(policy={"storage": {"file": {"volumeClaimName": "data"}}}))
    assert variables(workload)["BUBU_STORAGE_PATH"] == "/var/run/bubu/storage"
    volumes = {volume["name"]: volume for volume in workload.job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["bubu-storage"]["persistentVolumeClaim"] == {"claimName": "data"}


def test_a_tls_secret_is_mounted_with_its_variables() -> None:
    workload = build(engram_=engram({"bubustack.io/tls-secret": "tls"}))
    assert variables(workload)["BUBU_GRPC_REQUIRE_TLS"] == "true"
    assert {"name": "engram-tls", "secret": {"secretName": "tls"}} in workload.job["spec"]["template"]["spec"][
        "volumes"
    ]


def test_the_attempt_is_marked_on_job_and_pod_and_told_to_the_process() -> None:
    job = build(attempt=2).job
    mark = {"runs.bubustack.io/attempt": "2"}
    assert job["metadata"]["annotations"] == job["spec"]["template"]["metadata"]["annotations"] == mark
    assert variables(build(attempt=2))["BUBU_STEP_ATTEMPT"] == "2"


def test_pods_are_restricted_by_default_and_have_a_place_for_temporary_files() -> None:
    workload = build()
    assert container(workload)["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    pod = workload.job["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert {"name": "tmp", "mountPath": "/tmp"} in container(workload)["volumeMounts"]
