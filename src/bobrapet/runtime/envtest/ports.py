"""Free ports that no other test run on this machine takes meanwhile (spec runtime ET-3)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

ATTEMPTS: Final = 100
PORTS: Final = range(15000, 30000)
"""Below the ports that systems hand out themselves (32768 and above, or 49152): between `take` and the start of the
program that shall listen, another program that asks for any free port would get one of those."""


class PortLease:
    """Ports held by file locks until `release`, or until this process ends."""

    def __init__(self) -> None:
        self._held: list[tuple[int, Path]] = []

    def take(self) -> int:
        """A port that nobody listens on and nobody else took through a lease."""
        folder = Path(tempfile.gettempdir()) / f"bobrapet-envtest-ports-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        for _ in range(ATTEMPTS):
            port = secrets.choice(PORTS)  # not `random`: what seeds it makes all test processes try the same ports
            path = folder / str(port)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            if _is_free(port):
                self._held.append((descriptor, path))
                return port
            os.close(descriptor)
        raise OSError(f"no free port found in {ATTEMPTS} attempts")

    def release(self) -> None:
        while self._held:
            descriptor, path = self._held.pop()
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
