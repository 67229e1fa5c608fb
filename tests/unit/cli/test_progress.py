"""What a person sees of a run."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from bobrapet.api import StepRun, Story, StoryRun
from bobrapet.cli.progress import PlainLines, RunView, StepView, elapsed, open_display, tree
from bobrapet.cli.view import run_view

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def drawn(view: RunView, *, height: int = 24, seconds: float = 1.5) -> str:
    console = Console(file=io.StringIO(), width=100, height=height)
    console.print(tree(view, T0 + timedelta(seconds=seconds), height=height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def run(*steps: StepView, phase: str = "Running") -> RunView:
    return RunView("etl-1", phase, steps, started=T0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (12.9, "12 s"), (184, "3 m 04 s"), (7500, "2 h 05 m"), (-5, "0.0 s")]
)
def test_elapsed_time_reads_well_at_every_size(seconds: float, text: str) -> None:
    assert elapsed(T0, T0 + timedelta(seconds=seconds), T0) == text


def test_the_tree_shows_phase_time_retries_and_why_a_step_waits() -> None:
    text = drawn(
        run(
            StepView("fetch", "Running", started=T0, retries=2),
            StepView("transform", "Waiting", "waits for fetch"),
        )
    )
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["▶", "etl-1", "Running", "1.5", "s"]
    assert lines[1] == ["├─", "▶", "fetch", "Running", "1.5", "s", "retry", "2"]
    assert lines[2] == ["└─", "·", "transform", "Waiting", "waits", "for", "fetch"]


def test_a_terminal_shows_how_far_a_component_says_that_it_is_and_plain_lines_do_not() -> None:
    view = run(StepView("crawl", "Running", started=T0, progress="30 of 120 (25%) pages"))
    assert "30 of 120 (25%) pages" in drawn(view)
    stream = io.StringIO()
    PlainLines(lambda: T0, stream).update(view)
    assert "30 of 120" not in stream.getvalue()


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        ({"done": 30, "total": 120, "fraction": 0.25, "message": "pages"}, "30 of 120 (25%) pages"),
        ({"done": 0.5, "fraction": 0.5}, "50%"),
        ({"message": "warming up"}, "warming up"),
        ({"done": "x", "fraction": [1]}, ""),
        (7, ""),
        (None, ""),
    ],
)
def test_the_signal_progress_of_a_running_step_is_read_as_far_as_it_makes_sense(sample: Any, text: str) -> None:
    signals = {"progress": {"meta": {}, "sample": sample}}
    child = StepRun.model_validate(
        {
            "metadata": {"name": "r-crawl"},
            "spec": {"stepId": "crawl", "storyRunRef": {"name": "r"}, "engramRef": {"name": "e"}},
            "status": {"phase": "Running", "retries": 0, "signals": signals},
        }
    )
    story = Story.model_validate(
        {"metadata": {"name": "s"}, "spec": {"steps": [{"name": "crawl", "ref": {"name": "e"}}]}}
    )
    owner = StoryRun.model_validate({"metadata": {"name": "r"}, "spec": {"storyRef": {"name": "s"}}})
    (step,) = run_view(owner, story, {"r-crawl": child}, {}).steps
    assert step.progress == text


def test_what_moves_or_failed_stays_visible_when_the_terminal_is_too_small() -> None:
    steps = [StepView(f"done-{n}", "Succeeded") for n in range(50)]
    steps += [StepView("bad", "Failed"), StepView("busy", "Running")]
    text = drawn(run(*steps), height=12)
    assert "bad" in text
    assert "busy" in text
    assert "Succeeded" in text.splitlines()[-1]
    assert len(text.splitlines()) <= 12


def test_plain_lines_tell_each_change_once_and_use_no_colour() -> None:
    stream = io.StringIO()
    display = open_display(lambda: T0, stream)
    assert isinstance(display, PlainLines)
    waiting = StepView("b", "Waiting", "waits for a")
    display.update(run(StepView("a", "Running", started=T0), waiting))
    display.update(run(StepView("a", "Running", started=T0), waiting))
    display.update(run(StepView("a", "Succeeded", started=T0, finished=T0 + timedelta(seconds=2)), waiting))
    display.update(run(StepView("a", "Pending", "HTTP 503", started=T0, retries=1), phase=""))
    assert stream.getvalue().splitlines() == [
        "etl-1: a Running",
        "etl-1: b Waiting - waits for a",
        "etl-1: run Running",
        "etl-1: a Succeeded after 2.0 s",
        "etl-1: a Pending (retry 1) - HTTP 503",
    ]
