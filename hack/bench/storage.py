#!/usr/bin/env python3
"""What a large payload costs on its way into a store and out again: seconds, and memory beyond the payload itself.

    hack/bench/storage.py [MEGABYTES]

Payloads of 200 MB (default), through a folder and through S3 (moto, in a process of its own): one text, a list of
objects, a text under a component of the SDK from its inputs to its output, and a file that is handed over. Each is done
in a fresh process, which resets the kernel's high-water mark of its memory when the payload is there (writing) or
before anything is (reading). `extra` is that mark less what the process held anyway and less the payload.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from bobrapet.storage import Limits, Store, dehydrate, from_environ, hydrate, open_store  # noqa: E402

PREFIX = "outputs/bench/run1-step"
REFERENCE = {"$bubuStorageRef": f"{PREFIX}/value.json"}


def resident(field: str = "VmRSS") -> float:
    """Megabytes of this process."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def store() -> Store:
    settings = from_environ(os.environ)
    assert settings is not None
    return open_store(settings)


def text(size: int) -> str:
    return ("x" * 999 + "\n") * (size // 1000)


def rows(size: int) -> list[dict[str, Any]]:
    return [{"id": number, "name": f"row {number:012d}", "value": number / 3} for number in range(size // 62)]


def write(make: Callable[[int], Any], size: int) -> None:
    to = store()
    to.put("warm", __import__("bobrapet.storage").storage.Body.of(b"x"))
    value = {"value": make(size)}
    base = resident()
    reset_peak()
    began = time.monotonic()
    dehydrate(value, to, PREFIX, Limits(inline=4096))
    report(time.monotonic() - began, resident("VmHWM") - base)


def read(size: int) -> None:
    of = store()
    of.get("warm")
    base = resident()
    reset_peak()
    began = time.monotonic()
    value = hydrate(REFERENCE, of)
    took = time.monotonic() - began
    peak, payload = resident("VmHWM"), resident() - base
    assert value
    report(took, peak - base - payload)


def upload(size: int) -> None:
    to = store()
    source = Path(os.environ["BENCH_FOLDER"]) / "file"
    base = resident()
    reset_peak()
    began = time.monotonic()
    to.upload(source, "files/file")
    report(time.monotonic() - began, resident("VmHWM") - base)


def download(size: int) -> None:
    of = store()
    base = resident()
    reset_peak()
    began = time.monotonic()
    of.download("files/file", Path(os.environ["BENCH_FOLDER"]) / "copy")
    report(time.monotonic() - began, resident("VmHWM") - base)


def component(size: int) -> None:
    """From the reference in the inputs to the reference in the status."""
    from bobrapet.sdk import engram
    from bobrapet.sdk.memory_api import MemoryApi
    from bobrapet.sdk.process import run_step

    @engram
    def passes_on(input: dict[str, Any]) -> dict[str, Any]:
        return {"value": input["value"]}

    api = MemoryApi()
    environ = {
        **os.environ,
        "BUBU_STEPRUN_NAMESPACE": "bench",
        "BUBU_STEPRUN_NAME": "run1-next",
        "BUBU_TRIGGER_DATA": json.dumps({"value": REFERENCE}),
    }
    base = resident()
    reset_peak()
    began = time.monotonic()
    code = run_step(passes_on, environ, connect=lambda: api)  # type: ignore[arg-type, return-value]
    took = time.monotonic() - began
    assert code == 0, api.step_run
    report(took, resident("VmHWM") - base - size / 1e6)


def report(seconds: float, extra: float) -> None:
    print(json.dumps({"seconds": seconds, "extra": extra}))


STEPS: dict[str, Callable[[int], None]] = {
    "text, written": lambda size: write(text, size),
    "text, read": read,
    "text, through a component": component,
    "rows, written": lambda size: write(rows, size),
    "rows, read": read,
    "file, uploaded": upload,
    "file, downloaded": download,
}


def main() -> None:
    size = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 200_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "store").mkdir()
        with (folder / "file").open("wb") as file:
            for _ in range(size // 1_000_000):
                file.write(os.urandom(1_000_000))
        server = subprocess.Popen(
            [sys.executable, "-c", MOTO], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        providers = {
            "folder": {"BUBU_STORAGE_PROVIDER": "file", "BUBU_STORAGE_PATH": str(folder / "store")},
            "S3": {
                "BUBU_STORAGE_PROVIDER": "s3",
                "BUBU_STORAGE_S3_BUCKET": "bench",
                "BUBU_STORAGE_S3_ENDPOINT": url,
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
            },
        }
        print(f"payload of {size / 1e6:.0f} MB        {'seconds':>9} {'MB/s':>7} {'extra MB':>9}")
        try:
            for provider, variables in providers.items():
                for step in STEPS:
                    environ = {**os.environ, **variables, "BENCH_FOLDER": name, "BENCH_STEP": step}
                    done = subprocess.run(
                        [sys.executable, __file__, str(size / 1e6)], env=environ, capture_output=True, text=True
                    )
                    assert done.returncode == 0, done.stderr
                    found = json.loads(done.stdout)
                    speed = size / 1e6 / found["seconds"]
                    label = f"{provider}: {step}"
                    print(f"{label:<34} {found['seconds']:>6.2f} {speed:>7.0f} {found['extra']:>9.1f}", flush=True)
        finally:
            server.kill()
            server.wait()


MOTO = """
import boto3, logging, threading
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
url = "http://%s:%s" % server.get_host_and_port()
boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a",
             aws_secret_access_key="b").create_bucket(Bucket="bench")
print(url, flush=True)
threading.Event().wait()
"""

if __name__ == "__main__":
    if step := os.environ.get("BENCH_STEP"):
        STEPS[step](int(float(sys.argv[1]) * 1e6))
    else:
        main()
