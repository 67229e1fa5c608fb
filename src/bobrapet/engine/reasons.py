"""Why a step is where it is: a small closed set of facts that the engine acts on and a person reads.

`str()` of each is a sentence part without full stop, ready to stand behind the step's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from bobrapet.api.enums import Phase


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}"


def some_of(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


@dataclass(frozen=True, slots=True, order=True)
class Wake:
    """A moment at which time alone changes something."""

    at: datetime
    what: str
    """What happens then, as a sentence part."""

    def __str__(self) -> str:
        return f"{self.what} at {_clock(self.at)}"


@dataclass(frozen=True, slots=True)
class WaitsFor:
    """Steps that it needs have not finished."""

    on: tuple[str, ...]

    def __str__(self) -> str:
        return f"waits for {some_of(self.on)}"


@dataclass(frozen=True, slots=True)
class WaitsForBlock:
    """A compensation or finally step whose turn comes after the steps before it."""

    block: str
    """The block that has to end first: `steps` or `compensations`."""
    if_failed: bool = False
    """Whether it only runs when a step failed."""

    def __str__(self) -> str:
        return f"comes after all {self.block} have ended" + (", if one failed" if self.if_failed else "")


@dataclass(frozen=True, slots=True)
class WaitsForReference:
    """An object that the step names is not there."""

    kind: str
    name: str
    until: datetime | None = None
    """When the step fails because of it."""

    def __str__(self) -> str:
        limit = f", fails at {_clock(self.until)} without it" if self.until else ""
        return f'waits for {self.kind} "{self.name}", which does not exist{limit}'


@dataclass(frozen=True, slots=True)
class WaitsForStory:
    """The whole run waits for its Story."""

    name: str

    def __str__(self) -> str:
        return f'waits for Story "{self.name}", which does not exist'


@dataclass(frozen=True, slots=True)
class WaitsForPayload:
    """A value that decides about the step lies in storage and is being read."""

    what: str

    def __str__(self) -> str:
        return f"waits for {self.what}"


@dataclass(frozen=True, slots=True)
class Queued:
    """Ready, but a limit is reached; `cause` is the word that the step state records."""

    cause: str
    running: int = 0
    limit: int = 0
    ahead: str = ""

    def __str__(self) -> str:
        match self.cause:
            case "StoryConcurrency":
                return f"queued: the Story runs {self.running} steps, its limit is {self.limit}"
            case "QueueConcurrency":
                return f"queued: the queue runs {self.running} steps, its limit is {self.limit}"
            case "GlobalConcurrency":
                return f"queued: the operator runs {self.running} steps, its limit is {self.limit}"
            case _:
                return f"queued behind {self.ahead}, which has a higher priority"


@dataclass(frozen=True, slots=True)
class WaitsForAccount:
    """Ready, but the account that it would run under cannot be made; it stands in no line meanwhile."""

    why: str

    def __str__(self) -> str:
        return self.why


@dataclass(frozen=True, slots=True)
class Starting:
    """May run now; this plan starts it."""

    def __str__(self) -> str:
        return "is starting"


@dataclass(frozen=True, slots=True)
class Runs:
    """Its work goes on."""

    since: datetime | None = None
    attempt: int = 0
    note: str = ""
    """What holds it up, for example a pod whose image cannot be pulled."""

    def __str__(self) -> str:
        text = f"runs since {_clock(self.since)}" if self.since else "runs"
        if self.attempt:
            text += f" (attempt {self.attempt + 1})"
        return f"{text}: {self.note}" if self.note else text


@dataclass(frozen=True, slots=True)
class Retries:
    """Failed, and will be tried again."""

    at: datetime
    attempt: int
    because: str = ""

    def __str__(self) -> str:
        cause = f" after: {self.because}" if self.because else ""
        return f"is tried again at {_clock(self.at)} (attempt {self.attempt + 1}){cause}"


@dataclass(frozen=True, slots=True)
class Sleeps:
    until: datetime

    def __str__(self) -> str:
        return f"sleeps until {_clock(self.until)}"


@dataclass(frozen=True, slots=True)
class AwaitsDecision:
    """A gate that nobody has approved or rejected yet."""

    step: str
    until: datetime | None = None

    def __str__(self) -> str:
        limit = f" until {_clock(self.until)}" if self.until else ""
        return f"awaits a decision{limit} (status.gates.{self.step}.state: Approved or Rejected)"


@dataclass(frozen=True, slots=True)
class AwaitsCondition:
    """A wait step whose `until` is not true yet."""

    until: datetime | None = None
    error: str = ""

    def __str__(self) -> str:
        limit = f" until {_clock(self.until)}" if self.until else ""
        return f"awaits its condition{limit}" + (f" (last try: {self.error})" if self.error else "")


@dataclass(frozen=True, slots=True)
class AwaitsRun:
    """An executeStory step whose child run goes on."""

    run: str

    def __str__(self) -> str:
        return f"awaits run {self.run}"


@dataclass(frozen=True, slots=True)
class AwaitsBranches:
    """A parallel step with branches that have not ended."""

    open: tuple[str, ...]

    def __str__(self) -> str:
        return f"awaits branches {some_of(self.open)}"


@dataclass(frozen=True, slots=True)
class Stops:
    """Was asked to end and is draining."""

    until: datetime | None = None

    def __str__(self) -> str:
        return f"is stopping, at the latest at {_clock(self.until)}" if self.until else "is stopping"


@dataclass(frozen=True, slots=True)
class Ended:
    """Will not change any more."""

    phase: Phase
    message: str = ""

    def __str__(self) -> str:
        word = _ENDED.get(self.phase, self.phase.value)
        return f"{word}: {self.message}" if self.message else word


_ENDED = {
    Phase.SUCCEEDED: "succeeded",
    Phase.FAILED: "failed",
    Phase.SKIPPED: "was skipped",
    Phase.TIMEOUT: "ran out of time",
    Phase.CANCELED: "was canceled",
    Phase.FINISHED: "was stopped",
    Phase.ABORTED: "was aborted",
    Phase.COMPENSATED: "was compensated",
}

Reason: TypeAlias = (
    WaitsFor
    | WaitsForBlock
    | WaitsForReference
    | WaitsForStory
    | WaitsForPayload
    | WaitsForAccount
    | Queued
    | Starting
    | Runs
    | Retries
    | Sleeps
    | AwaitsDecision
    | AwaitsCondition
    | AwaitsRun
    | AwaitsBranches
    | Stops
    | Ended
)
