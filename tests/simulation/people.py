"""What people do to runs and Stories while the operator works: decide gates, cancel, redrive, edit, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bobrapet.api import labels
from bobrapet.runtime.client.object import ObjectKey
from tests.simulation.cluster import Choice, Object

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

WORDS = {"ok": "Approved", "terminal": "Rejected"}
NEW_STEP = "z"
"""A step that an edit of the Story adds."""


class People:
    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._server, self._case = simulation.server, simulation.case
        self.redrives: dict[str, int] = {}
        """Run -> how often somebody asked to run it again."""
        self.canceled: set[str] = set()
        self.has_changed_story = False
        self._redrives_left = 2 if self._case.redrives else 0
        self._taken_away: Object | None = None

    def choices(self) -> list[Choice]:
        """What may happen now."""
        random, found = self._simulation.random, list[Choice]()
        if gates := self._gates():
            found.append((0.5, "", lambda: self._decide(*random.choice(gates))))
        if self._taken_away is not None:
            found.append((0.3, "somebody creates Story s again", self._bring_back))
        if self._simulation.is_quiet:
            return found
        if self._case.cancels:
            found.append((0.05, "", self._cancel))
        if self._case.change and not self.has_changed_story:
            found.append((0.15, "", self._change_story))
        if self._redrives_left:
            found.append((0.05, "", self.redrive))
        return found

    def is_done(self) -> bool:
        """Whether everybody did what they meant to."""
        return not self._redrives_left

    def redrive(self) -> None:
        """Asks for a run to be run again."""
        self._redrives_left -= 1
        name = self._simulation.random.choice(self._simulation.roots)
        if self._server.get("StoryRun", name) is None:
            return
        self.redrives[name] = count = self.redrives.get(name, 0) + 1
        if self._case.redrives == "whole":
            annotation, value = labels.ANNOTATION_REDRIVE_TOKEN, str(count)
        else:
            step = self._simulation.random.choice(self._case.all_steps)["name"]
            annotation, value = labels.ANNOTATION_REDRIVE_FROM_STEP, f"{step}:{count}"
        self._simulation.tell(f"somebody redrives {name}: {value}")
        self._server.patch("StoryRun", ObjectKey("wf", name), {"metadata": {"annotations": {annotation: value}}})

    def _gates(self) -> list[tuple[ObjectKey, str, str]]:
        """Decisions that are not made yet; half of the people decide before they are asked."""
        gates = [step["name"] for step in self._case.all_steps if step.get("type") == "gate"]
        found = []
        for key, run in self._server.of("StoryRun").items():
            status = run.get("status") or {}
            for name in gates:
                word = WORDS.get(self._case.does(name, 0))
                is_asked = status.get("stepStates", {}).get(name, {}).get("phase") == "Paused"
                may_decide = is_asked or (self._case.decides_early and not self._simulation.is_quiet)
                is_open = key.name in self._simulation.roots and name not in status.get("gates", {})
                if word and is_open and may_decide:
                    found.append((key, name, word))
        return found

    def _decide(self, key: ObjectKey, gate: str, word: str) -> None:
        self._simulation.tell(f"somebody: {gate} of {key.name} is {word}")
        self._server.patch("StoryRun", key, {"status": {"gates": {gate: {"state": word}}}}, status=True)

    def _cancel(self) -> None:
        name = self._simulation.random.choice(sorted(key.name for key in self._server.of("StoryRun")))
        self._simulation.tell(f"somebody cancels {name}")
        self.canceled.add(name)
        self._server.patch("StoryRun", ObjectKey("wf", name), {"spec": {"cancelRequested": True}})

    def _change_story(self) -> None:
        self.has_changed_story = True
        key = ObjectKey("wf", "s")
        story = self._server.of("Story")[key]
        steps = story["spec"]["steps"]
        match self._case.change:
            case "delete":
                self._simulation.tell("somebody deletes Story s")
                self._taken_away = story
                self._server.delete("Story", key)
            case "add":
                self._simulation.tell(f"somebody adds step {NEW_STEP} to Story s")
                added = [*steps, {"name": NEW_STEP, "ref": {"name": "worker"}}]
                self._server.patch("Story", key, {"spec": {"steps": added}})
            case "remove":
                self._simulation.tell(f"somebody removes step {steps[-1]['name']} from Story s")
                if len(steps) > 1:
                    self._server.patch("Story", key, {"spec": {"steps": steps[:-1]}})

    def _bring_back(self) -> None:
        assert self._taken_away is not None
        story, self._taken_away = self._taken_away, None
        metadata = {name: story["metadata"][name] for name in ("name", "namespace")}
        self._server.create("Story", {**story, "metadata": metadata})
