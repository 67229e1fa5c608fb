"""`@engram`: a typed function becomes a component."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Literal, NoReturn, ParamSpec, TypeVar, get_args, get_origin, get_type_hints, overload

import msgspec

from bobrapet.sdk.context import Context

DEFAULT_GRACE = 25.0
"""Kubernetes kills 30 s after SIGTERM by default; reporting takes its part of them."""

P = ParamSpec("P")
R = TypeVar("R")


class Signature(msgspec.Struct, frozen=True):
    """What a component takes and gives. `input` or `context` is None where the function does not ask for it."""

    parameters: tuple[str, ...]
    input: str | None
    context: str | None
    input_type: Any
    config_type: Any
    output_type: Any


class SecretNeed(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that a component uses, as its template tells the engine."""

    description: str = ""
    keys: tuple[str, ...] = ()
    """Keys that the Kubernetes Secret must have. None: whatever it has."""
    required: bool = False
    mount: Literal["env", "file"] = "file"
    """How the keys reach the process. `ctx.secrets` reads both alike; files follow no process into its children."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What the code of a component cannot say and its EngramTemplate must: see `engram`."""

    version: str = "0.1.0"
    image: str = ""
    secrets: Mapping[str, SecretNeed] = {}
    rights: Sequence[Mapping[str, Any]] = ()
    timeout: str = ""
    max_retries: int | None = None
    grace: float = DEFAULT_GRACE


class Engram(Generic[P, R]):
    """A component: still the function, callable as such in a test, and able to run as a step.

    `fetch.main()` at the end of its module makes it `python -m package.module`.
    """

    def __init__(self, function: Callable[P, R], name: str, about: About | None = None) -> None:
        self.function = function
        self.name = name
        self.about = about or About()
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<engram {self.name}>"

    @property
    def is_async(self) -> bool:
        """Whether calling gives a coroutine; by the code's own flag, `inspect` would be a large import for one bit."""
        return bool(self.function.__code__.co_flags & 0x80)

    def signature(self) -> Signature:
        """Raises TypeError when the function takes something that a step cannot give."""
        return _signature(self.function)

    def main(self) -> NoReturn:
        """Runs as the step that the environment describes, and ends the process with the code of its result."""
        from bobrapet.sdk.process import run_step

        sys.exit(run_step(self))


@overload
def engram(function: Callable[P, R], /) -> Engram[P, R]: ...
@overload
def engram(
    *,
    name: str = "",
    version: str = "0.1.0",
    image: str = "",
    secrets: Mapping[str, SecretNeed] | None = None,
    rights: Sequence[Mapping[str, Any]] = (),
    timeout: str = "",
    max_retries: int | None = None,
    grace: float = DEFAULT_GRACE,
) -> Callable[[Callable[P, R]], Engram[P, R]]: ...
def engram(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str = "",
    version: str = "0.1.0",
    image: str = "",
    secrets: Mapping[str, SecretNeed] | None = None,
    rights: Sequence[Mapping[str, Any]] = (),
    timeout: str = "",
    max_retries: int | None = None,
    grace: float = DEFAULT_GRACE,
) -> Engram[P, R] | Callable[[Callable[P, R]], Engram[P, R]]:
    """Makes a component of a function `(input: Input, ctx: Context[Config]) -> Output`, sync or async.

    Both parameters may be left out. Input, Config and Output are dataclasses, TypedDicts, msgspec Structs, pydantic
    models or plain dicts; `ctx` is known by its annotation. An exception fails the step: an `EngramError` says itself
    whether another attempt makes sense, any other is terminal.

    The arguments are for the EngramTemplate that `bobrapet engram template` prints; running needs none of them:

    name         of the template. Default: the function's name, with dashes
    version      of the template
    image        that runs the component
    secrets      by logical name
    rights       RBAC rules that it needs besides those of every component, for example to start Stories
    timeout      recommended time limit of a step, a Go duration
    max_retries  recommended retries of a step

    and one that counts while it runs:

    grace        seconds to clean up after SIGTERM or the time limit; then the step is reported as interrupted and the
                 process ends, whatever the function does. Keep it below the pod's terminationGracePeriodSeconds
    """
    about = About(
        version=version,
        image=image,
        secrets=secrets or {},
        rights=rights,
        timeout=timeout,
        max_retries=max_retries,
        grace=grace,
    )

    def make(function: Callable[P, R]) -> Engram[P, R]:
        return Engram(function, name or function.__name__.strip("_").replace("_", "-"), about)

    return make if function is None else make(function)


def _signature(function: Callable[..., Any] | Callable[..., Awaitable[Any]]) -> Signature:
    hints = get_type_hints(function)
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    contexts = [name for name in names if _is_context(hints.get(name))]
    inputs = [name for name in names if name not in contexts]
    if len(contexts) > 1 or len(inputs) > 1:
        raise TypeError(
            f"{function.__qualname__}({', '.join(names)}): an engram takes one input and one argument annotated Context"
        )
    context = contexts[0] if contexts else None
    arguments = get_args(hints[context]) if context else ()
    return Signature(
        parameters=names,
        input=inputs[0] if inputs else None,
        context=context,
        input_type=hints.get(inputs[0], dict) if inputs else dict,
        config_type=arguments[0] if arguments else dict,
        output_type=hints.get("return", Any),
    )


def _is_context(hint: Any) -> bool:
    return hint is Context or get_origin(hint) is Context


def main(*components: Engram[..., Any]) -> NoReturn:
    """Runs one of several components that share an image, and ends the process.

    The first argument of the command line names it (`python shop.py charge`), else the name of the step's Engram
    (`BUBU_ENGRAM_NAME`). Ends with 2 when neither names one.
    """
    import os

    names = {component.name: component for component in components}
    wanted = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BUBU_ENGRAM_NAME", "")
    if wanted not in names:
        print(f"no component {wanted!r} here; there are {', '.join(sorted(names))}", file=sys.stderr)
        sys.exit(2)
    names[wanted].main()
