"""What a component author imports.

    from dataclasses import dataclass
    from bobrapet.sdk import Context, engram

    @dataclass
    class Greeting:
        text: str

    @engram
    def greet(input: dict[str, str], ctx: Context) -> Greeting:
        ctx.log.info("greeting", name=input["name"])
        return Greeting(f"Hello, {input['name']}")

    if __name__ == "__main__":
        greet.main()

The package needs the base install only and starts in well under 200 ms; what a process needs only at its end is
imported then.
"""

from bobrapet.sdk.context import Context
from bobrapet.sdk.engram import Engram, SecretNeed, engram, main
from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.errors import (
    Cancelled,
    EffectLost,
    EngramError,
    Interrupted,
    RateLimitedError,
    RetryError,
    StepTimeout,
    TerminalError,
)
from bobrapet.sdk.secrets import Secret

__all__ = [
    "Cancelled",
    "Context",
    "EffectLost",
    "Engram",
    "EngramError",
    "Interrupted",
    "RateLimitedError",
    "RetryError",
    "Secret",
    "SecretNeed",
    "StepIdentity",
    "StepTimeout",
    "TerminalError",
    "engram",
    "main",
]
