"""A component for the process tests: what it does stands in its input."""

import asyncio
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

from bobrapet.sdk import Cancelled, Context, RateLimitedError, engram


@dataclass
class Work:
    do: str
    value: Any = None


@engram
def work(input: Work, ctx: Context) -> dict[str, Any] | None:
    match input.do:
        case "echo":
            return {"value": input.value, "config": ctx.config}
        case "nothing":
            return None
        case "rate-limited":
            raise RateLimitedError("slow down, token=abcdef", code="HTTP_429", retry_after=20)
        case "bug":
            raise KeyError("missing")
        case "hang":
            time.sleep(60)
        case "stop-myself":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        case "swallow":
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            except Exception:
                return {"swallowed": True}
        case "clean-up":
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            except Cancelled:
                ctx.log.info("cleaned up")
                raise
        case "exit":
            sys.exit(3)
        case "log":
            ctx.log.debug("hidden unless debug")
            ctx.log.info("secret is " + ctx.secrets["api"]["token"])
            logging.getLogger("lib").warning("from a library")
    return {}


@engram
async def async_work(input: Work) -> dict[str, Any]:
    if input.do == "hang":
        await asyncio.sleep(60)
    if input.do == "stop-myself":
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)
    return {"value": input.value}


@engram(grace=0.1)
def stubborn(input: Work) -> None:
    """Reaches its time limit, hears the interruption, and goes on all the same."""
    try:
        os.kill(os.getpid(), signal.SIGALRM)  # as the clock does, and never before the function is here
        time.sleep(60)
    except BaseException:
        time.sleep(60)


if __name__ == "__main__":
    {"": work, "async": async_work, "stubborn": stubborn}[os.environ.get("COMPONENT", "")].main()
