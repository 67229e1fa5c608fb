"""The question of a gRPC probe: `grpc.health.v1.Health/Check`, where the library for gRPC is installed.

The two messages are so small that they are written and read by hand: a string, and an enumeration.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

METHOD = "/grpc.health.v1.Health/Check"
SERVING = 1
STATES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
MISSING = (
    "gRPC probes need the Python package grpcio where this node runs, and it is not installed (`pip install grpcio`)"
)
DEFAULT_TIMEOUT = 1.0


async def check(address: str, service: str, timeout: float | None, library: str = "grpc") -> str:
    """Asks once; why the service is not healthy, or "". `timeout` in seconds."""
    return await asyncio.to_thread(_check, address, service, timeout or DEFAULT_TIMEOUT, library)


def _check(address: str, service: str, timeout: float, library: str) -> str:
    try:
        grpc: Any = importlib.import_module(library)
    except ImportError:
        return MISSING
    # No proxy of the environment stands between a node and its own pods.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        try:
            answer = call(_request(service), timeout=timeout, wait_for_ready=False)
        except grpc.RpcError as error:
            return _refused(grpc, error, address, timeout)
    state = _state(answer)
    return "" if state == SERVING else f'service unhealthy (responded with "{_name(state)}")'


def _refused(grpc: Any, error: Any, address: str, timeout: float) -> str:
    code = error.code()
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {METHOD}"
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"timeout: health rpc did not complete within {timeout:g}s"
    if code == grpc.StatusCode.UNAVAILABLE:
        return f'error: failed to connect service "{address}": {error.details()}'
    return f"error: health rpc failed: {code.name}: {error.details()}"


def _request(service: str) -> bytes:
    """HealthCheckRequest: field 1, a string."""
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def _state(answer: bytes) -> int:
    """HealthCheckResponse: field 1, an enumeration, of which 0 is not written."""
    if len(answer) >= 2 and answer[0] == 0x08:
        return answer[1]
    return 0


def _name(state: int) -> str:
    return STATES[state] if state < len(STATES) else str(state)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
