"""The Stories of docs/stories.md do what the page says, in both worlds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.behaviour.builders import storyrun
from tests.behaviour.worlds import World

PAGE = Path(__file__).resolve().parents[2] / "docs/stories.md"
EXAMPLE = re.compile(r"<!-- expect: (\{.*?\}) -->\n```yaml\n(.*?)```", re.DOTALL)


def examples() -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """What is expected of each example, and its Stories; the last one is run."""
    found = EXAMPLE.findall(PAGE.read_text())
    return [(json.loads(expected), list(yaml.safe_load_all(text))) for expected, text in found]


def test_the_stories_of_the_page_do_what_it_says(world: World, namespace: str) -> None:
    found = examples()
    assert len(found) == PAGE.read_text().count("```yaml") >= 10
    for expected, stories in found:
        for story in stories:
            story["metadata"]["namespace"] = namespace
            world.cluster.apply(story)
        name = stories[-1]["metadata"]["name"]
        world.cluster.apply(storyrun(f"{name}-1", namespace, name, expected.get("inputs")))
        for gate in expected.get("approve", ()):
            decision = {"status": {"gates": {gate: {"state": "Approved"}}}}
            world.cluster.merge("StoryRun", namespace, f"{name}-1", decision, "status")
    for expected, stories in found:
        name = stories[-1]["metadata"]["name"]
        status = world.cluster.wait_run(namespace, f"{name}-1")["status"]
        seen = {
            "phase": status["phase"],
            "steps": {step: status["stepStates"][step]["phase"] for step in expected.get("steps", {})},
            "output": status.get("output"),
            "message": status.get("message"),
            "error": (status.get("error") or {}).get("type"),
        }
        wanted = {key: value for key, value in expected.items() if key in seen}
        assert {key: seen[key] for key in wanted} == wanted, (name, status)
