"""`bobrapet run` with a payload store: a claim is a folder, and the output outlives it."""

from __future__ import annotations

from tests.behaviour.builders import engram, step, story, template
from tests.behaviour.worlds import IMAGES
from tests.cli.conftest import Terminal, Write

POLICY = {"storage": {"file": {"volumeClaimName": "payloads"}}}


def test_the_output_is_printed_with_its_offloaded_data(terminal: Terminal, write: Write) -> None:
    path = write(
        template("produce"),
        engram("produce", "default"),
        story(
            "s",
            "default",
            step("make", "produce", with_={"size": 20_000}),
            policy=POLICY,
            output={"text": "{{ steps.make.output.text }}", "rows": "{{ steps.make.output.rows }}"},
        ),
    )
    done = terminal.run("run", str(path), *IMAGES)
    assert done.code == 0, done.stderr
    assert done.output == {"text": "x" * 20_000, "rows": [{"id": n} for n in range(2000)]}
    as_json = terminal.run("run", str(path), *IMAGES, "-o", "json")
    assert "$bubuStorageRef" in as_json.stdout, "the StoryRun is shown as it is"
