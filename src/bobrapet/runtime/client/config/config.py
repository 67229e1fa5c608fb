"""Where the configuration of a client comes from: flag, environment, pod, home (spec runtime CLI-18).

Files are read here. What kubernetes-asyncio knows better, the tokens of the old `auth-provider` entries, is left to it,
and it is imported only for them: that takes 859 modules, a second of CPU and 60 MB. Programs run by the user for
credentials, and files that change, are then handled by `runtime.rest`.
"""

from __future__ import annotations

import base64
import binascii
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bobrapet.runtime.errors import ConfigError, CredentialError
from bobrapet.runtime.rest.config import ExecConfig, RestConfig

RECOMMENDED_HOME_FILE = "~/.kube/config"

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where a kubelet mounts the token of a pod and the certificate of its API server."""

PROVIDER_TOKEN_PERIOD = 60.0
"""Seconds between two looks at whether the token of an auth-provider entry has expired."""


def get_config(
    kubeconfig: str | None = None,
    *,
    context: str | None = None,
    environ: Mapping[str, str] | None = None,
    service_account: str | None = None,
) -> RestConfig:
    """The configuration to use: `kubeconfig` (a flag), else `KUBECONFIG`, else that of the pod, else that of the user.

    `context` selects another than the current context; `service_account` is the folder of the pod's token, if not the
    usual one. Raises `ConfigError`, naming what was looked for.
    """
    environ = os.environ if environ is None else environ
    if kubeconfig:
        return load_kubeconfig(kubeconfig, context=context)
    if environ.get("KUBECONFIG"):
        return load_kubeconfig(environ["KUBECONFIG"], context=context)
    home = os.path.expanduser(RECOMMENDED_HOME_FILE)
    if environ.get("KUBERNETES_SERVICE_HOST") and context is None:
        try:
            return load_in_cluster(environ, folder=service_account)
        except ConfigError:
            if not os.path.exists(home):
                raise
    if os.path.exists(home):
        return load_kubeconfig(home, context=context)
    raise ConfigError(
        f"no Kubernetes configuration: neither --kubeconfig nor KUBECONFIG is set, this is no pod, "
        f"and there is no {home}"
    )


def load_in_cluster(environ: Mapping[str, str] | None = None, *, folder: str | None = None) -> RestConfig:
    """The configuration of a pod, from its environment and its mounted service account."""
    environ = os.environ if environ is None else environ
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise ConfigError("this is no pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
    token_file, ca_file = (Path(folder or SERVICE_ACCOUNT) / name for name in ("token", "ca.crt"))
    for file in (token_file, ca_file):
        try:
            content = file.read_text()
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"this is no pod with a service account: {error}") from error
        if not content.strip():
            raise ConfigError(f"this is no pod with a service account: {file} is empty")
    address = f"[{host}]" if ":" in host else host
    # Both files are renewed by the kubelet; the paths are kept so that they are read again.
    return RestConfig(host=f"https://{address}:{port}", ca_file=str(ca_file), token_file=str(token_file))


def load_kubeconfig(paths: str, *, context: str | None = None) -> RestConfig:
    """The configuration of a context (default: the current one) of a kubeconfig, or of several joined by `:`."""
    try:
        merged = _Kubeconfig.read(paths)
        name = context or merged.current_context
        if not name:
            raise ConfigError(f"kubeconfig {paths}: no current-context is set; name a context")
        chosen = merged.entry("contexts", name).value
        cluster = merged.entry("clusters", chosen["cluster"])
        user = merged.entry("users", chosen["user"]) if chosen.get("user") else _Entry({}, "")
        config = _cluster_config(cluster)
        _add_user(config, cluster, user)
        if "auth-provider" in user.value:
            config.token_source = _ProviderTokens(paths, name)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, yaml.YAMLError) as error:
        raise ConfigError(f"kubeconfig {paths} cannot be used: {error}") from error
    return config


@dataclass(frozen=True, slots=True)
class _Kubeconfig:
    """Files joined as kubectl joins them: of two entries of one name the first counts, and the first context does."""

    entries: Mapping[tuple[str, str], _Entry]
    """Section and name -> entry."""

    current_context: str | None

    @classmethod
    def read(cls, paths: str) -> _Kubeconfig:
        files = [Path(path).expanduser() for path in paths.split(os.pathsep) if path]
        found = [file for file in files if file.exists()]
        if not found:
            raise ConfigError(f"kubeconfig {paths}: no such file")
        entries: dict[tuple[str, str], _Entry] = {}
        current = None
        for file in found:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ConfigError(f"kubeconfig {file}: empty, or no mapping")
            current = current or content.get("current-context")
            for section, what in (("clusters", "cluster"), ("contexts", "context"), ("users", "user")):
                for each in content.get(section) or ():
                    entry = _Entry(each.get(what) or {}, str(file.absolute().parent))
                    entries.setdefault((section, str(each["name"])), entry)
        return cls(entries, current)

    def entry(self, section: str, name: str) -> _Entry:
        """Raises `ValueError` when there is none."""
        try:
            return self.entries[section, str(name)]
        except KeyError:
            raise ValueError(f"{section} has no entry with the name {name}") from None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A cluster or user of a kubeconfig, and the folder that its relative paths start from."""

    value: dict[str, Any]
    folder: str

    def text(self, key: str) -> str | None:
        value = self.value.get(key)
        return str(value) if value else None

    def file(self, key: str) -> str | None:
        value = self.text(key)
        return os.path.normpath(os.path.join(self.folder, value)) if value else None

    def data(self, key: str) -> bytes | None:
        value = self.text(key)
        try:
            return base64.b64decode(value, validate=False) if value else None
        except binascii.Error as error:
            raise ValueError(f"{key} is no base64: {error}") from error


