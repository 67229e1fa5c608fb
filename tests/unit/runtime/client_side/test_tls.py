"""Trust, client certificates, and changing them under way."""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
import sys
from pathlib import Path

import pytest
from aiohttp import web

from bobrapet.runtime.envtest.certificates import Authority, KeyPair
from bobrapet.runtime.errors import ConfigError, ConnectionFailed
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import ExecConfig, RestConfig
from bobrapet.runtime.rest.transport import proxy_for
from tests.unit.runtime.client_side.stub import StubServer, json


def written(folder: Path, name: str, pair: KeyPair) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    return certificate, key


def tls_stub(folder: Path, authority: Authority, *names: str, client_ca: Authority | None = None) -> StubServer:
    certificate, key = written(folder, "server", authority.serving(*(names or ("127.0.0.1",))))
    trusted = None
    if client_ca is not None:
        trusted = folder / "clients.crt"
        trusted.write_bytes(client_ca.certificate)
    return StubServer(certificate, key, trusted)


async def subject(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    certificate = request.transport.get_extra_info("peercert")
    names = dict(pair[0] for pair in certificate["subject"])
    return json({"user": names["commonName"]})


async def test_the_authority_may_be_data_or_a_file(tmp_path: Path) -> None:
    authority = Authority()
    path = tmp_path / "ca.crt"
    path.write_bytes(authority.certificate)
    async with tls_stub(tmp_path, authority) as stub:
        for config in (stub.config(ca_data=authority.certificate), stub.config(ca_file=str(path))):
            async with RestClient(config) as rest:
                await rest.request("GET", "/x")


async def test_an_unknown_authority_is_refused_unless_verification_is_off(tmp_path: Path) -> None:
    async with tls_stub(tmp_path, Authority()) as stub:
        async with RestClient(stub.config(ca_data=Authority().certificate)) as rest:
            with pytest.raises(ConnectionFailed, match="certificate verify failed"):
                await rest.request("GET", "/x")
        async with RestClient(stub.config(insecure_skip_tls_verify=True)) as rest:
            await rest.request("GET", "/x")


async def test_the_certificate_must_carry_the_name_that_was_asked_for(tmp_path: Path) -> None:
    authority = Authority()
    async with tls_stub(tmp_path, authority, "api.example.com") as stub:
        async with RestClient(stub.config(ca_data=authority.certificate)) as rest:
            with pytest.raises(ConnectionFailed, match="certificate verify failed"):
                await rest.request("GET", "/x")
        named = stub.config(ca_data=authority.certificate, tls_server_name="api.example.com")
        async with RestClient(named) as rest:
            await rest.request("GET", "/x")


async def test_a_client_certificate_from_data(tmp_path: Path) -> None:
    authority, clients = Authority(), Authority("clients")
    pair = clients.client("alice", "dev")
    async with tls_stub(tmp_path, authority, client_ca=clients) as stub:
        stub.handler = subject
        config = stub.config(ca_data=authority.certificate, cert_data=pair.certificate, key_data=pair.key)
        async with RestClient(config) as rest:
            assert await rest.request("GET", "/x") == b'{"user":"alice"}'


async def test_rotated_certificate_files_are_used_without_dropping_requests_in_flight(tmp_path: Path) -> None:
    authority, clients = Authority(), Authority("clients")
    certificate, key = written(tmp_path, "client", clients.client("old"))
    ready, release = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        ready.set()
        await release.wait()
        return await subject(request)

    async with tls_stub(tmp_path, authority, client_ca=clients) as stub:
        stub.handler = subject
        config = stub.config(ca_data=authority.certificate, cert_file=str(certificate), key_file=str(key))
        async with RestClient(config) as rest:
            stub.answer(slow)
            in_flight = asyncio.create_task(rest.request("GET", "/slow"))
            await ready.wait()
            written(tmp_path, "client", clients.client("new-name"))
            assert await rest.request("GET", "/x") == b'{"user":"new-name"}'
            release.set()
            assert await in_flight == b'{"user":"old"}'


async def test_certificates_may_change_under_load_and_file_by_file(tmp_path: Path) -> None:
    authority, clients = Authority(), Authority("clients")

    def replace(file: Path, content: bytes, generation: int) -> None:
        """Files of one size, written within one tick of the file system's clock, would look unchanged."""
        file.write_bytes(content)
        changed = file.stat().st_mtime_ns
        os.utime(file, ns=(changed, changed + generation * 1_000_000_000))

    certificate, key = written(tmp_path, "client", clients.client("generation-0"))
    done = False
    users: list[bytes] = []

    async with tls_stub(tmp_path, authority, client_ca=clients) as stub:
        stub.handler = subject
        config = stub.config(ca_data=authority.certificate, cert_file=str(certificate), key_file=str(key))
        async with RestClient(config) as rest:

            async def load() -> None:
                while not done:
                    users.append(await rest.request("GET", "/x"))

            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(load())
                assert await rest.request("GET", "/x") == b'{"user":"generation-0"}'
                for generation in range(1, 4):
                    pair = clients.client(f"generation-{generation}")
                    replace(certificate, pair.certificate, generation)
                    assert await rest.request("GET", "/x") == b'{"user":"generation-%d"}' % (generation - 1)
                    replace(key, pair.key, generation)
                    assert await rest.request("GET", "/x") == b'{"user":"generation-%d"}' % generation
                done = True
    assert set(users) <= {b'{"user":"generation-%d"}' % generation for generation in range(4)}
    assert len(users) >= 4


async def test_a_certificate_from_a_plugin_is_used(tmp_path: Path) -> None:
    authority, clients = Authority(), Authority("clients")
    pair = clients.client("plugged")
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"clientCertificateData": pair.certificate.decode(), "clientKeyData": pair.key.decode()},
    }
    answer_file = tmp_path / "answer.json"
    answer_file.write_text(jsonlib.dumps(answer))
    plugin = ExecConfig(command=sys.executable, args=("-c", f"print(open({str(answer_file)!r}).read())"))
    async with tls_stub(tmp_path, authority, client_ca=clients) as stub:
        stub.handler = subject
        async with RestClient(stub.config(ca_data=authority.certificate, exec=plugin)) as rest:
            assert await rest.request("GET", "/x") == b'{"user":"plugged"}'


