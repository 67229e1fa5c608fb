"""The calls that a component makes: its StepRun, and the claims on its side effects."""

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


class ClaimApi(Protocol):
    """What effects need besides: EffectClaims in the namespace of the StepRun."""

    def get_claim(self, name: str) -> dict[str, Any]:
        """The EffectClaim. Raises ApiError."""
        ...

    def create_claim(self, claim: Mapping[str, Any]) -> dict[str, Any]:
        """The claim as it was stored. Raises ApiError: 409 when it exists."""
        ...

    def update_claim(self, claim: Mapping[str, Any]) -> dict[str, Any]:
        """The claim as it was stored. Raises ApiError: 409 when somebody else wrote it in between."""
        ...


class StoryRunApi(Protocol):
    """What starting Stories from a component needs; its template must ask for the right to it."""

    def create_story_run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """The StoryRun as it was stored. Raises ApiError: 409 when it exists."""
        ...

    def get_story_run(self, name: str) -> dict[str, Any]:
        """A StoryRun of the step's namespace. Raises ApiError: 404 when there is none."""
        ...

    def list_story_runs(self, selector: str) -> list[dict[str, Any]]:
        """StoryRuns of the step's namespace with these labels, however many. Raises ApiError."""
        ...

    def patch_story_run(self, name: str, patch: Mapping[str, Any]) -> None:
        """Applies a JSON merge patch to a StoryRun. Raises ApiError."""
        ...


class ComponentApi(StepRunApi, ClaimApi, StoryRunApi, Protocol):
    """Everything that a running component may ask of the API server."""

    def get_core(self, plural: str, name: str) -> dict[str, Any]:
        """A ConfigMap (`configmaps`) or Secret (`secrets`) of the step's namespace. Raises ApiError."""
        ...

    def close(self) -> None: ...
