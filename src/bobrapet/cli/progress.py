"""What a person sees of a run while it goes on: a live tree on a terminal, plain lines elsewhere. Always on stderr.

Rendering is a pure function of a view and a moment; the displays only decide when to draw.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Final, Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_GLYPHS: Final = {
    "Succeeded": ("✓", "green"),
    "Skipped": ("⊘", "dim"),
    "Failed": ("✗", "red"),
    "Timeout": ("✗", "red"),
    "Aborted": ("✗", "red"),
    "Canceled": ("■", "yellow"),
    "Finished": ("■", "yellow"),
    "Compensated": ("↺", "yellow"),
    "Running": ("▶", "cyan"),
    "Pending": ("▷", "cyan"),
    "Paused": ("⏸", "yellow"),
    "Blocked": ("!", "yellow"),
}
_WAITING: Final = ("·", "dim")
_MOVING: Final = frozenset({"Running", "Pending"})


@dataclass(frozen=True, slots=True)
class StepView:
    """One line of the tree."""

    name: str
    phase: str
    """A phase of the API, or "Waiting" for a step that has not begun."""
    note: str = ""
    """Why it waits, or what went wrong."""
    started: datetime | None = None
    finished: datetime | None = None
    retries: int = 0
    depth: int = 0
    progress: str = ""
    """How far the component says that it is. Shown on a terminal only: as lines it would be one a second."""


@dataclass(frozen=True, slots=True)
class RunView:
    """What is shown of a run."""

    name: str
    phase: str
    steps: tuple[StepView, ...] = ()
    note: str = ""
    started: datetime | None = None
    finished: datetime | None = None


class Display(Protocol):
    """Shows views until it is closed."""

    def update(self, view: RunView) -> None: ...

    def close(self) -> None: ...


def open_display(now: Callable[[], datetime], stream: IO[str] | None = None) -> Display:
    """A live tree where `stream` (default stderr) is a terminal that can draw one, plain lines elsewhere."""
    stream = stream or sys.stderr
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return LiveTree(now, stream)
    return PlainLines(now, stream)


def restore_terminal(descriptor: int = 2) -> None:
    """Shows the cursor again, for an end that lets no display be closed."""
    if os.isatty(descriptor):
        os.write(descriptor, b"\x1b[?25h\n")


class LiveTree:
    """Redraws in place, ten times a second, so that elapsed times move."""

    def __init__(self, now: Callable[[], datetime], stream: IO[str]) -> None:
        self._now = now
        self._view: RunView | None = None
        self._spinner = Spinner("dots")
        self._console = Console(file=stream, highlight=False)
        self._live = Live(
            console=self._console, get_renderable=self._render, refresh_per_second=10, redirect_stdout=False
        )
        self._live.start()

    def update(self, view: RunView) -> None:
        self._view = view

    def close(self) -> None:
        self._live.refresh()
        self._live.stop()

    def _render(self) -> RenderableType:
        if self._view is None:
            return Text("starting", style="dim")
        return tree(self._view, self._now(), height=self._console.height, spinner=self._spinner)


class PlainLines:
    """One line for each thing that changed: for logs, pipes and CI."""

    def __init__(self, now: Callable[[], datetime], stream: IO[str]) -> None:
        self._now = now
        self._stream = stream
        self._told: dict[str, tuple[str, int, str]] = {}

    def update(self, view: RunView) -> None:
        for step in view.steps:
            self._tell(step.name, step, view)
        self._tell("", view, view)

    def close(self) -> None:
        self._stream.flush()

    def _tell(self, key: str, item: StepView | RunView, view: RunView) -> None:
        retries = item.retries if isinstance(item, StepView) else 0
        state = (item.phase, retries, item.note)
        if not item.phase or self._told.get(key) == state:
            return
        self._told[key] = state
        words = [f"{view.name}:", item.name if key else "run", item.phase]
        if item.finished is not None:
            words.append(f"after {elapsed(item.started, item.finished, self._now())}")
        if retries:
            words.append(f"(retry {retries})")
        if item.note:
            words.append(f"- {item.note}")
        print(" ".join(words), file=self._stream, flush=True)


def tree(view: RunView, now: datetime, *, height: int, spinner: Spinner | None = None) -> RenderableType:
    """The tree of a run; more steps than lines are folded into counts, those that move or failed stay."""
    shown, folded = _fit(view.steps, height - 3)
    table = Table.grid(padding=(0, 2))
    table.add_row(_branch("", view.phase, view.name, spinner), Text(view.phase), _time(view, now), Text(view.note))
    for position, step in enumerate(shown):
        last = position == len(shown) - 1 and not folded
        indent = "   " * step.depth + ("└─ " if last else "├─ ")
        said = (f"retry {step.retries}" if step.retries else "", step.note, step.progress)
        note = "  ".join(part for part in said if part)
        table.add_row(
            _branch(indent, step.phase, step.name, spinner),
            Text(step.phase, style=_GLYPHS.get(step.phase, _WAITING)[1]),
            _time(step, now),
            Text(note, style="dim" if step.phase in {"Waiting", "Skipped"} else ""),
        )
    if folded:
        counts = Counter(step.phase for step in folded)
        table.add_row(Text("└─ " + ", ".join(f"{count} {phase}" for phase, count in counts.items()), style="dim"))
    return table


def elapsed(started: datetime | None, finished: datetime | None, now: datetime) -> str:
    """`0.4 s`, `12 s`, `3 m 04 s`, `2 h 05 m`; empty for what has not begun."""
    if started is None:
        return ""
    seconds = max(0.0, ((finished or now) - started).total_seconds())
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} m"


def _time(item: StepView | RunView, now: datetime) -> Text:
    return Text(elapsed(item.started, item.finished, now), style="dim")


def _branch(indent: str, phase: str, name: str, spinner: Spinner | None) -> Text:
    glyph, style = _GLYPHS.get(phase, _WAITING)
    if phase in _MOVING and spinner is not None:
        frame = spinner.render(_seconds())
        glyph = frame.plain if isinstance(frame, Text) else glyph
    return Text.assemble((indent, "dim"), (glyph, style), " ", (name, "bold" if not indent else ""))


def _seconds() -> float:
    return datetime.now().timestamp()


def _fit(steps: Sequence[StepView], room: int) -> tuple[Sequence[StepView], Sequence[StepView]]:
    if len(steps) <= max(room, 5):
        return steps, ()
    order = {"Failed": 0, "Timeout": 0, "Running": 1, "Pending": 1, "Blocked": 1, "Paused": 1, "Waiting": 2}
    chosen = sorted(range(len(steps)), key=lambda index: (order.get(steps[index].phase, 3), index))[: max(room - 1, 4)]
    keep = set(chosen)
    return [steps[index] for index in sorted(keep)], [step for index, step in enumerate(steps) if index not in keep]
