"""How the TLS Secret of an Engram reaches its process (spec workloads 11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bobrapet.api import env

MOUNT_PATH: Final = "/var/run/tls"
VOLUME: Final = "engram-tls"


@dataclass(frozen=True, slots=True)
class TLSWiring:
    volume: dict[str, Any]
    mount: dict[str, Any]
    env: list[dict[str, Any]]


def tls_wiring(secret: str) -> TLSWiring:
    """Volume, mount and variables that make a component use the Secret for both ends of gRPC."""
    files = {
        env.GRPC_TLS_CERT_FILE: "tls.crt",
        env.GRPC_TLS_KEY_FILE: "tls.key",
        env.GRPC_CLIENT_CERT_FILE: "tls.crt",
        env.GRPC_CLIENT_KEY_FILE: "tls.key",
        env.GRPC_CA_FILE: "ca.crt",
    }
    return TLSWiring(
        volume={"name": VOLUME, "secret": {"secretName": secret}},
        mount={"name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": True},
        env=[
            *({"name": name, "value": f"{MOUNT_PATH}/{file}"} for name, file in files.items()),
            {"name": env.GRPC_REQUIRE_TLS, "value": "true"},
        ],
    )