async def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.crt").write_text("no certificate")
    configs = [
        RestConfig(host="https://h", ca_file=str(tmp_path / "missing.crt")),
        RestConfig(host="https://h", ca_data=b"no pem"),
        RestConfig(host="https://h", cert_file=str(tmp_path / "bad.crt")),
    ]
    for config in configs:
        async with RestClient(config) as rest:
            with pytest.raises(ConfigError, match="https://h"):
                await rest.request("GET", "/x")


async def test_no_key_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    authority, clients = Authority(), Authority("clients")
    pair = clients.client("alice")
    async with tls_stub(tmp_path, authority, client_ca=clients) as stub:
        stub.handler = subject
        config = stub.config(ca_data=authority.certificate, cert_data=pair.certificate, key_data=pair.key)
        async with RestClient(config) as rest:
            await rest.request("GET", "/x")
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("host", "environ", "expected"),
    [
        ("https://api.example.com", {}, None),
        ("https://api.example.com", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://api.example.com", {"https_proxy": "http://p:1", "NO_PROXY": "example.com"}, None),
        ("http://api.example.com", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://localhost:6443", {"ALL_PROXY": "http://p:1"}, None),
    ],
)
def test_the_proxy_of_the_environment(
    host: str, environ: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(RestConfig(host=host)) == expected


async def test_a_configured_proxy_gets_the_request(stub: StubServer) -> None:
    config = RestConfig(host="http://api.example.com:8080", proxy_url=stub.url, proxy_headers={"X-Proxy": "yes"})
    async with RestClient(config) as rest:
        await rest.request("GET", "/x")
    assert stub.seen[0].headers["Host"] == "api.example.com:8080"
