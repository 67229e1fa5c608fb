"""Where the configuration of a client comes from: flag, environment, pod, home (spec runtime CLI-18).

The loaders of kubernetes-asyncio know the formats; importing them takes half a second, so they are imported when one is
needed. Programs run by the user for credentials, and files that change, are then handled by `runtime.rest`.
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

from bobrapet.runtime.errors import ConfigError, CredentialError
from bobrapet.runtime.rest.config import ExecConfig, RestConfig

RECOMMENDED_HOME_FILE = "~/.kube/config"

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
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config import ConfigException, incluster_config

    token_file, ca_file = incluster_config.SERVICE_TOKEN_FILENAME, incluster_config.SERVICE_CERT_FILENAME
    if folder is not None:
        token_file, ca_file = str(Path(folder) / "token"), str(Path(folder) / "ca.crt")
    found = Configuration()
    loader = incluster_config.InClusterConfigLoader(
        token_filename=token_file,
        cert_filename=ca_file,
        environ=dict(os.environ if environ is None else environ),
    )
    try:
        loader.load_and_set(found)
    except ConfigException as error:
        raise ConfigError(f"this is no pod with a service account: {error}") from error
    # Both files are renewed by the kubelet; the paths are kept so that they are read again.
    return RestConfig(host=str(found.host), ca_file=ca_file, token_file=token_file)


def load_kubeconfig(paths: str, *, context: str | None = None) -> RestConfig:
    """The configuration of a context (default: the current one) of a kubeconfig, or of several joined by `:`."""
    from kubernetes_asyncio.config import ConfigException, kube_config

    try:
        merged = kube_config.KubeConfigMerger(paths).config
        if merged is None:
            raise ConfigError(f"kubeconfig {paths}: no such file")
        name = context or merged.value.get("current-context")
        if not name:
            raise ConfigError(f"kubeconfig {paths}: no current-context is set; name a context")
        entry: Any = merged["contexts"].get_with_name(name)
        chosen = entry["context"]
        cluster = _Entry.of(merged["clusters"].get_with_name(chosen["cluster"]), "cluster")
        user_name = chosen.safe_get("user")
        user = _Entry.of(merged["users"].get_with_name(user_name) if user_name else None, "user")
        config = _cluster_config(cluster)
        _add_user(config, cluster, user)
        if "auth-provider" in user.value:
            config.token_source = _ProviderTokens(kube_config.KubeConfigLoader(merged, active_context=name))
    except ConfigException as error:
        raise ConfigError(f"kubeconfig {paths}: {error}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"kubeconfig {paths} cannot be used: {error}") from error
    return config


@dataclass(frozen=True, slots=True)
class _Entry:
    """A cluster or user of a kubeconfig, and the folder that its relative paths start from."""

    value: dict[str, Any]
    folder: str

    @classmethod
    def of(cls, node: Any, what: str) -> _Entry:
        if node is None:
            return cls({}, "")
        return cls(node.value.get(what) or {}, os.path.dirname(os.path.abspath(node.path)) if node.path else "")

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

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._checked_at: float | None = None
        self._token: str | None = None

    async def __call__(self, force: bool) -> str | None:
        now = time.monotonic()
        if force or self._checked_at is None or now - self._checked_at > PROVIDER_TOKEN_PERIOD:
            from kubernetes_asyncio.client import Configuration

            found = Configuration()
            try:
                await self._loader.load_and_set(found)
            except Exception as error:  # the library lets errors of many kinds through
                raise CredentialError(f"auth-provider {self._loader.provider}: {error}") from error
            self._token = (found.api_key.get("BearerToken") or "").removeprefix("Bearer ") or None
            self._checked_at = now
        return self._token
