"""The contract between a controller and a reconciler (controller-runtime pkg/reconcile, spec runtime 6.6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from bobrapet.runtime.client.interfaces import Reader
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.errors import ControllerRuntimeError, NotFound

T = TypeVar("T")
R_contra = TypeVar("R_contra", bound=Hashable, contravariant=True)


class Request(NamedTuple):
    """What to reconcile: the key of an object. Nothing about what happened to it; that is read from current state."""

    namespace: str
    name: str

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a successful reconcile goes on. Empty: not before the next event."""

    requeue_after: float = 0.0
    """Seconds until the next reconcile without an event."""

    requeue: bool = False
    """Deprecated: again after the delay that a failure would have. Use `requeue_after`."""

    priority: int | None = None
    """Priority of the next try. None: that of this one."""


class Reconciler(Protocol[R_contra]):
    """Brings the world closer to what the object behind a request asks for."""

    async def reconcile(self, request: R_contra) -> Result | None:
        """None is an empty result. Exceptions lead to another try, later each time; `TerminalError` does not."""
        ...


ReconcileFunc = Callable[[Any], Awaitable[Result | None]]


class Func:
    """A function as a reconciler."""

    def __init__(self, function: ReconcileFunc) -> None:
        self._function = function

    async def reconcile(self, request: Any) -> Result | None:
        return await self._function(request)


class ReconcileError(ControllerRuntimeError):
    """An expected failure of a reconciler; not counted as a fault of its code."""


class TerminalError(ReconcileError):
    """A failure that trying again will not cure. Raise it alone, or `from` its cause."""

    def __init__(self, cause: BaseException | str) -> None:
        super().__init__(f"terminal error: {cause}")
        if isinstance(cause, BaseException):
            self.__cause__ = cause


class ReconcileTimeout(ReconcileError, TimeoutError):
    """A reconcile took longer than its controller allows."""


class ResultWithError(ReconcileError):
    """A failure together with a result, for code that is used to Go. The result is ignored."""

    def __init__(self, result: Result, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.result = result
        self.__cause__ = cause


def is_terminal(error: BaseException) -> bool:
    """Whether a `TerminalError` is in the chain of causes; a group is terminal when all its members are."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, TerminalError):
            return True
        if isinstance(current, BaseExceptionGroup):
            return all(is_terminal(member) for member in current.exceptions)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return False


class _ObjectReconciler:
    def __init__(self, client: Reader, cls: type[Any], function: Callable[[Any], Awaitable[Result | None]]) -> None:
        self._client = client
        self._cls = cls
        self._function = function

    async def reconcile(self, request: Request) -> Result | None:
        try:
            obj = await self._client.get(self._cls, request.key)
        except NotFound:
            return Result()
        return await self._function(obj)


def as_reconciler(
    client: Reader, cls: type[T], reconcile: Callable[[T], Awaitable[Result | None]]
) -> Reconciler[Request]:
    """A reconciler that is given the object instead of its key, and nothing when it is gone."""
    return _ObjectReconciler(client, cls, reconcile)
