"""The wire contract of a component (spec workloads 24) in plain Python: environment variables and HTTP only."""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.request
from typing import Any

ROOT = os.environ.get("BUBU_POD_ROOT", "")
ACCOUNT = f"{ROOT}/var/run/secrets/kubernetes.io/serviceaccount"


def call(method: str, subresource: str, body: Any = None) -> Any:
    """Speaks to the API server about this process's own StepRun."""
    with open(f"{ACCOUNT}/token") as file:
        token = file.read().strip()
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    name, namespace = os.environ["BUBU_STEPRUN_NAME"], os.environ["BUBU_STEPRUN_NAMESPACE"]
    path = f"/apis/runs.bubustack.io/v1alpha1/namespaces/{namespace}/stepruns/{name}{subresource}"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"https://{host}:{port}{path}", data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")) as response:
        return json.load(response)


def secret(name: str) -> str:
    """The key `token` of a secret, as its marker variable says."""
    kind, _, place = os.environ[f"BUBU_SECRET_{name}"].partition(":")
    if kind == "env":
        return os.environ[f"{place}token"]
    with open(f"{ROOT}{place}/token") as file:
        return file.read().rstrip("\n")


def main() -> int:
    inputs = json.loads(os.environ["BUBU_TRIGGER_DATA"])
    attempt = os.environ["BUBU_STEP_ATTEMPT"]
    if str(call("GET", "")["status"].get("retries", 0)) != attempt:
        return 1  # an earlier attempt that outlived its time: what it says is not wanted any more
    mode = inputs.get("mode")
    if mode == "fail" or (mode == "retry" and attempt == "0"):
        found = "terminal" if mode == "fail" else "rateLimited"
        error = {
            "version": "v1",
            "type": "execution_error",
            "message": "the service said no",
            "exitClass": found,
            "code": "HTTP_429",
            "details": {"retryAfterSeconds": 0.2},
        }
        status = {"phase": "Failed", "exitCode": 1, "exitClass": found, "lastFailureMsg": error["message"]}
        call("PATCH", "/status", {"status": {**status, "error": error}})
        return 1
    output = {
        "inputs": inputs,
        "config": json.loads(os.environ["BUBU_STEP_CONFIG"]),
        "secret": secret("api"),
        "file": secret("file"),
        "attempt": attempt,
        "step": os.environ["BUBU_STEP_NAME"],
        "story": os.environ["BUBU_STORY_NAME"],
        "timeout": os.environ["BUBU_STEP_TIMEOUT"],
    }
    call("PATCH", "/status", {"status": {"phase": "Succeeded", "exitClass": "success", "output": output}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
