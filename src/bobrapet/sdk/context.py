"""What a component may ask while it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Generic

from typing_extensions import TypeVar

from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.log import Log
from bobrapet.sdk.secrets import Secret

ConfigT = TypeVar("ConfigT", default=dict[str, Any])


class Context(Generic[ConfigT]):
    """The step around the function. Annotate it `Context[MyConfig]` to get a typed `config`.

    In a test, build one by hand: `Context(config=MyConfig(timeout="1s"))`.
    """

    def __init__(
        self,
        *,
        config: ConfigT,
        secrets: Mapping[str, Secret] | None = None,
        step: StepIdentity | None = None,
        log: Log | None = None,
        timeout: float = float("inf"),
    ) -> None:
        self.config = config
        """Engram.with merged with the step's `with`."""
        self.secrets = secrets or {}
        """Secrets by the logical names of the template's secretSchema: `ctx.secrets["api"]["token"]`."""
        self.step = step or StepIdentity(namespace="default", step_run="test")
        self.log = log or Log(self.step)
        self._deadline = time.monotonic() + timeout

    def remaining(self) -> float:
        """Seconds until the step's time limit; never negative."""
        return max(0.0, self._deadline - time.monotonic())