def _cluster_config(cluster: _Entry) -> RestConfig:
    server = cluster.text("server")
    if not server:
        raise ValueError("the cluster names no server")
    return RestConfig(
        host=server,
        ca_file=cluster.file("certificate-authority"),
        ca_data=cluster.data("certificate-authority-data"),
        insecure_skip_tls_verify=bool(cluster.value.get("insecure-skip-tls-verify")),
        tls_server_name=cluster.text("tls-server-name"),
        proxy_url=cluster.text("proxy-url"),
    )


def _add_user(config: RestConfig, cluster: _Entry, user: _Entry) -> None:
    config.cert_file, config.cert_data = user.file("client-certificate"), user.data("client-certificate-data")
    config.key_file, config.key_data = user.file("client-key"), user.data("client-key-data")
    config.token, config.token_file = user.text("token"), user.file("tokenFile")
    config.username, config.password = user.text("username"), user.text("password")
    if "exec" in user.value:
        config.exec = _plugin(user, cluster)
    config.impersonate = _impersonation(user)


def _plugin(user: _Entry, cluster: _Entry) -> ExecConfig:
    plugin = user.value["exec"]
    extensions = {entry.get("name"): entry.get("extension") for entry in cluster.value.get("extensions") or ()}
    return ExecConfig(
        command=plugin["command"],
        args=tuple(map(str, plugin.get("args") or ())),
        env={entry["name"]: str(entry["value"]) for entry in plugin.get("env") or ()},
        api_version=plugin.get("apiVersion") or "",
        interactive_mode=plugin.get("interactiveMode") or "IfAvailable",
        provide_cluster_info=bool(plugin.get("provideClusterInfo")),
        cluster_extension=extensions.get("client.authentication.k8s.io/exec"),
        install_hint=plugin.get("installHint") or "",
        cwd=user.folder,
    )


def _impersonation(user: _Entry) -> tuple[tuple[str, str], ...]:
    wanted = [("Impersonate-User", user.text("as")), ("Impersonate-Uid", user.text("as-uid"))]
    wanted += [("Impersonate-Group", str(group)) for group in user.value.get("as-groups") or ()]
    return tuple((header, value) for header, value in wanted if value)


class _ProviderTokens:
    """Tokens of an `auth-provider` entry (oidc, gcp). The library renews them when it finds them expired."""

    def __init__(self, paths: str, context: str) -> None:
        self._paths = paths
        self._context = context
        self._loader: Any = None
        self._checked_at: float | None = None
        self._token: str | None = None

    async def __call__(self, force: bool) -> str | None:
        now = time.monotonic()
        if force or self._checked_at is None or now - self._checked_at > PROVIDER_TOKEN_PERIOD:
            self._token = await self._load()
            self._checked_at = now
        return self._token

    async def _load(self) -> str | None:
        try:
            from kubernetes_asyncio.client import Configuration
            from kubernetes_asyncio.config import kube_config
        except ImportError as error:
            raise CredentialError("auth-provider: needs the package kubernetes-asyncio") from error
        found = Configuration()
        try:
            if self._loader is None:
                merged = kube_config.KubeConfigMerger(self._paths).config
                self._loader = kube_config.KubeConfigLoader(merged, active_context=self._context)
            await self._loader.load_and_set(found)
        except Exception as error:  # the library lets errors of many kinds through
            provider = getattr(self._loader, "provider", "")
            raise CredentialError(f"auth-provider {provider}: {error}") from error
        return (found.api_key.get("BearerToken") or "").removeprefix("Bearer ") or None
