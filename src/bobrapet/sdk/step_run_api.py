"""The two calls that a component makes: read its StepRun, patch its status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class ApiError(Exception):
    """The API server could not be reached, or refused.

    ApiError
    ├── Unreachable     no answer: trying again may help
    └── Refused         an answer that is no success; `code` is the HTTP status
    """


class Unreachable(ApiError):
    pass


class Refused(ApiError):
    def __init__(self, code: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after = retry_after


class StepRunApi(Protocol):
    """What reporting needs of an API server; a fake is ten lines."""

    def get(self) -> dict[str, Any]:
        """The StepRun. Raises ApiError."""
        ...

    def patch_status(self, patch: Mapping[str, Any]) -> None:
        """Applies a JSON merge patch to the status subresource. Raises ApiError."""
        ...
