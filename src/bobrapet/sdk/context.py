"""What a component may ask while it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic

from bobrapet.sdk.environment import Limits, StepIdentity
from bobrapet.sdk.log import Log
from bobrapet.sdk.secrets import Secret

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from bobrapet.sdk.effects import Effect
    from bobrapet.sdk.interrupts import Interrupts
    from bobrapet.sdk.link import Link
    from bobrapet.sdk.signals import Progress, Signals
    from bobrapet.sdk.storage import StepStorage
    from bobrapet.sdk.stories import Stories

    ConfigT = TypeVar("ConfigT", default=dict[str, Any])
else:
    from typing import TypeVar  # typing_extensions costs a tenth of the start-up time, and only checkers need a default

    ConfigT = TypeVar("ConfigT")


class Context(Generic[ConfigT]):
    """The step around the function. Annotate it `Context[MyConfig]` to get a typed `config`.

    In a test, build one by hand: `Context(config=MyConfig(timeout="1s"))`. Signals and effects then go to an operator
    in memory; the testkit (bobrapet.sdk.testkit) shows what arrived there.
    """

    def __init__(
        self,
        *,
        config: ConfigT,
        secrets: Mapping[str, Secret] | None = None,
        step: StepIdentity | None = None,
        log: Log | None = None,
        timeout: float = float("inf"),
        limits: Limits | None = None,
        link: Link | None = None,
        interrupts: Interrupts | None = None,
        storage: StepStorage | None = None,
    ) -> None:
        self.config = config
        """Engram.with merged with the step's `with`."""
        self.secrets = secrets or {}
        """Secrets by the logical names of the template's secretSchema: `ctx.secrets["api"]["token"]`."""
        self.step = step or StepIdentity(namespace="default", step_run="test")
        self.log = log or Log(self.step)
        self._deadline = time.monotonic() + timeout
        self._limits = limits or Limits()
        self._link = link
        self._interrupts = interrupts
        self._storage = storage
        self._signals: Signals | None = None
        self._progress: Progress | None = None

    def remaining(self) -> float:
        """Seconds until the step's time limit; never negative."""
        return max(0.0, self._deadline - time.monotonic())

    @property
    def attempt(self) -> int:
        """1 for the first attempt of the step, 2 for its first retry."""
        return (self.step.attempt or 0) + 1

    @property
    def signals(self) -> Signals:
        """What this step tells while it runs: `ctx.signals.emit("page", 3)`."""
        if self._signals is None:
            from bobrapet.sdk.signals import Signals

            self._signals = Signals(self._connected(), log=self.log, max_payload=self._limits.signal_payload)
        return self._signals

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tells how far the work is: `ctx.progress(30, 200)`, or `ctx.progress(0.15)` of 1.

        It becomes the signal `progress` at most once a second, so a loop may call it for each item, and never fails.
        """
        if self._progress is None:
            from bobrapet.sdk.signals import Progress

            self._progress = Progress(self.signals, self.log)
        self._progress(done, total, message)

    def effect(self, name: str, key: str | None = None, *, lease: float | None = None) -> Effect:
        """A side effect that happens once, however often the step is tried. See bobrapet.sdk.effects.

            with ctx.effect("charge", order.id) as charge:
                charge.record(payment=gateway.charge(order, idempotency_key=charge.idempotency_key))

        The block is skipped when an earlier attempt completed it; `charge.details` are then what that attempt recorded.
        `async with` works too. `key` tells effects of one name apart; `lease` is how many seconds a process that died
        inside the block keeps others out (60).

        Entering raises EffectHeld while another process is inside, and EffectFailed without the API server.
        """
        from bobrapet.sdk.effects import LEASE, Effect, effect_key

        return Effect(
            effect_key(name, key),
            self._connected(),
            log=self.log,
            lease=lease or LEASE,
            max_details=self._limits.effect_details,
            on_lost=self._interrupts.ring if self._interrupts is not None else None,
        )

    @property
    def storage(self) -> StepStorage:
        """Files for later steps: `ctx.storage.upload(path)`. Large values of the output need nothing of it."""
        if self._storage is None:
            from bobrapet.sdk.storage import StepStorage

            self._storage = StepStorage({}, self.step)
        return self._storage

    @property
    def stories(self) -> Stories:
        """Starts Stories and waits for them, when the component's template asks for the right to."""
        from bobrapet.sdk.stories import Stories

        return Stories(self._connected(), log=self.log)

    def flush(self) -> None:
        """Tells what progress was held back. The SDK does it when the function has ended."""
        if self._progress is not None:
            self._progress.flush()

    def _connected(self) -> Link:
        if self._link is None:
            from bobrapet.sdk.link import Link
            from bobrapet.sdk.memory_api import MemoryApi

            api = MemoryApi(self.step)
            self._link = Link(lambda: api, self.step)
        return self._link
