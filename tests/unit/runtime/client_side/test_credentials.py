"""Where the Authorization header comes from, and when it is renewed (spec runtime CLI-19)."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.errors import CredentialError, Unauthorized
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import ExecConfig, RestConfig
from bobrapet.runtime.rest.credentials import FileCredentials, credentials_for
from bobrapet.runtime.rest.exec import ExecCredentials
from tests.unit.runtime.client_side.stub import StubServer, failure
from tests.unit.runtime.client_side.stub import json as json_answer

CONFIG = RestConfig(host="https://example.com:6443", ca_data=b"PEM")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"token": "t\n"}, "Bearer t"),
        ({"username": "u", "password": "p"}, "Basic dTpw"),
        ({"username": "u", "password": "p", "token": "t"}, "Bearer t"),
    ],
)
async def test_static_credentials(config: dict[str, str], expected: str | None) -> None:
    assert await credentials_for(RestConfig(host="h", **config)).authorization() == expected  # type: ignore[arg-type]


async def test_a_token_file_is_read_again_after_a_minute_and_when_refused(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    credentials = FileCredentials(str(path), clock=clock)
    assert await credentials.authorization() == "Bearer one"
    path.write_text("two")
    await clock.advance(59)
    assert await credentials.authorization() == "Bearer one"
    await clock.advance(1)
    assert await credentials.authorization() == "Bearer two"
    path.write_text("three")
    assert await credentials.authorization(force=True) == "Bearer three"


async def test_a_token_file_that_vanishes_keeps_the_last_token(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    credentials = FileCredentials(str(path), clock=clock)
    await credentials.authorization()
    path.write_text("")
    assert await credentials.authorization(force=True) == "Bearer one"
    path.unlink()
    assert await credentials.authorization(force=True) == "Bearer one"


async def test_a_token_file_that_was_never_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match=r"missing.*No such file"):
        await FileCredentials(str(tmp_path / "missing")).authorization()
    (tmp_path / "empty").touch()
    with pytest.raises(CredentialError, match="is empty"):
        await FileCredentials(str(tmp_path / "empty")).authorization()


async def test_a_rotated_token_is_used_after_a_401(stub: StubServer, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    async with RestClient(stub.config(token_file=str(path))) as rest:
        await rest.request("GET", "/x")
        path.write_text("new")
        stub.answer(failure(401, "Unauthorized"), json_answer({}))
        await rest.request("GET", "/x")
    assert [seen.headers["Authorization"] for seen in stub.seen] == ["Bearer old", "Bearer old", "Bearer new"]


# Credential plugins


def plugin(tmp_path: Path, body: str, **changes: Any) -> ExecConfig:
    """A plugin written in Python; it counts its runs in the file `runs`."""
    script = tmp_path / "plugin.py"
    runs = tmp_path / "runs"
    script.write_text(
        "import json, os, sys, time\n"
        f"open({str(runs)!r}, 'a').write('x')\n"
        f"runs = os.path.getsize({str(runs)!r})\n"
        "def give(**status):\n"
        "    print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential',"
        " 'status': status}))\n" + body
    )
    return ExecConfig(command=sys.executable, args=(str(script),), **changes)


def runs(tmp_path: Path) -> int:
    return (tmp_path / "runs").stat().st_size


async def test_a_plugin_runs_once_for_many_requests_until_its_credential_is_about_to_end(
    tmp_path: Path, clock: FakeClock
) -> None:
    end = (clock.now() + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    later = (clock.now() + timedelta(hours=9)).isoformat()
    credentials = ExecCredentials(
        plugin(tmp_path, f"give(token=f't{{runs}}', expirationTimestamp={end!r} if runs == 1 else {later!r})"),
        CONFIG,
        clock,
    )
    assert await asyncio.gather(*(credentials.authorization() for _ in range(5))) == ["Bearer t1"] * 5
    await clock.advance(3600 - 301)
    assert await credentials.authorization() == "Bearer t1"
    await clock.advance(2)
    assert await credentials.authorization() == "Bearer t2"
    assert runs(tmp_path) == 2


async def test_a_short_lived_credential_is_not_renewed_for_every_request(tmp_path: Path, clock: FakeClock) -> None:
    end = (clock.now() + timedelta(seconds=60)).isoformat()
    credentials = ExecCredentials(
        plugin(tmp_path, f"give(token=f't{{runs}}', expirationTimestamp={end!r})"), CONFIG, clock
    )
    await credentials.authorization()
    await clock.advance(40)
    assert await credentials.authorization() == "Bearer t1"
    await clock.advance(10)
    assert await credentials.authorization() == "Bearer t2"


async def test_a_refused_credential_is_fetched_anew_once_for_all_who_were_refused(tmp_path: Path) -> None:
    credentials = ExecCredentials(plugin(tmp_path, "give(token=f't{runs}')"), CONFIG)
    await credentials.authorization()
    renewed = await asyncio.gather(*(credentials.authorization(force=True) for _ in range(3)))
    assert renewed == ["Bearer t2"] * 3
    assert runs(tmp_path) == 2


async def test_a_plugin_is_told_about_the_cluster(tmp_path: Path) -> None:
    seen = tmp_path / "info"
    config = plugin(
        tmp_path,
        f"open({str(seen)!r}, 'w').write(os.environ['KUBERNETES_EXEC_INFO'] + os.environ['EXTRA']); give(token='t')",
        env={"EXTRA": "!"},
        provide_cluster_info=True,
        cluster_extension={"audience": "x"},
        interactive_mode="Never",
    )
    await ExecCredentials(config, CONFIG).authorization()
    text = seen.read_text()
    assert text.endswith("!")
    assert json.loads(text[:-1]) == {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://example.com:6443",
                "certificate-authority-data": "UEVN",
                "config": {"audience": "x"},
            },
        },
    }


async def test_a_plugin_may_write_much_to_standard_error(tmp_path: Path) -> None:
    credentials = ExecCredentials(plugin(tmp_path, "sys.stderr.write('e' * 300_000); give(token='t')"), CONFIG)
    assert await credentials.authorization() == "Bearer t"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.stderr.write('please log in'); sys.exit(3)", "exit code 3: please log in"),
        ("print('no json')", "printed no JSON"),
        ("print('[]')", "no object"),
        ("print(json.dumps({'kind': 'ExecCredential'}))", "no ExecCredential with a status"),
        ("give(clientCertificateData='c')", "neither a token nor a client certificate"),
        ("give(token='t', expirationTimestamp='soon')", "'soon' is no RFC 3339 time"),
        (
            "print(json.dumps({'apiVersion': 'x/v1', 'kind': 'ExecCredential', 'status': {'token': 't'}}))",
            "answered in x/v1",
        ),
    ],
)
async def test_a_plugin_that_fails_says_why(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(CredentialError, match=message):
        await ExecCredentials(plugin(tmp_path, body), CONFIG).authorization()


async def test_a_plugin_that_hangs_is_killed(tmp_path: Path) -> None:
    config = plugin(tmp_path, "time.sleep(60)", timeout=0.3)
    with pytest.raises(CredentialError, match=r"did not end within 0\.3 s"):
        await ExecCredentials(config, CONFIG).authorization()


async def test_a_plugin_that_is_missing_shows_the_hint() -> None:
    config = ExecConfig(command="/nowhere/plugin", install_hint="install it from the team page")
    with pytest.raises(CredentialError, match="install it from the team page"):
        await ExecCredentials(config, CONFIG).authorization()


def test_a_plugin_of_an_unknown_version_is_refused_at_once() -> None:
    with pytest.raises(CredentialError, match="v1alpha1"):
        ExecCredentials(ExecConfig(command="x", api_version="client.authentication.k8s.io/v1alpha1"), CONFIG)


async def test_a_relative_plugin_is_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    script = tmp_path / "bin" / "plugin"
    script.parent.mkdir()
    script.write_text(
        f'#!{sys.executable}\nprint(\'{{"apiVersion": "client.authentication.k8s.io/v1", '
        '"kind": "ExecCredential", "status": {"token": "t"}}\')\n'
    )
    script.chmod(0o700)
    assert (
        await ExecCredentials(ExecConfig(command="bin/plugin", cwd=str(tmp_path)), CONFIG).authorization() == "Bearer t"
    )


async def test_a_refused_plugin_token_reaches_the_caller_after_one_renewal(tmp_path: Path, stub: StubServer) -> None:
    async def refuse(_: object) -> Any:
        return failure(401, "Unauthorized")

    stub.handler = refuse
    async with RestClient(stub.config(exec=plugin(tmp_path, "give(token=f't{runs}')"))) as rest:
        with pytest.raises(Unauthorized):
            await rest.request("GET", "/x")
    assert [seen.headers["Authorization"] for seen in stub.seen] == ["Bearer t1", "Bearer t2"]
