#!/usr/bin/env python3
"""What an empty component costs from start to finish, and where the time goes.

    hack/bench/sdk.py [ROUNDS]

The component runs as in a pod: environment variables, a projected token, an API server over TLS (on loopback, in this
process; it answers at once). Each phase is the median of ROUNDS starts (25), taken by the component's own clock against
the moment before its process was started; the whole is the median of the same starts, and the fastest.
"""

from __future__ import annotations

import datetime
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.unit.sdk.fakes import FakeStepRun, serve, step_environ  # noqa: E402

COMPONENT = """
import time
marks = [("interpreter", time.monotonic())]
def mark(name):
    marks.append((name, time.monotonic()))

from bobrapet.sdk import engram
mark("import bobrapet.sdk")

@engram
def empty() -> None:
    mark("environment, types")

class Timed:
    def __init__(self, api):
        self._api = api
    def __getattr__(self, name):
        call = getattr(self._api, name)
        def timed(*arguments):
            answer = call(*arguments)
            mark({"get": "connect and GET", "patch_status": "PATCH"}[name])
            return answer
        return call if name == "close" else timed

if __name__ == "__main__":
    import os, sys
    from bobrapet.sdk.environment import Environment
    from bobrapet.sdk.process import _connector, run_step
    mark("import of the runner")
    plain = _connector(Environment.from_environ(os.environ), os.environ)
    def connect():
        mark("result")
        api = plain()
        mark("credentials, TLS context")
        return Timed(api)
    code = run_step(empty, connect=connect)
    mark("report done")
    import json
    json.dump(marks, open(os.environ["BENCH_MARKS"], "w"))
    sys.exit(code)
"""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    import ipaddress

    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "ca.crt", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def median(values: list[float]) -> float:
    return statistics.median(values) * 1000


def started(command: list[str], environ: dict[str, str]) -> float:
    began = time.monotonic()
    subprocess.run(command, env=environ, check=True, capture_output=True)
    return time.monotonic() - began


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        component = folder / "empty.py"
        component.write_text(COMPONENT)
        account = folder / "root/var/run/secrets/kubernetes.io/serviceaccount"
        account.mkdir(parents=True)
        (account / "token").write_text("t0ken")
        cert_file, key_file = certificate(folder)
        (account / "ca.crt").write_bytes(cert_file.read_bytes())
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert_file, key_file)

        class AlwaysRunning(FakeStepRun):
            def patch_status(self, patch: object) -> None:
                pass

        with serve(AlwaysRunning(), tls=tls) as api:
            environ = {
                **{key: value for key, value in os.environ.items() if not key.startswith(("BUBU_", "KUBE"))},
                **step_environ(),
                "BUBU_POD_ROOT": str(folder / "root"),
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT": api.url.rpartition(":")[2],
                "BENCH_MARKS": str(folder / "marks"),
            }
            command = [sys.executable, str(component)]
            started(command, environ)  # writes the bytecode
            phases: dict[str, list[float]] = {}
            wholes = []
            for _ in range(rounds):
                began = time.monotonic()
                wholes.append(started(command, environ))
                before = began
                for phase, at in json.loads((folder / "marks").read_text()):
                    phases.setdefault(phase, []).append(at - before)
                    before = at
                phases.setdefault("exit", []).append(began + wholes[-1] - before)
            profile = subprocess.run(
                [sys.executable, "-X", "importtime", str(component)], env=environ, capture_output=True, text=True
            ).stderr
    empty = median([started([sys.executable, "-c", "pass"], dict(os.environ)) for _ in range(rounds)])
    print(f"an empty component, start to finish   {median(wholes):7.1f} ms   (fastest {min(wholes) * 1000:.1f})")
    print(f"python -c pass                        {empty:7.1f} ms")
    print("\nwhere the time goes (medians):")
    for phase, values in phases.items():
        print(f"  {phase:<28} {median(values):7.1f} ms")
    print("\nlargest imports, with what they import (one start, which importtime slows down):")
    rows = [line.removeprefix("import time:").split("|") for line in profile.splitlines() if "import time:" in line]
    costs = sorted(((int(row[1]), row[2].strip()) for row in rows if row[1].strip().isdigit()), reverse=True)
    for micros, module in costs[:14]:
        print(f"  {micros / 1000:7.1f}  {module}")


if __name__ == "__main__":
    main()
