"""Probes: what a kubelet asks, answered in the text that Kubernetes uses (spec runtime section 11)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs

from bobrapet.runtime.log.log import get_logger

CHECK_TIMEOUT = 5.0
"""Seconds a single check may take."""

Checker = Callable[[], Awaitable[None]]
"""Returns when all is well, raises otherwise."""

HEADERS = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}

log = get_logger("healthz")


async def ping() -> None:
    """The check that says only that the loop answers."""


class Handler:
    """Checks under one path. `answer` is free of any HTTP library."""

    def __init__(self, name: str, checks: Mapping[str, Checker] | None = None) -> None:
        self.name = name
        self.checks: dict[str, Checker] = dict(checks or {})

    async def answer(self, subpath: str, query: str = "") -> tuple[int, str]:
        """Status and text for `/healthz/<subpath>?<query>`; an empty subpath asks for all checks."""
        checks = self.checks or {"ping": ping}
        subpath = subpath.strip("/")
        if not subpath:
            return await self._all(checks, parse_qs(query, keep_blank_values=True))
        if subpath not in checks:
            return 404, "404 page not found\n"
        error = await _run(checks[subpath])
        return (200, "ok") if error is None else (500, f"internal server error: {_reason(error)}\n")

    async def _all(self, checks: Mapping[str, Checker], query: Mapping[str, list[str]]) -> tuple[int, str]:
        excluded = set(query.get("exclude", []))
        names = sorted(checks)
        wanted = [name for name in names if name not in excluded]
        results = dict(zip(wanted, await asyncio.gather(*(_run(checks[name]) for name in wanted)), strict=True))
        lines: list[str] = []
        for name in names:
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
            elif results[name] is None:
                lines.append(f"[+]{name} ok")
            else:
                log.info(f"{self.name} check failed", checker=name, error=results[name])
                lines.append(f"[-]{name} failed: reason withheld")
        unknown = sorted(excluded - set(names))
        if unknown:
            quoted = ", ".join(f'"{name}"' for name in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        failed = any(error is not None for error in results.values())
        if failed:
            return 500, "\n".join([*lines, f"{self.name} check failed", ""])
        if "verbose" not in query:
            return 200, "ok"
        return 200, "\n".join([*lines, f"{self.name} check passed", ""])


async def _run(check: Checker) -> Exception | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await check()
    except Exception as error:
        return error
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"the check took longer than {CHECK_TIMEOUT:g} s"
    return str(error) or type(error).__name__
