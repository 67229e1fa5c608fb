#!/usr/bin/env python3
"""What an empty component costs: import, and start to finish against an API server on loopback (fastest of N)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.unit.sdk.fakes import FakeStepRun, kubeconfig, serve, step_environ  # noqa: E402

EMPTY = """
from bobrapet.sdk import engram

@engram
def empty() -> None:
    pass

if __name__ == "__main__":
    empty.main()
"""


def fastest(command: list[str], environ: dict[str, str], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(command, env=environ, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    plain = dict(os.environ)
    python = fastest([sys.executable, "-c", "pass"], plain, rounds)
    imported = fastest([sys.executable, "-c", "import bobrapet.sdk"], plain, rounds)
    with tempfile.TemporaryDirectory() as folder:
        component = Path(folder, "empty.py")
        component.write_text(EMPTY)
        config = Path(folder, "kubeconfig")
        with serve(FakeStepRun()) as api:
            config.write_text(kubeconfig(api.url))
            environ = {**plain, **step_environ(), "KUBECONFIG": str(config)}
            api.step_run.get = lambda: {"metadata": {}, "status": {"phase": "Running"}}  # type: ignore[method-assign]
            api.step_run.patch_status = lambda patch: None  # type: ignore[method-assign]
            whole = fastest([sys.executable, str(component)], environ, rounds)
            profile = subprocess.run(
                [sys.executable, "-X", "importtime", str(component)], env=environ, capture_output=True, text=True
            ).stderr
    print(f"python -c pass            {python:6.1f} ms")
    print(f"import bobrapet.sdk       {imported:6.1f} ms  (+{imported - python:.1f})")
    print(f"empty component, whole    {whole:6.1f} ms  (+{whole - python:.1f})")
    print("\nlargest imports (cumulative ms):")
    rows = [line.removeprefix("import time:").split("|") for line in profile.splitlines() if "import time:" in line]
    costs = sorted(((int(row[1]), row[2].strip()) for row in rows if row[1].strip().isdigit()), reverse=True)
    for micros, module in costs[:12]:
        print(f"  {micros / 1000:6.1f}  {module}")


if __name__ == "__main__":
    main()
