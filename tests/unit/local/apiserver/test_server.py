"""Starting, stopping, being killed and starting again; who may come in."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bobrapet.local.apiserver import AddressUnusable, ApiError, ApiServer, IdentityDamaged, Options, PortTaken
from bobrapet.local.store import StoreInUse
from tests.unit.local.apiserver.builders import CONFIGMAPS, CRDS, PODS, WIDGETS, configmap, crd, pod, widget
from tests.unit.local.apiserver.conftest import Client, client_session

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


async def test_a_restart_keeps_port_authority_tokens_objects_and_definitions(tmp_path: Path) -> None:
    server = ApiServer(Options(data_dir=tmp_path))
    await server.start()
    async with client_session(server) as session:
        api = Client(server, session)
        await api("POST", CRDS, crd())
        created = (await api("POST", WIDGETS, widget(a=1))).body
    before = (server.url, server.ca_pem, server.admin_token, await server.issue_token("default", "default"))
    await server.stop()

    again = ApiServer(Options(data_dir=tmp_path))
    await again.start()
    assert (again.url, again.ca_pem, again.admin_token) == before[:3]
    async with client_session(again) as session:
        assert (await Client(again, session)("GET", f"{WIDGETS}/w")).body == created
        assert (await Client(again, session, before[3])("GET", CONFIGMAPS)).code == 200
    await again.stop()


async def test_a_port_that_was_taken_meanwhile_has_an_error_of_its_own(tmp_path: Path) -> None:
    server = ApiServer(Options(data_dir=tmp_path))
    await server.start()
    port = server.port
    await server.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(PortTaken, match=str(port)):
            await ApiServer(Options(data_dir=tmp_path)).start()
    # A failed start holds nothing: the next one works.
    again = ApiServer(Options(data_dir=tmp_path))
    await again.start()
    await again.stop()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"ca": 1, "caKey": ""}'])
async def test_a_damaged_identity_is_named_and_replaced_by_nothing(tmp_path: Path, content: str) -> None:
    server = ApiServer(Options(data_dir=tmp_path))
    await server.start()
    await server.stop()
    kept = (tmp_path / "identity.json").read_text()
    (tmp_path / "identity.json").write_text(content)
    with pytest.raises(IdentityDamaged, match=r"identity\.json is damaged"):
        await ApiServer(Options(data_dir=tmp_path)).start()
    assert (tmp_path / "identity.json").read_text() == content
    (tmp_path / "identity.json").write_text(kept)
    again = ApiServer(Options(data_dir=tmp_path))
    await again.start()
    assert again.admin_token == server.admin_token
    await again.stop()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_that_is_none_of_this_machine_is_not_called_taken(host: str) -> None:
    with pytest.raises(AddressUnusable, match=f"nobody can listen on {host}") as raised:
        await ApiServer(Options(host=host)).start()
    assert not isinstance(raised.value, PortTaken)


async def test_two_servers_cannot_share_a_data_dir(tmp_path: Path) -> None:
    server = ApiServer(Options(data_dir=tmp_path))
    await server.start()
    with pytest.raises(StoreInUse):
        await ApiServer(Options(data_dir=tmp_path)).start()
    await server.stop()


async def test_secrets_on_disk_are_for_their_owner_only(tmp_path: Path) -> None:
    server = ApiServer(Options(data_dir=tmp_path))
    await server.start()
    server.write_kubeconfig(tmp_path / "kubeconfig")
    await server.stop()
    for name in ("identity.json", "kubeconfig", "store"):
        assert os.stat(tmp_path / name).st_mode & 0o077 == 0, name


async def test_without_a_data_dir_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    server = ApiServer()
    await server.start()
    await server.stop()
    assert os.listdir(tmp_path) == []


async def test_a_stopped_server_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    server = ApiServer()
    await server.start()
    async with client_session(server) as session:
        await Client(server, session)("POST", CONFIGMAPS, configmap())
    await server.stop()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_certificates_pass_strict_verification(server: ApiServer) -> None:
    context = ssl.create_default_context(cadata=server.ca_pem)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session, session.get(f"{server.url}/version") as response:
        assert response.status == 200
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"{server.url}/version")


async def test_another_host_gets_a_certificate_of_the_same_authority(tmp_path: Path) -> None:
    first = ApiServer(Options(data_dir=tmp_path))
    await first.start()
    await first.stop()
    second = ApiServer(Options(data_dir=tmp_path, host="127.0.0.9"))
    await second.start()
    assert second.ca_pem == first.ca_pem
    async with client_session(second) as session:
        assert (await Client(second, session)("GET", CONFIGMAPS)).code == 200
    await second.stop()


async def test_events_are_forgotten_an_hour_after_they_were_last_written(tmp_path: Path) -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    events = "/api/v1/namespaces/default/events"
    server = ApiServer(Options(data_dir=tmp_path, now=lambda: now[0]))
    await server.start()
    async with client_session(server) as session:
        api = Client(server, session)
        for name, last in (("old", "2026-01-01T00:00:00Z"), ("repeated", "2026-01-01T00:30:00Z")):
            event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "involvedObject": about}
            assert (await api("POST", events, {**event, "lastTimestamp": last})).code == 201
    await server.stop()
    now[0] += timedelta(minutes=61)
    server = ApiServer(Options(data_dir=tmp_path, now=lambda: now[0]))
    await server.start()
    async with client_session(server) as session:
        api = Client(server, session)
        async with asyncio.timeout(60):
            async for event in api.watch(events):
                if event["type"] == "DELETED":
                    break
                if event["object"]["metadata"]["name"] == "repeated" and len((await api("GET", events))["items"]) == 1:
                    break
        assert [item["metadata"]["name"] for item in (await api("GET", events))["items"]] == ["repeated"]
    await server.stop()


async def test_nobody_comes_in_without_a_valid_token(server: ApiServer, api: Client) -> None:
    for token in ("wrong", server.admin_token + "x", "a.b.c"):
        answer = await Client(server, api.session, token)("GET", CONFIGMAPS)
        assert (answer.code, answer["reason"]) == (401, "Unauthorized")


async def test_strangers_may_only_ask_whether_the_server_is_well(server: ApiServer, api: Client) -> None:
    async with api.session.get(server.url + CONFIGMAPS) as response:
        assert response.status == 403
        assert (await response.json())["message"] == (
            'configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" in API group "" '
            'in the namespace "default"'
        )
    async with api.session.get(f"{server.url}/apis") as response:
        assert response.status == 403
    for path in ("/healthz", "/readyz", "/livez", "/version"):
        async with api.session.get(server.url + path) as response:
            assert response.status == 200, path


async def test_a_service_account_token_names_its_account_and_groups(server: ApiServer, api: Client) -> None:
    token = await server.issue_token("default", "default")
    answer = await Client(server, api.session, token)(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
    )
    user = answer["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:default:default"
    assert user["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]


async def test_a_token_dies_with_its_account_and_with_its_pod(server: ApiServer, api: Client) -> None:
    await api("POST", ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}})
    await api("POST", PODS, pod())
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    plain = (await api("POST", f"{ACCOUNTS}/bot/token", request))["status"]["token"]
    request["spec"] = {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}
    bound = (await api("POST", f"{ACCOUNTS}/bot/token", request))["status"]["token"]

    assert (await Client(server, api.session, bound)("GET", CONFIGMAPS)).code == 200
    await api("DELETE", f"{PODS}/p")
    assert (await Client(server, api.session, bound)("GET", CONFIGMAPS)).code == 401
    assert (await Client(server, api.session, plain)("GET", CONFIGMAPS)).code == 200
    await api("DELETE", f"{ACCOUNTS}/bot")
    assert (await Client(server, api.session, plain)("GET", CONFIGMAPS)).code == 401


async def test_a_token_ends_when_its_time_is_over_and_serves_its_audience_only() -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    server = ApiServer(Options(now=lambda: now[0]))
    await server.start()
    async with client_session(server) as session:
        api = Client(server, session)
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["vault"]}}
        token = (await api("POST", f"{ACCOUNTS}/default/token", request))["status"]["token"]

        async def valid(*audiences: str) -> bool:
            spec = {"token": token, **({"audiences": audiences} if audiences else {})}
            answer = await api("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {**review, "spec": spec})
            return bool(answer["status"].get("authenticated"))

        assert not await valid()
        assert await valid("vault")
        now[0] += timedelta(seconds=3601)
        assert not await valid("vault")
    await server.stop()


async def test_a_token_with_changed_claims_is_refused(server: ApiServer, api: Client) -> None:
    head, body, signature = (await server.issue_token("default", "default")).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["sub"] = "system:serviceaccount:kube-system:default"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert (await Client(server, api.session, f"{head}.{forged}.{signature}")("GET", CONFIGMAPS)).code == 401


async def test_no_token_for_an_account_that_is_not_there(server: ApiServer) -> None:
    with pytest.raises(ApiError, match='serviceaccounts "nobody" not found'):
        await server.issue_token("default", "nobody")


async def test_logs_come_from_whoever_runs_pods(server: ApiServer, api: Client) -> None:
    asked: dict[str, Any] = {}

    class Logs:
        async def open(self, namespace: str, pod: str, container: str, **options: Any) -> Any:
            asked.update(options, where=(namespace, pod, container))

            async def chunks() -> Any:
                yield b"one\n"
                yield b"two\n"

            return chunks()

    await api("POST", PODS, pod())
    server.serve_logs(Logs())
    answer = await api("GET", f"{PODS}/p/log", follow="true", tailLines=5, timestamps="true")
    assert answer.body == "one\ntwo\n"
    assert answer.headers["Content-Type"] == "text/plain"
    assert asked["where"] == ("default", "p", "main")
    assert (asked["follow"], asked["tail_lines"], asked["timestamps"], asked["previous"]) == (True, 5, True, False)
    wrong = await api("GET", f"{PODS}/p/log", container="other")
    assert (wrong.code, wrong["message"]) == (400, "container other is not valid for pod p")


SERVE = textwrap.dedent(
    """
    import asyncio, json, resource, sys
    from pathlib import Path
    from bobrapet.local.apiserver import ApiServer, Options

    async def main():
        server = ApiServer(Options(data_dir=Path(sys.argv[1])))
        await server.start()
        if len(sys.argv) > 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        print(json.dumps([server.port, server.admin_token, server.ca_pem]), flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
    """
)


class Process:
    """A server in a process of its own, to be killed."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-c", SERVE, str(folder), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        port, self.admin_token, self.ca_pem = json.loads(self.process.stdout.readline())
        self.url = f"https://127.0.0.1:{port}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


async def test_a_killed_server_comes_back_with_every_acknowledged_write(tmp_path: Path) -> None:
    process = await asyncio.to_thread(Process, tmp_path)
    acknowledged: list[str] = []

    async def write(api: Client, worker: int) -> None:
        for number in range(10_000):
            name = f"n-{worker}-{number}"
            if (await api("POST", CONFIGMAPS, configmap(name))).code == 201:
                acknowledged.append(name)
            if len(acknowledged) == 200:
                process.process.send_signal(signal.SIGKILL)

    async with client_session(process) as session:
        api = Client(process, session)
        await asyncio.gather(*(write(api, worker) for worker in range(8)), return_exceptions=True)
    process.kill()
    assert len(acknowledged) >= 200

    server = ApiServer(Options(data_dir=tmp_path))
    await server.start()
    assert server.url == process.url
    async with client_session(server) as session:
        listed = await Client(server, session)("GET", CONFIGMAPS)
        assert {item["metadata"]["name"] for item in listed["items"]} >= set(acknowledged)
    await server.stop()


async def test_a_full_disk_is_a_507_with_a_sentence_and_reads_go_on(tmp_path: Path) -> None:
    process = await asyncio.to_thread(Process, tmp_path, str(os.stat(tmp_path).st_blksize * 100))
    async with client_session(process) as session:
        api = Client(process, session)
        written = 0
        while (answer := await api("POST", CONFIGMAPS, configmap(f"n{written}", x="y" * 20_000))).code == 201:
            written += 1
        assert (answer.code, answer["reason"]) == (507, "InsufficientStorage")
        assert "no space left" in answer["message"]
        assert (await api("GET", f"{CONFIGMAPS}/n{written}")).code == 404
        assert (await api("GET", f"{CONFIGMAPS}/n0")).code == 200
    process.kill()

    server = ApiServer(Options(data_dir=tmp_path))
    await server.start()
    async with client_session(server) as session:
        api = Client(server, session)
        assert len((await api("GET", CONFIGMAPS))["items"]) == written + 1
        assert (await api("POST", CONFIGMAPS, configmap("more"))).code == 201
    await server.stop()
