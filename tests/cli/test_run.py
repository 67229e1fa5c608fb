"""`bobrapet run`: outputs, exit codes and messages, which scripts rely on."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.behaviour.builders import engram, step, story, template
from tests.behaviour.worlds import IMAGES, ROOT
from tests.cli.conftest import Terminal, Write

EXAMPLE = "examples/batch-etl"


class Answers(BaseHTTPRequestHandler):
    """Answers by path: /200, /404, /500, /text, /flaky (500 once, then data)."""

    data = (ROOT / "examples/data/earthquakes.json").read_bytes()
    calls: list[str]

    def do_GET(self) -> None:
        seen = self.server.seen  # type: ignore[attr-defined]
        seen.append(self.path)
        match self.path:
            case "/404" | "/500":
                code, body = int(self.path[1:]), b"no"
            case "/text":
                code, body = 200, b"this is not JSON"
            case "/flaky" if seen.count("/flaky") == 1:
                code, body = 503, b"later"
            case _:
                code, body = 200, self.data
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.seen: list[str] = []

    def url(self, path: str) -> str:
        return f"url=http://127.0.0.1:{self.server_port}{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_seed_story_runs_on_real_data_and_prints_its_output(terminal: Terminal, server: Server) -> None:
    done = terminal.run("run", EXAMPLE, "--input", server.url("/200"))
    assert done.code == 0, done.stderr
    report = done.output["report"]
    assert report["recorded"] > report["strong"] > 0
    counts = [region["count"] for region in report["regions"]]
    assert counts == sorted(counts, reverse=True)
    assert "fetch Succeeded" in done.stderr
    assert "transform Succeeded" in done.stderr
    assert "\x1b" not in done.stderr


def test_json_and_yaml_print_the_final_storyrun_and_nothing_else(terminal: Terminal, server: Server) -> None:
    as_json = terminal.run("run", EXAMPLE, "--input", server.url("/200"), "-o", "json", "--name", "my-run")
    as_yaml = terminal.run("run", EXAMPLE, "--input", server.url("/200"), "-o", "yaml")
    run = json.loads(as_json.stdout)
    assert (run["kind"], run["metadata"]["name"], run["metadata"]["namespace"]) == ("StoryRun", "my-run", "workflows")
    assert run["status"]["phase"] == "Succeeded"
    (document,) = yaml.safe_load_all(as_yaml.stdout)
    assert document["status"]["output"]["report"] == run["status"]["output"]["report"]


def test_a_story_without_output_prints_the_outputs_of_the_steps_nobody_needs(terminal: Terminal, write: Write) -> None:
    path = write(story("s", "default", step("a", "echo", with_={"v": 1}), step("b", "echo", "a", with_={"w": 2})))
    done = terminal.run("run", str(path), *IMAGES)
    assert done.code == 0, done.stderr
    assert done.output.keys() == {"b"}
    assert done.output["b"]["w"] == 2


def test_manifests_may_come_from_standard_input(terminal: Terminal, write: Write) -> None:
    path = write(story("s", "default", step("a", "echo", with_={"v": "{{ inputs.a.b }}"})))
    done = terminal.run("run", "-", "--input", "a.b=3", *IMAGES, stdin=path.read_text())
    assert done.code == 0, done.stderr
    assert done.output["a"]["v"] == 3


def test_a_missing_page_fails_at_once_and_says_so(terminal: Terminal, server: Server) -> None:
    done = terminal.run("run", EXAMPLE, "--input", server.url("/404"))
    assert (done.code, done.stdout) == (1, "")
    assert server.seen == ["/404"]
    assert "step fetch Failed" in done.stderr
    assert "404" in done.stderr
    assert "next:" in done.stderr


def test_a_server_error_is_retried_by_policy(terminal: Terminal, server: Server) -> None:
    done = terminal.run("run", EXAMPLE, "--input", server.url("/flaky"))
    assert done.code == 0, done.stderr
    assert server.seen == ["/flaky", "/flaky"]
    assert "retry 1" in done.stderr


def test_a_server_that_stays_broken_fails_the_run_after_the_retries(
    terminal: Terminal, server: Server, tmp_path: Path
) -> None:
    example = tmp_path / "example"
    example.mkdir()
    for file in (ROOT / EXAMPLE).glob("*.yaml"):
        text = file.read_text()
        if file.name == "story.yaml":
            manifest = yaml.safe_load(text)
            manifest["spec"]["steps"][0]["execution"] = {"retry": {"maxRetries": 2, "delay": "20ms"}}
            text = yaml.safe_dump(manifest)
        (example / file.name).write_text(text)
    done = terminal.run("run", str(example), "--input", server.url("/500"))
    assert done.code == 1
    assert server.seen == ["/500"] * 3
    assert "after 2 retries" in done.stderr


def test_a_body_that_is_not_json_fails_the_step_that_reads_it(terminal: Terminal, server: Server) -> None:
    done = terminal.run("run", EXAMPLE, "--input", server.url("/text"))
    assert done.code == 1
    assert "step transform Failed" in done.stderr
    assert "JSON" in done.stderr


def test_a_url_that_is_none_fails_with_its_text(terminal: Terminal) -> None:
    done = terminal.run("run", EXAMPLE, "--input", "url=not-a-url")
    assert done.code == 1
    assert "not-a-url" in done.stderr


def test_a_crash_shows_the_last_log_lines(terminal: Terminal, write: Write) -> None:
    done = terminal.run("run", str(write(story("s", "default", step("a", "crash")))), *IMAGES)
    assert done.code == 1
    assert "about to crash" in done.stderr
    assert "a bug in the component" in done.stderr


def test_every_fault_of_the_manifests_is_told_at_once(terminal: Terminal, write: Write) -> None:
    path = write(
        story(
            "s",
            "default",
            {"name": "a", "ref": {"name": "echo"}, "needs": ["b"]},
            {"name": "b", "ref": {"name": "ecko"}, "needs": ["a"]},
            {"name": "c", "ref": {"name": "echo"}, "neds": ["fetc"]},
        )
    )
    done = terminal.run("run", str(path), *IMAGES)
    assert (done.code, done.stdout) == (2, "")
    faults = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    text = "\n".join(faults)
    assert f"{path}: document 3, line" in text
    assert 'unknown field "neds"' in text or "neds" in text
    assert 'did you mean "needs"?' in text
    assert "cycle" in text
    assert "ecko" in text
    assert len(faults) >= 3


def test_inputs_that_violate_the_schema_are_refused_before_anything_starts(terminal: Terminal, server: Server) -> None:
    done = terminal.run("run", EXAMPLE, "--input", "url=3")
    assert (done.code, done.stdout) == (2, "")
    assert "url" in done.stderr
    assert "string" in done.stderr


def test_a_secret_that_nobody_will_bring_is_refused_before_anything_starts(terminal: Terminal, write: Write) -> None:
    wanted = template("echo", secretSchema={"api": {"mountType": "env", "required": True}})
    wanted["metadata"]["name"] = "test-wanting"
    wanting = engram("echo", "default", name="wanting", of="test-wanting", secrets={"api": "credentials"})
    path = write(wanted, wanting, story("s", "default", step("a", "wanting")))
    done = terminal.run("run", str(path), *IMAGES)
    assert (done.code, done.stdout) == (2, "")
    assert "secret 'credentials'" in done.stderr
    assert f"{path}: document" in done.stderr


def test_an_image_that_nothing_is_known_for_is_refused_before_anything_starts(terminal: Terminal, write: Write) -> None:
    nowhere, unused = template("nowhere"), template("unused")
    branch = {"name": "p", "type": "parallel", "with": {"steps": [step("a", "nowhere")]}}
    path = write(
        nowhere, engram("nowhere", "default"), unused, engram("unused", "default"), story("s", "default", branch)
    )
    done = terminal.run("run", str(path))
    assert (done.code, done.stdout) == (2, "")
    (fault,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert 'no command is known for image "test/nowhere:1.0.0"' in fault
    assert "--image test/nowhere:1.0.0=COMMAND" in fault
    assert f"{path}: document 1, line" in fault


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "-", "--inputs", "-"), "standard input"),
        (("run", EXAMPLE, "--story", "batch-elt"), "batch-etl"),
        (("run", EXAMPLE, "--timeout", "5x"), "--timeout"),
        (("run", EXAMPLE, "--input", "url"), "KEY=VALUE"),
        (("run", EXAMPLE, "--image", "nonsense"), "IMAGE=COMMAND"),
        (("run", "no/such/path"), "no such file"),
        (("run",), "PATH"),
        (("run", EXAMPLE, "--no-such-option"), "No such option"),
        (("dev", "--listen", "nowhere"), "HOST:PORT"),
        (("node", "--kubeconfig", "no/such/file"), "no such file"),
    ],
)
def test_bad_usage_ends_with_2_and_says_what_is_wrong(
    terminal: Terminal, arguments: tuple[str, ...], message: str
) -> None:
    done = terminal.run(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert message in done.stderr


def slow_story(write: Write, calls: Path, **spec: object) -> Path:
    one = step("a", "counted", with_={"calls": str(calls), "seconds": 600})
    return write(story("s", "default", one, policy={"timeouts": {"gracefulShutdownTimeout": "2s"}}, **spec))


def test_the_timeout_cancels_the_run_and_ends_with_124(terminal: Terminal, write: Write, tmp_path: Path) -> None:
    done = terminal.run("run", str(slow_story(write, tmp_path / "calls")), "--timeout", "2s", *IMAGES)
    assert done.code == 124
    assert "--timeout 2s" in done.stderr
    assert "Finished" in done.stderr


def until_line(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    raise AssertionError(f"ended without {word!r}")


def test_ctrl_c_cancels_the_run_gracefully_and_ends_with_130(terminal: Terminal, write: Write, tmp_path: Path) -> None:
    process = terminal.start("run", str(slow_story(write, tmp_path / "calls")), *IMAGES)
    until_line(process, "a Running")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=150)
    assert process.returncode == 130
    assert "interrupted" in stderr


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    """A named pipe to which the hanging component writes its process id and that of its child."""
    path = tmp_path / "pids"
    os.mkfifo(path)
    return path


def handles(process: subprocess.Popen[str], pids: Path) -> list[int]:
    """Waits for the hanging component and gives handles of its processes."""
    ended = os.pidfd_open(process.pid)
    with open(os.open(pids, os.O_RDONLY | os.O_NONBLOCK)) as pipe:
        lines: list[str] = []
        while len(lines) < 2:
            ready, _, _ = select.select([pipe, ended], [], [], 150)
            assert ready == [pipe], f"no component was started: {process.communicate() if ready else ''}"
            lines += pipe.read().split()
    os.close(ended)
    return [os.pidfd_open(int(line)) for line in lines]


def wait_dead(handles: list[int]) -> None:
    """Waits until the processes behind the handles have ended."""
    for handle in handles:
        ended, _, _ = select.select([handle], [], [], 90)
        os.close(handle)
        assert ended, "a component survived"


def hanging(write: Write, pids: Path) -> Path:
    return write(story("s", "default", step("a", "hang", with_={"pids": str(pids)})))


def test_a_second_ctrl_c_kills_everything(terminal: Terminal, write: Write, pids: Path) -> None:
    process = terminal.start("run", str(hanging(write, pids)), *IMAGES)
    components = handles(process, pids)
    process.send_signal(signal.SIGINT)
    until_line(process, "once more")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=150)
    assert process.returncode == 130
    wait_dead(components)


def test_a_second_ctrl_c_leaves_a_terminal_with_its_cursor(terminal: Terminal, write: Write, pids: Path) -> None:
    ours, theirs = pty.openpty()
    process = terminal.start("run", str(hanging(write, pids)), *IMAGES, stderr=theirs)
    os.close(theirs)
    components = handles(process, pids)
    drawn = b""
    with os.fdopen(ours, "rb", buffering=0) as screen:
        for awaited in (b"Running", b"once more"):
            while awaited not in drawn:
                drawn += screen.read(65536)
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # how Linux says that nobody has the other end any more
            while more := screen.read(65536):
                drawn += more
    process.communicate(timeout=150)
    assert process.returncode == 130
    assert drawn.rindex(b"\x1b[?25h") > drawn.rindex(b"\x1b[?25l")
    wait_dead(components)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "identity.json").write_text('{"ca": "'), r"identity\.json is damaged"),
        (lambda folder: overwrite(folder / "store/store.db", 20_000), r"store\.db is damaged"),
        (lambda folder: replace_by_file(folder / "store"), r"data dir: .*store: "),
    ],
    ids=["identity", "objects", "no-folder"],
)
def test_a_damaged_data_dir_is_told_and_left_alone(
    terminal: Terminal, write: Write, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    quick, folder = str(write(story("s", "default", step("a", "silent")))), tmp_path / "state"
    assert terminal.run("run", quick, *IMAGES, "--data-dir", str(folder)).code == 0
    damage(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent.name != "store"}
    ended = terminal.run("run", quick, *IMAGES, "--data-dir", str(folder))
    assert ended.code == 2
    assert re.search(message, ended.stderr)
    assert "Traceback" not in ended.stderr
    assert {path: path.read_bytes() for path in before} == before


def overwrite(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\x5a" * 8000)


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


def test_no_component_survives_a_killed_run_and_its_files_go_at_the_next_start(
    terminal: Terminal, write: Write, pids: Path
) -> None:
    process = terminal.start("run", str(hanging(write, pids)), *IMAGES)
    components = handles(process, pids)
    process.kill()
    process.communicate()
    wait_dead(components)
    assert terminal.leftovers() != []
    quick = write(story("s", "default", step("a", "silent")))
    assert terminal.run("run", str(quick), *IMAGES).code == 0
    assert terminal.leftovers() == []


def test_two_runs_at_the_same_time_do_not_disturb_each_other(terminal: Terminal, write: Write) -> None:
    path = write(story("s", "default", step("a", "echo", with_={"v": "{{ inputs.v }}"})))
    both = [terminal.start("run", str(path), "--input", f"v={n}", "--name", "same", *IMAGES) for n in (1, 2)]
    outputs = [process.communicate(timeout=150) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert [json.loads(stdout)["a"]["v"] for stdout, _ in outputs] == [1, 2]


def test_a_data_dir_keeps_the_objects_for_a_later_run(terminal: Terminal, write: Write, tmp_path: Path) -> None:
    path = write(story("s", "default", step("a", "echo", with_={"v": 1})))
    state = str(tmp_path / "state")
    first = terminal.run("run", str(path), "--data-dir", state, "--name", "one", *IMAGES)
    again = terminal.run("run", str(path), "--data-dir", state, "--name", "one", *IMAGES)
    second = terminal.run("run", str(path), "--data-dir", state, "--name", "two", *IMAGES)
    assert (first.code, again.code, second.code) == (0, 2, 0), again.stderr
    assert "already exists" in again.stderr
