"""Payloads of a component: read where they come in, stored where they go out, and nobody sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bobrapet.sdk import Context, engram
from bobrapet.sdk.storage import StepStorage
from bobrapet.sdk.testkit import Operator
from bobrapet.storage import Body, FileStore, hydrate


@dataclass
class Text:
    body: str


@engram
def double(input: Text, ctx: Context) -> Text:
    ctx.log.info("doubling", bytes=len(input.body))
    return Text(input.body * 2)


@engram
def configured(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
    return {"config": ctx.config}


@engram
def hand_over(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
    source = Path(input["source"])
    file = ctx.storage.upload(source)
    copied = ctx.storage.download(file, source.with_name("copy"))
    return {"file": file, "copied": copied.read_text()}


@engram
def wrong(input: dict[str, Any]) -> Text:
    return Text(body=7)  # type: ignore[arg-type]  # what a component without a type checker may do


def file_storage(folder: Path, **more: str) -> dict[str, str]:
    return {
        "BUBU_STORAGE_PROVIDER": "file",
        "BUBU_STORAGE_PATH": str(folder),
        "BUBU_MAX_INLINE_SIZE": "4096",
        "BUBU_ENGRAM_NAME": "double",
        "BUBU_ENGRAM_VERSION": "1.2.0",
        **more,
    }


def stored(folder: Path, data: Any, path: str = "outputs/test/before/body.json") -> dict[str, str]:
    FileStore(folder).put(path, Body.of(json.dumps({"contentType": "json", "data": data}).encode()))
    return {"$bubuStorageRef": path}


def test_a_component_that_knows_nothing_of_storage_reads_and_writes_through_it(tmp_path: Path) -> None:
    run = Operator().run(double, {"body": stored(tmp_path, "x" * 5000)}, environ=file_storage(tmp_path))
    assert run.phase == "Succeeded", run.attempts
    assert run.output == {
        "body": {
            "$bubuStorageRef": "outputs/test/run-1-step/body.json",
            "$bubuStorageContentType": "text/plain",
            "$bubuStorageSchema": "bubu://engram/test/double/output",
            "$bubuStorageSchemaVersion": "1.2.0",
        }
    }
    assert hydrate(run.output, FileStore(tmp_path)) == {"body": "x" * 10_000}


def test_small_values_stay_inline(tmp_path: Path) -> None:
    run = Operator().run(double, {"body": "ab"}, environ=file_storage(tmp_path))
    assert run.output == {"body": "abab"}
    assert [info.path for info in FileStore(tmp_path).list("outputs")] == []


def test_the_configuration_is_read_too(tmp_path: Path) -> None:
    config = {"rules": stored(tmp_path, [1, 2])}
    run = Operator().run(configured, {}, config=config, environ=file_storage(tmp_path))
    assert run.output == {"config": {"rules": [1, 2]}}


def test_inputs_that_are_a_reference_as_a_whole_are_read(tmp_path: Path) -> None:
    reference = stored(tmp_path, {"body": "ab"}, "inputs/test/run-1-step/input.json")
    assert Operator().run(double, reference, environ=file_storage(tmp_path)).output == {"body": "abab"}


def test_prefix_and_root_of_the_pod_are_honoured(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    environ = file_storage(Path("/mnt"), BUBU_POD_ROOT=str(tmp_path), BUBU_STORAGE_OUTPUT_PREFIX="team/outputs/")
    run = Operator().run(double, {"body": "x" * 5000}, environ=environ)
    assert run.output["body"]["$bubuStorageRef"] == "team/outputs/test/run-1-step/body.json"
    assert (tmp_path / "mnt/team/outputs/test/run-1-step/body.json").is_file()


def test_the_log_of_the_attempt_is_stored_and_named_in_the_status(tmp_path: Path) -> None:
    run = Operator().run(double, {"body": "ab"}, environ=file_storage(tmp_path))
    logs = run.status["logs"]
    assert logs["$bubuStorageSchema"] == "bubu://engram/test/double/logs"
    assert logs["$bubuStorageRef"].startswith("test/logs/run-1/step/run-1-step/")
    lines = FileStore(tmp_path).get(logs["$bubuStorageRef"]).splitlines()
    assert [json.loads(line)["msg"] for line in lines] == ["doubling"]


def test_without_storage_nothing_is_kept_and_a_reference_fails_with_what_to_do() -> None:
    run = Operator(max_retries=2).run(double, {"body": {"$bubuStorageRef": "outputs/test/x/body.json"}})
    assert "logs" not in run.status
    assert (run.phase, len(run.attempts)) == ("Failed", 1)
    assert run.error["type"] == "storage_error"
    assert "storage policy" in run.error["message"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"$bubuStorageRef": "../../etc/passwd"}, "not followed"),
        ({"$bubuStorageRef": "outputs/test/x/missing.json"}, "nothing is stored"),
        ({"$bubuStorageRef": "outputs/test/before/body.json", "$bubuStoragePath": "nope"}, "there is no 'nope'"),
    ],
)
def test_what_can_never_be_read_is_terminal(tmp_path: Path, reference: Mapping[str, str], message: str) -> None:
    stored(tmp_path, {"a": 1})
    run = Operator(max_retries=2).run(double, {"body": reference}, environ=file_storage(tmp_path))
    assert (run.phase, len(run.attempts)) == ("Failed", 1)
    assert (run.error["type"], run.error["exitClass"]) == ("storage_error", "terminal")
    assert message in run.error["message"]


def test_a_payload_that_was_damaged_is_tried_again(tmp_path: Path) -> None:
    reference = stored(tmp_path, "abc")
    (tmp_path / reference["$bubuStorageRef"]).write_bytes(b'{"contentType":"json","data":"ab')
    environ = file_storage(tmp_path, BUBU_STORAGE_TIMEOUT="500ms")
    run = Operator(max_retries=1).run(double, {"body": reference}, environ=environ)
    assert (run.phase, len(run.attempts)) == ("Failed", 2)
    assert (run.error["type"], run.error["exitClass"]) == ("storage_error", "retry")


def test_wrong_settings_name_the_variable(tmp_path: Path) -> None:
    run = Operator().run(double, {"body": "x"}, environ={"BUBU_STORAGE_PROVIDER": "ftp"})
    assert run.error["type"] == "initialization_error"
    assert "BUBU_STORAGE_PROVIDER='ftp' is unknown" in run.error["message"]


def test_a_result_is_checked_before_it_is_stored(tmp_path: Path) -> None:
    run = Operator().run(wrong, {}, environ=file_storage(tmp_path))
    assert run.error["type"] == "serialization_error"
    assert not list(FileStore(tmp_path).list("outputs"))


def test_files_are_handed_over_without_being_read_into_memory(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    source = tmp_path / "work" / "data.csv"
    source.write_text("a,b\n1,2\n")
    run = Operator().run(hand_over, {"source": str(source)}, environ=file_storage(tmp_path))
    assert run.output["copied"] == "a,b\n1,2\n"
    assert run.output["file"]["path"] == "outputs/test/run-1-step/files/data.csv"
    assert run.output["file"]["bytes"] == 8


def test_a_component_outside_a_step_is_told_that_it_has_no_store(tmp_path: Path) -> None:
    context: Context = Context(config={})
    assert isinstance(context.storage, StepStorage)
    assert not context.storage.is_configured
    run = Operator().run(hand_over, {"source": str(tmp_path)})
    assert "no payload store" in run.error["message"]
