"""Free ports that no other test run on this machine takes meanwhile (spec runtime ET-3)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

ATTEMPTS = 100


class PortLease:
    """Ports held by file locks until `release`, or until this process ends."""

    def __init__(self) -> None:
        self._held: list[tuple[int, Path]] = []

    def take(self) -> int:
        """A port that nobody listens on and nobody else took through a lease."""
        folder = Path(tempfile.gettempdir()) / f"bobrapet-envtest-ports-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        for _ in range(ATTEMPTS):
            port = _unused_port()
            path = folder / str(port)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            self._held.append((descriptor, path))
            return port
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


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
