"""A registry of finalizers: what to clean up before an object may go (spec runtime FIN-1 to FIN-3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from bobrapet.runtime.controller.controllerutil.finalizers import add_finalizer, contains_finalizer, remove_finalizer
from bobrapet.runtime.errors import ClientError, ControllerRuntimeError


@dataclass(frozen=True, slots=True)
class Result:
    """What the caller has to write."""

    updated: bool = False
    """The object's metadata changed."""

    status_updated: bool = False
    """The object's status changed."""


class Finalizer(Protocol):
    """Cleans up after an object that is being deleted.

    May run again after it succeeded, so what is gone already counts as success. Tells by its result whether it changed
    the object (besides its own name) or its status. Raises when the clean-up failed: `CleanupFailed` to say what it
    changed nevertheless, for example a condition that tells why.
    """

    async def finalize(self, obj: Any) -> Result: ...


class CleanupFailed(ControllerRuntimeError):
    """One finalizer did not succeed; `result` is what it changed before it gave up."""

    def __init__(self, message: str, result: Result = Result()) -> None:
        super().__init__(message)
        self.result = result


class FinalizationFailed(ExceptionGroup[Exception]):
    """Some finalizers failed. `result` tells what changed all the same, and must be written."""

    result: Result = Result()


class Finalizers:
    """Finalizers by name, run in order of registration."""

    def __init__(self) -> None:
        self._registered: dict[str, Finalizer] = {}

    def register(self, key: str, finalizer: Finalizer) -> None:
        """Adds a finalizer under the name that stands in `metadata.finalizers`. Raises when the name is taken."""
        if key in self._registered:
            raise ClientError(f"a finalizer {key!r} is registered already")
        self._registered[key] = finalizer

    async def finalize(self, obj: Any) -> Result:
        """Adds the names to a living object; cleans up after one that is being deleted, and removes their names.

        Changes `obj` in place and sends nothing. A finalizer that fails keeps its name; the others still run, and all
        failures are raised together as `FinalizationFailed`.
        """
        if not obj.metadata.deletion_timestamp:
            added = [add_finalizer(obj, key) for key in self._registered]
            return Result(updated=any(added))
        updated = status_updated = False
        failures: list[Exception] = []
        for key, finalizer in self._registered.items():
            if not contains_finalizer(obj, key):
                continue
            try:
                result = await finalizer.finalize(obj)
            except CleanupFailed as failure:
                updated |= failure.result.updated
                status_updated |= failure.result.status_updated
                failures.append(failure)
            except Exception as error:
                failures.append(error)
            else:
                remove_finalizer(obj, key)
                updated = True
                status_updated |= result.status_updated
        result = Result(updated, status_updated)
        if failures:
            group = FinalizationFailed("finalizers failed", failures)
            group.result = result
            raise group
        return result
