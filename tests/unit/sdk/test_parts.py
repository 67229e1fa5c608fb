"""Durations, redaction, secrets, environment and the types of a component."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.sdk import Context, EngramError, RateLimitedError, TerminalError, engram
from bobrapet.sdk.codec import OUTPUT_LIMIT, decode, encode
from bobrapet.sdk.durations import format_duration, parse_duration
from bobrapet.sdk.environment import Environment
from bobrapet.sdk.errors import EnvironmentInvalid, InputInvalid, OutputInvalid, StepTimeout
from bobrapet.sdk.log import Log
from bobrapet.sdk.outcome import Succeeded, failure, status_patch
from bobrapet.sdk.redaction import redact, shorten
from bobrapet.sdk.secrets import expand_secrets
from tests.unit.sdk.fakes import step_environ


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m0s", 300), ("1h2m3.5s", 3723.5), ("500ms", 0.5), ("0", 0), ("-1s", -1)]
)
def test_go_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "1d", "s", "1 s", "1m-1s"])
def test_what_is_no_go_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        parse_duration(text)


@given(st.floats(min_value=0, max_value=1e7))
def test_a_written_duration_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer [REDACTED]"),
        ("proxy-authorization=basic Zm9v", "proxy-authorization=basic [REDACTED]"),
        ('{"password": "hunter2"}', '{"password": [REDACTED]}'),
        ("GET /?access_token=xyz&page=2", "GET /?access_token=[REDACTED]&page=2"),
        ("http://me:pw@host/x", "http://me:[REDACTED]@host/x"),
        ("tokens are counted: 5", "tokens are counted: 5"),
        ("a secret garden", "a secret garden"),
    ],
)
def test_credentials_do_not_stay_in_messages(text: str, clean: str) -> None:
    assert redact(text) == clean


def test_the_values_of_the_steps_own_secrets_are_blanked_out_wherever_they_stand() -> None:
    assert redact("server said: s3cr3t-value!", ["s3cr3t-value", "a"]) == "server said: [REDACTED]!"


@given(st.text(max_size=400), st.integers(8, 300))
def test_a_shortened_message_fits_and_is_text(text: str, limit: int) -> None:
    assert len(shorten(text, limit).encode()) <= limit


def test_secrets_from_variables_files_and_literals(tmp_path: Path) -> None:
    """As a kubelet mounts them: keys are links into a dated directory."""
    (tmp_path / "..2026_01_05").mkdir()
    (tmp_path / "..2026_01_05" / "key").write_text("from file\n")
    (tmp_path / "..data").symlink_to("..2026_01_05")
    (tmp_path / "key").symlink_to("..data/key")
    (tmp_path / "outside").symlink_to("/etc/hostname")
    secrets = expand_secrets(
        {
            "BUBU_SECRET_api": "env:HTTP",
            "BUBU_SECRET_api_NAME": "http-creds",
            "BUBU_SECRET_tls": f"file:{tmp_path}",
            "BUBU_SECRET_pin": "1234",
            "BUBU_SECRET_x__y": "env:HTTP",
            "HTTPtoken": "abc",
        }
    )
    assert {name: dict(secret) for name, secret in secrets.items()} == {
        "api": {"token": "abc"},
        "tls": {"key": "from file"},
        "pin": {"value": "1234"},
    }
    assert "abc" not in repr(secrets)


@pytest.mark.parametrize("marker", ["env:", "file:", "file:/does/not/exist"])
def test_a_secret_that_cannot_be_read_stops_the_start(marker: str) -> None:
    with pytest.raises(EnvironmentInvalid):
        expand_secrets({"BUBU_SECRET_api": marker})


def test_too_many_secret_files_are_refused(tmp_path: Path) -> None:
    for number in range(257):
        (tmp_path / f"k{number}").write_text("x")
    with pytest.raises(EnvironmentInvalid, match="256 files"):
        expand_secrets({"BUBU_SECRET_many": f"file:{tmp_path}"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_secret_file_names_itself(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("x")
    (tmp_path / "k").chmod(0)
    with pytest.raises(EnvironmentInvalid, match="cannot be read"):
        expand_secrets({"BUBU_SECRET_s": f"file:{tmp_path / 'k'}"})


@pytest.mark.parametrize(
    "broken",
    [
        {"BUBU_TRIGGER_DATA": "{"},
        {"BUBU_TRIGGER_DATA": "[1]"},
        {"BUBU_STEP_CONFIG": "no"},
        {"BUBU_STEP_TIMEOUT": "soon"},
        {"BUBU_STEP_ATTEMPT": "first"},
        {"BUBU_STEPRUN_NAME": ""},
    ],
)
def test_a_malformed_environment_is_named(broken: dict[str, str]) -> None:
    with pytest.raises(EnvironmentInvalid, match=next(iter(broken))):
        Environment.from_environ(step_environ(**broken))


def test_single_configuration_keys_can_be_overridden() -> None:
    environment = Environment.from_environ(
        step_environ(BUBU_STEP_CONFIG='{"timeout":"1s","n":1}', BUBU_CONFIG_timeout="9s")
    )
    assert environment.config == {"timeout": "9s", "n": 1}


@pytest.mark.parametrize(
    ("text", "debug"), [("true", True), ("ON", True), ("debug", True), ("false", False), ("", False)]
)
def test_debug_is_read_as_the_contract_spells_it(text: str, debug: bool) -> None:
    assert Environment.from_environ(step_environ(BUBU_DEBUG=text)).debug is debug


@dataclass
class Point:
    x: int
    y: int = 2


class Model(pydantic.BaseModel):
    x: int
    long_name: str = pydantic.Field("a", alias="longName")


class Struct(msgspec.Struct):
    x: int


@pytest.mark.parametrize("kind", [Point, Model, Struct, dict[str, int]])
def test_every_kind_of_declared_type_is_filled_and_told_apart(kind: Any) -> None:
    value = decode({"x": 1}, kind, what="input", fault=InputInvalid)
    assert encode(value)["x"] == 1


@pytest.mark.parametrize("kind", [Point, Model, Struct])
def test_a_wrong_field_is_named_by_its_path(kind: Any) -> None:
    with pytest.raises(InputInvalid, match=r"input\.x"):
        decode({"x": "one"}, kind, what="input", fault=InputInvalid)


@pytest.mark.parametrize("kind", [Point, Model, Struct])
def test_keys_that_nobody_declared_are_ignored(kind: Any) -> None:
    assert decode({"x": 1, "timeout": "30s"}, kind, what="input", fault=InputInvalid).x == 1


def test_models_are_written_by_their_aliases_also_when_nested() -> None:
    model = Model(x=1, longName="b")
    assert encode(model) == {"x": 1, "longName": "b"}
    assert encode({"list": [model]}) == {"list": [{"x": 1, "longName": "b"}]}


@pytest.mark.parametrize("result", [[1], "text", 3, object(), {"f": object()}])
def test_a_result_that_is_no_json_object_is_refused(result: Any) -> None:
    with pytest.raises(OutputInvalid):
        encode(result)


def test_an_output_over_the_limit_fails_with_its_size() -> None:
    with pytest.raises(OutputInvalid, match=r"bytes of JSON; without storage") as caught:
        encode({"blob": "x" * OUTPUT_LIMIT})
    assert caught.value.code == "OUTPUT_TOO_LARGE"
    assert caught.value.exit_class == "terminal"


def test_the_signature_is_read_from_the_annotations() -> None:
    @engram
    def both(input: Point, ctx: Context[Struct]) -> Model: ...

    @engram
    async def only_context(ctx: Context) -> None: ...

    signature = both.signature()
    assert (signature.input_type, signature.config_type, signature.output_type) == (Point, Struct, Model)
    assert only_context.signature().input is None


def test_a_function_that_a_step_cannot_serve_is_refused() -> None:
    @engram
    def two(a: Point, b: Point) -> None: ...

    with pytest.raises(TypeError, match="takes one input"):
        two.signature()


def test_a_component_is_still_a_function() -> None:
    @engram
    def double(input: Point) -> Point:
        """Doubles."""
        return Point(input.x * 2)

    assert double(Point(2)) == Point(4)
    assert double.__doc__ == "Doubles."


def test_an_unknown_key_of_a_secret_names_the_known_ones() -> None:
    secret = expand_secrets({"BUBU_SECRET_api": "env:P_", "P_token": "x"})["api"]
    with pytest.raises(KeyError, match="its keys: token"):
        secret["password"]


def test_the_structured_error_carries_class_code_and_delay() -> None:
    error = failure(RateLimitedError("upstream answered 429", code="HTTP_429", retry_after=20)).error
    assert error == {
        "version": "v1",
        "type": "execution_error",
        "message": "upstream answered 429",
        "retryable": True,
        "exitCode": 1,
        "exitClass": "rateLimited",
        "code": "HTTP_429",
        "details": {"retryAfterSeconds": 20},
    }


def test_errors_are_classified_by_their_class_never_by_their_text() -> None:
    assert failure(TerminalError("storage schema marshal")).error["type"] == "execution_error"
    assert failure(KeyError("x")).error["exitClass"] == "terminal"
    assert failure(InputInvalid("x")).error["type"] == "validation_error"
    assert failure(EngramError("")).error["message"]


def test_the_patch_of_a_timeout() -> None:
    status = status_patch(failure(StepTimeout("timed out")), started_at="2026-01-05T10:00:00Z", now=1767607206.8132)
    assert {key: status[key] for key in ("phase", "exitCode", "exitClass", "duration", "finishedAt")} == {
        "phase": "Timeout",
        "exitCode": 124,
        "exitClass": "retry",
        "duration": "6.8132s",
        "finishedAt": "2026-01-05T10:00:06.813Z",
    }


def test_the_patch_of_a_success_sends_no_exit_code() -> None:
    status = status_patch(Succeeded({"a": 1}), started_at="not a time", now=0)
    assert status == {
        "phase": "Succeeded",
        "finishedAt": "1970-01-01T00:00:00.000Z",
        "lastOutputAt": "1970-01-01T00:00:00.000Z",
        "exitClass": "success",
        "output": {"a": 1},
    }


@dataclass
class Promise:
    n: int
    of: list[Point] = field(default_factory=list)


@pytest.mark.parametrize(
    ("result", "kind", "path"),
    [
        (Promise("one"), Promise, r"output\.n"),  # type: ignore[arg-type]
        (Promise(1, [Point("x")]), Promise, r"output\.of\[0\]\.x"),  # type: ignore[arg-type]
        ({"n": "one"}, Promise, r"output\.n"),
        ({"x": 1.5}, dict[str, int], "output"),
        (Struct(x="one"), Struct, r"output\.x"),  # type: ignore[arg-type]
        (Model.model_construct(x="one"), Model, r"output\.x"),
        ({"y": 1}, Model, r"output\.x"),
        (Promise(float("nan")), Promise, r"output\.n"),  # type: ignore[arg-type]
        (None, Promise, "returned nothing, but declares Promise"),
    ],
)
def test_an_output_that_its_component_did_not_promise_is_refused(result: Any, kind: Any, path: str) -> None:
    with pytest.raises(OutputInvalid, match=path):
        encode(result, kind)


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (Promise(1, [Point(1)]), Promise),
        (Model(x=1, longName="b"), Model),
        (None, None),
        (None, Promise | None),
        ({"m": Model(x=1)}, dict[str, Model]),
        ({"when": datetime(2026, 1, 5, tzinfo=UTC)}, dict[str, datetime]),
        ({"x": 1}, Any),
    ],
)
def test_an_output_that_fits_its_type_is_reported(result: Any, kind: Any) -> None:
    assert encode(result, kind) == encode(result)


@pytest.mark.parametrize("value", ["\udc80", object(), {1, 2}, {(1, 2): 3}, float("nan")])
def test_whatever_is_logged_becomes_one_line(value: Any) -> None:
    stream = io.StringIO()
    Log(stream=stream).info("read", value=value)
    (line,) = stream.getvalue().splitlines()
    assert "read" in json.loads(line)["msg"]


def test_a_log_that_nobody_reads_any_more_does_not_stop_the_work() -> None:
    stream = io.StringIO()
    stream.close()
    Log(stream=stream).info("read")


def test_a_component_without_needs_loads_nothing_but_the_codec() -> None:
    code = "import sys, bobrapet.sdk, bobrapet.sdk.process; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    foreign = set(loaded) - set(sys.stdlib_module_names) - {"bobrapet", "msgspec", "typing_extensions", "__main__"}
    assert not {name for name in foreign if not name.startswith("_")}
    assert not {"pydantic", "yaml", "urllib3", "asyncio", "ssl", "http", "email", "logging"} & set(loaded)
