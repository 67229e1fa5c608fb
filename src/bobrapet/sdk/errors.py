"""How an Engram says that it failed, and what the engine shall do about it.

    EngramError              raise it, or one of its children; the exit class decides about a retry
    ├── TerminalError        trying again is useless (the default of every other exception)
    ├── RetryError           the same input may succeed later
    │   └── RateLimitedError like RetryError, not before `retry_after` seconds
    └── ComponentFault       found by the SDK around the function
        ├── EnvironmentInvalid   the process was not started as a step
        ├── ConfigInvalid        configuration does not fit the declared type
        ├── InputInvalid         the input does not fit the declared type
        ├── OutputInvalid        the result is no JSON object, does not fit the declared type, or is too large
        └── StorageFailed        stored data cannot be read or written, and never will
            └── StorageUnavailable   the payload store fails; it may work later
    Interrupted              a BaseException: `except Exception` in a component does not swallow it
    ├── Cancelled            SIGTERM: the step is cancelled, or its node goes away
    ├── StepTimeout          the step's time limit passed
    └── EffectLost           another process took over the claim on the effect that is being made

Classes and types are those of the structured error v1 (workloads 24.4): an error is classified by the stage that raised
it, never by its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

ExitClass = Literal["success", "retry", "terminal", "rateLimited", "unknown"]
ErrorType = Literal[
    "timeout",
    "storage_error",
    "serialization_error",
    "validation_error",
    "initialization_error",
    "execution_error",
    "unknown",
]


class EngramError(Exception):
    """A failure that the component understands.

    `code` is the component's own machine-readable name of it (`HTTP_404`), `details` any JSON, `retry_after` the
    seconds before which another attempt is useless.
    """

    type: ClassVar[ErrorType] = "execution_error"
    exit_class: ClassVar[ExitClass] = "terminal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = dict(details or {})
        if retry_after is not None:
            self.details["retryAfterSeconds"] = max(0.0, retry_after)


class TerminalError(EngramError):
    """Trying again with the same input is useless."""


class RetryError(EngramError):
    """The same input may succeed later; the step's retry policy decides when."""

    exit_class: ClassVar[ExitClass] = "retry"


class RateLimitedError(RetryError):
    """The other side asks to slow down; `retry_after` is a lower bound of the delay."""

    exit_class = "rateLimited"


class ComponentFault(EngramError):
    """What the SDK itself finds wrong around the component's function."""


class EnvironmentInvalid(ComponentFault):
    type = "initialization_error"


class ConfigInvalid(ComponentFault):
    type = "initialization_error"


class InputInvalid(ComponentFault):
    type = "validation_error"


class OutputInvalid(ComponentFault):
    type = "serialization_error"


class StorageFailed(ComponentFault):
    type = "storage_error"


class StorageUnavailable(StorageFailed):
    exit_class = "retry"


class Interrupted(BaseException):
    """The engine wants the step to end now; let it pass, after cleaning up."""

    type: ClassVar[ErrorType] = "execution_error"
    exit_class: ClassVar[ExitClass] = "retry"
    exit_code: ClassVar[int]
    code: ClassVar[str]


class Cancelled(Interrupted):
    exit_code = 143
    code = "CANCELED"


class StepTimeout(Interrupted):
    type = "timeout"
    exit_code = 124
    code = "TIMEOUT"


class EffectLost(Interrupted):
    exit_code = 1
    code = "EFFECT_LOST"
