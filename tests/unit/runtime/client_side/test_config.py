"""Finding and reading the configuration of a client (spec runtime CLI-18)."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bobrapet.runtime.client.config import get_config, load_in_cluster, load_kubeconfig
from bobrapet.runtime.errors import ConfigError
from bobrapet.runtime.rest.config import RestConfig


def kubeconfig(path: Path, server: str = "https://one:6443", **changes: Any) -> Path:
    user = changes.pop("user", {"token": "t"})
    cluster = {"server": server, **changes.pop("cluster", {})}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
        **changes,
    }
    path.write_text(yaml.safe_dump(content))
    return path


def pod(folder: Path) -> dict[str, str]:
    (folder / "token").write_text("pod-token")
    (folder / "ca.crt").write_text("CA")
    return {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def test_the_flag_wins_over_the_environment_wins_over_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = kubeconfig(tmp_path / "flag", "https://flag")
    environment = kubeconfig(tmp_path / "environment", "https://environment")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube/config", "https://home")
    environ = {"KUBECONFIG": str(environment)}
    assert get_config(str(flag), environ=environ).host == "https://flag"
    assert get_config(environ=environ).host == "https://environment"
    assert get_config(environ={}).host == "https://home"


def test_a_pod_comes_before_home_if_it_has_a_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube/config", "https://home")
    environ = pod(tmp_path)
    assert get_config(environ=environ, service_account=str(tmp_path)).host == "https://10.0.0.1:443"
    (tmp_path / "token").unlink()
    assert get_config(environ=environ, service_account=str(tmp_path)).host == "https://home"


def test_a_pod_reads_its_files_again(tmp_path: Path) -> None:
    config = load_in_cluster(pod(tmp_path), folder=str(tmp_path))
    assert config == RestConfig(
        host="https://10.0.0.1:443", ca_file=str(tmp_path / "ca.crt"), token_file=str(tmp_path / "token")
    )


def test_an_ipv6_service_address_is_bracketed(tmp_path: Path) -> None:
    environ = pod(tmp_path) | {"KUBERNETES_SERVICE_HOST": "fd00::1"}
    assert load_in_cluster(environ, folder=str(tmp_path)).host == "https://[fd00::1]:443"


def test_a_pod_without_its_service_account_is_an_error(tmp_path: Path) -> None:
    environ = pod(tmp_path)
    (tmp_path / "token").unlink()
    with pytest.raises(ConfigError, match="no pod with a service account"):
        load_in_cluster(environ, folder=str(tmp_path))


def test_nothing_at_all_says_what_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"neither --kubeconfig nor KUBECONFIG.*\.kube/config"):
        get_config(environ={})


def test_everything_a_kubeconfig_may_say(tmp_path: Path) -> None:
    data = base64.b64encode(b"PEM").decode()
    path = kubeconfig(
        tmp_path / "config",
        cluster={
            "certificate-authority-data": data,
            "tls-server-name": "name",
            "proxy-url": "http://proxy:3128",
            "insecure-skip-tls-verify": False,
            "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"a": 1}}],
        },
        user={
            "client-certificate": "pki/me.crt",
            "client-key-data": data,
            "tokenFile": "token",
            "as": "boss",
            "as-groups": ["g1", "g2"],
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": "./login",
                "args": ["-v", 3],
                "env": [{"name": "A", "value": "b"}],
                "provideClusterInfo": True,
                "interactiveMode": "Never",
            },
        },
    )
    config = load_kubeconfig(str(path))
    assert config.ca_data == config.key_data == b"PEM"
    assert config.cert_file == str(tmp_path / "pki/me.crt")
    assert config.token_file == str(tmp_path / "token")
    assert (config.tls_server_name, config.proxy_url) == ("name", "http://proxy:3128")
    assert config.impersonate == (
        ("Impersonate-User", "boss"),
        ("Impersonate-Group", "g1"),
        ("Impersonate-Group", "g2"),
    )
    plugin = config.exec
    assert plugin is not None
    assert (plugin.command, plugin.args, dict(plugin.env)) == ("./login", ("-v", "3"), {"A": "b"})
    assert (plugin.cluster_extension, plugin.interactive_mode, plugin.cwd) == ({"a": 1}, "Never", str(tmp_path))


def test_a_context_without_user_and_another_context(tmp_path: Path) -> None:
    path = kubeconfig(
        tmp_path / "config",
        contexts=[
            {"name": "x", "context": {"cluster": "c", "user": "u"}},
            {"name": "nobody", "context": {"cluster": "c"}},
        ],
    )
    assert load_kubeconfig(str(path)).token == "t"
    assert load_kubeconfig(str(path), context="nobody").token is None


def test_several_files_are_merged_and_relative_paths_start_at_their_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = tmp_path / "a/config"
    first.write_text(
        yaml.safe_dump({"current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]})
    )
    second = kubeconfig(tmp_path / "b/config", cluster={"certificate-authority": "ca.crt"}, contexts=[])
    config = load_kubeconfig(f"{first}:{second}:{tmp_path / 'missing'}")
    assert config.ca_file == str(tmp_path / "b/ca.crt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"current-context": "gone"}, "gone"),
        ({"current-context": None}, "no current-context"),
        ({"clusters": []}, "name c"),
        ({"cluster": {"server": None}}, "names no server"),
        ({"cluster": {"certificate-authority-data": "***a"}}, "no base64"),
        ({"clusters": "text"}, "config"),
    ],
)
def test_a_kubeconfig_that_makes_no_sense_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = kubeconfig(tmp_path / "config", **changes)
    with pytest.raises(ConfigError, match=message):
        load_kubeconfig(str(path))


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing.*no such file"):
        load_kubeconfig(str(tmp_path / "missing"))
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match="empty"):
        load_kubeconfig(str(tmp_path / "empty"))


def test_secrets_stay_out_of_the_repr() -> None:
    config = RestConfig(host="h", token="hush", password="hush", key_data=b"hush")
    assert "hush" not in repr(config)


@pytest.mark.parametrize(
    ("given", "expected"), [("1.2.3.4:6443", "https://1.2.3.4:6443"), ("http://h/p/", "http://h/p")]
)
def test_the_host_is_completed(given: str, expected: str) -> None:
    assert RestConfig(host=given).host == expected


def test_importing_the_runtime_is_cheap_and_loads_no_kubernetes_library() -> None:
    program = (
        "import sys, bobrapet.runtime as r\n"
        "assert 'aiohttp' not in sys.modules and 'pydantic' not in sys.modules, 'import of the package is not cheap'\n"
        "r.ApiClient; r.get_config; r.RestConfig(host='h'); r.Unstructured.of('v1', 'Pod')\n"
        "assert not [m for m in sys.modules if m.startswith('kubernetes_asyncio')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


async def test_the_token_of_an_auth_provider_is_asked_of_the_library(tmp_path: Path) -> None:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(yaml.safe_dump(value, default_flow_style=True).encode()).decode().rstrip("=")

    claims = base64.urlsafe_b64encode(b'{"exp": 9999999999}').decode().rstrip("=")
    token = f"{part({'alg': 'none'})}.{claims}.x"
    provider = {"name": "oidc", "config": {"id-token": token, "client-id": "c", "idp-issuer-url": "https://idp"}}
    config = load_kubeconfig(str(kubeconfig(tmp_path / "config", user={"auth-provider": provider})))
    assert config.token_source is not None
    assert await config.token_source(False) == token


def test_reading_a_kubeconfig_loads_no_kubernetes_library(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config")
    program = (
        "import sys\nfrom bobrapet.runtime.client.config import load_kubeconfig\n"
        f"load_kubeconfig({str(path)!r})\n"
        "assert not [m for m in sys.modules if m.startswith('kubernetes_asyncio')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
