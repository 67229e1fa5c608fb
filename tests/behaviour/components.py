"""Components of the behaviour tests, in plain Python without our SDK: environment in, one status patch out.

Run as `python components.py MODE`; the image `test/MODE` of the tests is this. What they do is chosen by MODE, with
details from their inputs.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from typing import Any


def patch(status: dict[str, Any]) -> None:
    """Writes into the status of this process's own StepRun."""
    _call("PATCH", "/status", {"status": status})


def read() -> dict[str, Any]:
    """The status of this process's own StepRun."""
    return dict(_call("GET", "")["status"])


def _call(method: str, subresource: str, body: Any = None) -> Any:
    root = os.environ.get("BUBU_POD_ROOT", "")
    account = f"{root}/var/run/secrets/kubernetes.io/serviceaccount"
    with open(f"{account}/token") as file:
        token = file.read().strip()
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    name, namespace = os.environ["BUBU_STEPRUN_NAME"], os.environ["BUBU_STEPRUN_NAMESPACE"]
    request = urllib.request.Request(
        f"https://{host}:{port}/apis/runs.bubustack.io/v1alpha1/namespaces/{namespace}/stepruns/{name}{subresource}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"},
        method=method,
    )
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=f"{account}/ca.crt")) as response:
        return json.load(response)


def succeed(output: Any) -> None:
    patch({"phase": "Succeeded", "exitClass": "success", "output": output})


def echo(inputs: dict[str, Any]) -> int:
    """Gives its inputs back, and the environment it ran in."""
    succeed({**inputs, "attempt": os.environ.get("BUBU_STEP_ATTEMPT", ""), "pod": os.environ["BUBU_POD_NAME"]})
    return 0


def silent(inputs: dict[str, Any]) -> int:
    """Reports nothing."""
    print("saying nothing to the API server")
    return 0


def crash(inputs: dict[str, Any]) -> int:
    """Dies of a bug before it reports."""
    print("about to crash")
    raise RuntimeError("a bug in the component")


def exits(inputs: dict[str, Any]) -> int:
    """Exits with the code that it was given."""
    return int(inputs.get("code", 1))


def killed(inputs: dict[str, Any]) -> int:
    """Is killed as by the kernel's out-of-memory killer, every time."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def hang(inputs: dict[str, Any]) -> int:
    """Ignores SIGTERM and never ends; it and a grandchild write their process ids where they were told."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, 1); signal.pause()"])
    with open(inputs["pids"], "a") as file:
        file.write(f"{os.getpid()}\n{child.pid}\n")
    while True:
        signal.pause()


def flaky(inputs: dict[str, Any]) -> int:
    """Fails as retryable until it was called often enough; counts its calls in a file."""
    with open(inputs["calls"], "a") as file:
        file.write(f"{time.time()}\n")
    with open(inputs["calls"]) as file:
        calls = len(file.readlines())
    if calls >= int(inputs.get("succeed_at", 2)):
        succeed({"calls": calls})
        return 0
    patch(
        {
            "phase": "Failed",
            "exitCode": 1,
            "exitClass": "retry",
            "lastFailureMsg": f"call {calls} fails on purpose",
            "error": {
                "version": "v1",
                "type": "execution_error",
                "message": f"call {calls} fails on purpose",
                "retryable": True,
                "exitClass": "retry",
            },
        }
    )
    return 1


def counted(inputs: dict[str, Any]) -> int:
    """Succeeds after a while and leaves a line in a file for each time it ran."""
    with open(inputs["calls"], "a") as file:
        file.write(f"{os.environ['BUBU_STEPRUN_NAME']}\n")
    time.sleep(float(inputs.get("seconds", 0)))
    succeed({"done": True})
    return 0


def big(inputs: dict[str, Any]) -> int:
    """Reports more than an object of Kubernetes can hold."""
    succeed({"data": "x" * int(inputs.get("bytes", 2_000_000))})
    return 0


def liar(inputs: dict[str, Any]) -> int:
    """Reports success and then exits otherwise."""
    succeed({"v": "said"})
    return 3


def fail_retryably(message: str) -> None:
    patch({"phase": "Failed", "exitCode": 1, "exitClass": "retry", "lastFailureMsg": message})


