"""The wire contract of a component (spec workloads 24) in plain Python: environment variables and HTTP only."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import Any

ROOT = os.environ.get("BUBU_POD_ROOT", "")
NAME, NAMESPACE = os.environ["BUBU_STEPRUN_NAME"], os.environ["BUBU_STEPRUN_NAMESPACE"]
ACCOUNT = f"{ROOT}/var/run/secrets/kubernetes.io/serviceaccount"


def call(method: str, subresource: str, body: Any = None, resource: str = "") -> Any:
    """Speaks to the API server about this process's own StepRun, or about another resource of its namespace."""
    with open(f"{ACCOUNT}/token") as file:
        token = file.read().strip()
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    path = f"/apis/runs.bubustack.io/v1alpha1/namespaces/{NAMESPACE}/{resource or f'stepruns/{NAME}'}{subresource}"
    content = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": content}
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


def signal(attempt: str) -> None:
    """One more event, after those that earlier attempts have left."""
    summary = {"type": "string", "details": {"len": 1}, "sizeBytes": 3, "sha256": "0" * 64}
    events = call("GET", "")["status"].get("signalEvents", [])
    events.append({"seq": len(events) + 1, "key": "attempt", "emittedAt": now(), "payload": summary})
    call("PATCH", "/status", {"status": {"signals": {"attempt": summary}, "signalEvents": events}})


def charge(calls: str) -> None:
    """A side effect that happens once, whatever becomes of the attempts: whoever makes the claim has it."""
    digest = hashlib.sha1(f"{NAMESPACE}/{NAME}/charge".encode()).hexdigest()
    claim = f"{NAME}-effect-{digest[:16]}"
    reference = {"name": NAME, "uid": call("GET", "")["metadata"]["uid"]}
    spec = {"stepRunRef": reference, "effectKey": "charge", "holderIdentity": NAME}
    new = {"metadata": {"name": claim}, "spec": spec}
    new |= {"apiVersion": "runs.bubustack.io/v1alpha1", "kind": "EffectClaim"}
    try:
        call("POST", "", new, "effectclaims")
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise
        return
    with open(calls, "a") as file:
        file.write(f"{os.environ['BUBU_STEP_NAME']}\n")
    while True:
        made = call("GET", "", resource=f"effectclaims/{claim}")
        made["spec"] |= {"completionStatus": "completed", "completedAt": now()}
        try:
            call("PUT", "", made, f"effectclaims/{claim}")
            break
        except urllib.error.HTTPError as error:
            if error.code != 409:  # the operator writes into it too
                raise
    effect = {"seq": 1, "key": "charge", "status": "succeeded", "emittedAt": now()}
    call("PATCH", "/status", {"status": {"effects": [effect]}})


def offload(text: str) -> dict[str, str]:
    """Puts a text into the payload store, and gives what stands for it."""
    path = f"outputs/{NAMESPACE}/{NAME}/body.json"
    file = f"{ROOT}{os.environ['BUBU_STORAGE_PATH']}/{path}"
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "w") as out:
        json.dump({"contentType": "raw", "data": text}, out)
    return {"$bubuStorageRef": path, "$bubuStorageContentType": "text/plain"}


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def main() -> int:
    inputs = json.loads(os.environ["BUBU_TRIGGER_DATA"])
    attempt = os.environ["BUBU_STEP_ATTEMPT"]
    if str(call("GET", "")["status"].get("retries", 0)) != attempt:
        return 1  # an earlier attempt that outlived its time: what it says is not wanted any more
    mode = inputs.get("mode")
    if mode == "all":
        signal(attempt)
        charge(inputs["calls"])
    if mode == "fail" or (mode in ("retry", "all") and attempt == "0"):
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
    if mode == "all":
        output["body"] = offload("x" * 100_000)
    call("PATCH", "/status", {"status": {"phase": "Succeeded", "exitClass": "success", "output": output}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
