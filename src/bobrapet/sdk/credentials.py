"""Where the API server is and who we are there.

On a cluster: `KUBERNETES_SERVICE_HOST`/`PORT` and the projected token. The local runner cannot always mount that token
at its usual path; then `BUBU_POD_ROOT` names the folder that stands for `/`. Elsewhere: the current context of
`KUBECONFIG`.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bobrapet.sdk.errors import EnvironmentInvalid

_ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Enough to make one connection. `token` is asked for every request: a projected token is renewed in place."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    prefix: str = ""
    token: Callable[[], str | None] = lambda: None


def find_credentials(environ: Mapping[str, str]) -> Credentials:
    """Raises EnvironmentInvalid, naming what was looked for."""
    root = Path(environ.get("BUBU_POD_ROOT") or "/")
    token_file = root / _ACCOUNT / "token"
    if environ.get("KUBERNETES_SERVICE_HOST") and token_file.is_file():
        return _in_cluster(environ, token_file)
    kubeconfig = [path for path in environ.get("KUBECONFIG", "").split(os.pathsep) if path]
    if kubeconfig:
        return _from_kubeconfig(Path(kubeconfig[0]))
    raise EnvironmentInvalid(
        f"no API server: neither KUBERNETES_SERVICE_HOST with a token in {token_file}, nor KUBECONFIG is there"
    )


def _in_cluster(environ: Mapping[str, str], token_file: Path) -> Credentials:
    authority = token_file.with_name("ca.crt")
    return Credentials(
        host=environ["KUBERNETES_SERVICE_HOST"],
        port=int(environ.get("KUBERNETES_SERVICE_PORT") or 443),
        tls=_tls(ca_file=str(authority) if authority.is_file() else None),
        token=lambda: token_file.read_text().strip(),
    )


def _from_kubeconfig(path: Path) -> Credentials:
    import yaml  # only this way in needs it

    try:
        config = yaml.safe_load(path.read_bytes())
        context = _entry(config, "contexts", config["current-context"])["context"]
        cluster = _entry(config, "clusters", context["cluster"])["cluster"]
        user = _entry(config, "users", context["user"])["user"]
        server = urlsplit(cluster["server"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise EnvironmentInvalid(f"KUBECONFIG {path} cannot be used: {type(error).__name__}: {error}") from error
    if not server.hostname:
        raise EnvironmentInvalid(f"KUBECONFIG {path}: {cluster['server']!r} is no URL of an API server")
    secure = server.scheme == "https"
    return Credentials(
        host=server.hostname,
        port=server.port or (443 if secure else 80),
        tls=_kubeconfig_tls(path.parent, cluster, user) if secure else None,
        prefix=server.path.rstrip("/"),
        token=_kubeconfig_token(path.parent, user),
    )


def _entry(config: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    for entry in config[kind]:
        if entry["name"] == name:
            return dict(entry)
    raise KeyError(f"{kind} has no {name!r}")


def _kubeconfig_token(folder: Path, user: Mapping[str, Any]) -> Callable[[], str | None]:
    file = user.get("tokenFile")
    if file:
        return lambda: (folder / file).read_text().strip()
    return lambda: user.get("token")


def _kubeconfig_tls(folder: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    data = cluster.get("certificate-authority-data")
    file = cluster.get("certificate-authority")
    context = _tls(
        ca_file=str(folder / file) if file else None,
        ca_data=base64.b64decode(data).decode() if data else None,
        verify=not cluster.get("insecure-skip-tls-verify"),
    )
    if user.get("client-certificate"):
        context.load_cert_chain(folder / user["client-certificate"], folder / user["client-key"])
    return context


def _tls(*, ca_file: str | None = None, ca_data: str | None = None, verify: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file, cadata=ca_data)
    # Kubernetes authorities made by older tools lack a subject key identifier, which 3.13 would refuse by default.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