def late(inputs: dict[str, Any]) -> int:
    """Fails, is not impressed by SIGTERM, and reports success when its retry has been decided already."""
    count(inputs)
    if os.environ["BUBU_STEP_ATTEMPT"] != "0":
        succeed({"attempt": os.environ["BUBU_STEP_ATTEMPT"]})
        return 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    fail_retryably("gives up, perhaps")
    while read().get("retries", 0) == 0:
        time.sleep(0.02)
    succeed({"attempt": "0"})
    return 0


def told_then_hangs(inputs: dict[str, Any]) -> int:
    """Leaves its process id, reports success, and stays."""
    count(inputs)
    succeed({"v": "said"})
    while True:
        signal.pause()


def hangs_once(inputs: dict[str, Any]) -> int:
    """Leaves its process id; the first time it stays, without having said a word."""
    if count(inputs) == 1:
        while True:
            signal.pause()
    succeed({"attempt": os.environ["BUBU_STEP_ATTEMPT"], "calls": count(inputs) - 1})
    return 0


def hangs(inputs: dict[str, Any]) -> int:
    """Leaves its process id, and stays until it is ended; every time."""
    count(inputs)
    while True:
        signal.pause()


def worsens(inputs: dict[str, Any]) -> int:
    """Is killed the first time, and exits with a code that no retry helps against the second."""
    if count(inputs) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1


def recovers(inputs: dict[str, Any]) -> int:
    """Exits with 3 the first time and with 0 the second, both without a word."""
    return 3 if count(inputs) == 1 else 0


def late_once(inputs: dict[str, Any]) -> int:
    """Reports a timeout the first time."""
    if count(inputs) == 1:
        patch({"phase": "Timeout", "exitCode": 124, "exitClass": "retry", "lastFailureMsg": "took too long"})
        return 124
    succeed({"attempt": os.environ["BUBU_STEP_ATTEMPT"]})
    return 0


def lingers(inputs: dict[str, Any]) -> int:
    """Fails the first time and is slow to go; leaves the moments at which each process began and ended."""
    with open(inputs["calls"], "a") as file:
        file.write(f"begins {time.time()}\n")
    if os.environ["BUBU_STEP_ATTEMPT"] == "0":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        fail_retryably("fails at once, goes later")
        while read().get("nextRetryAt", "later") > moment():
            time.sleep(0.05)
        time.sleep(0.5)
    else:
        succeed({})
    with open(inputs["calls"], "a") as file:
        file.write(f"ends {time.time()}\n")
    return 0


def moment() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{int(time.time() * 1000) % 1000:03}Z"


def contradicts(inputs: dict[str, Any]) -> int:
    """Reports a failure and then exits as if all were well."""
    patch({"phase": "Failed", "exitClass": "terminal", "exitCode": 1, "lastFailureMsg": "no such customer"})
    return 0


def quiet(inputs: dict[str, Any]) -> int:
    """Works for a while and reports nothing."""
    count(inputs)
    time.sleep(float(inputs["seconds"]))
    return 0


def environment(inputs: dict[str, Any]) -> int:
    """Tells which secrets it got, as variables and as files."""
    root = os.environ.get("BUBU_POD_ROOT", "")
    prefixes = ("BUBU_SECRET_", "LOGIN_", "all_", "twice_")
    variables = {name: value for name, value in os.environ.items() if name.startswith(prefixes)}
    files = {}
    for folder in ("/etc/cert", "/etc/bubu/secrets/twice"):
        if os.path.isdir(root + folder):
            for name in os.listdir(root + folder):
                if not name.startswith(".."):
                    with open(f"{root}{folder}/{name}") as file:
                        files[f"{folder}/{name}"] = file.read()
    succeed({"variables": variables, "files": files})
    return 0


def count(inputs: dict[str, Any]) -> int:
    """Leaves a line with this process's id in the file of the test; says how many there are."""
    with open(inputs["calls"], "a") as file:
        file.write(f"{os.getpid()}\n")
    with open(inputs["calls"]) as file:
        return len(file.readlines())


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](json.loads(os.environ.get("BUBU_TRIGGER_DATA") or "{}")))
