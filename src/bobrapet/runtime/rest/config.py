"""How to reach an API server: address, trust, credentials, limits. Plain data; nothing is opened here."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from bobrapet.runtime.rest.version import version

REQUEST_TIMEOUT = 30.0
"""Seconds a request may take in all, unless it is a watch (spec runtime CLI-20)."""


@dataclass(frozen=True, kw_only=True)
class ExecConfig:
    """A credential plugin of a kubeconfig: a program that prints an ExecCredential."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to our own environment."""

    api_version: str = "client.authentication.k8s.io/v1"
    interactive_mode: str = "IfAvailable"
    provide_cluster_info: bool = False
    cluster_extension: object = None
    """The `client.authentication.k8s.io/exec` extension of the cluster entry, handed to the plugin as it stands."""

    install_hint: str = ""
    cwd: str | None = None
    """Where a relative command is looked up: the folder of the kubeconfig."""

    timeout: float = 60.0
    """Seconds after which the plugin is killed."""


@dataclass(kw_only=True)
class RestConfig:
    """Everything a `RestClient` needs. Made by hand, or by `runtime.client.config` from kubeconfig or pod.

    Paths and data may be given for each of CA, certificate and key; data wins. With neither token nor certificate the
    requests are anonymous.
    """

    host: str
    """Base URL, for example `https://127.0.0.1:6443`; a path prefix is kept."""

    ca_data: bytes | None = None
    """PEM. None, and no `ca_file`: the trust store of the system."""

    ca_file: str | None = None
    insecure_skip_tls_verify: bool = False
    tls_server_name: str | None = None
    """Name that the server certificate must carry, when it is not the host of the URL."""

    disable_strict_x509: bool = False
    """Accept authorities without key identifiers, which Python 3.13 refuses by default."""

    cert_data: bytes | None = None
    cert_file: str | None = None
    key_data: bytes | None = None
    key_file: str | None = None

    token: str | None = None
    token_file: str | None = None
    """Read at least once a minute and after a 401; wins over `token` when it can be read."""

    username: str | None = None
    password: str | None = None

    exec: ExecConfig | None = None
    token_source: Callable[[bool], Awaitable[str | None]] | None = None
    """Any other source: called before requests (it does its own caching) with True after a 401."""

    proxy_url: str | None = None
    proxy_headers: Mapping[str, str] = field(default_factory=dict)

    user_agent: str = ""
    """Empty: `bobrapet/<version> (<os>/<arch>) kubernetes/<commit>`."""

    timeout: float | None = REQUEST_TIMEOUT
    """Seconds for a whole request; None: no limit. Watches are never limited by it."""

    qps: float = 0.0
    """Client-side limit in requests a second; 0: none, the server's priority and fairness does it (CLI-17)."""

    burst: int = 0
    """Requests that may be sent at once before `qps` counts; 0: as many as `qps`."""

    impersonate: tuple[tuple[str, str], ...] = ()
    """`Impersonate-*` headers, by their full name; groups may repeat."""

    disable_compression: bool = False
    """Do not ask for compressed answers: cheaper for both sides when they are close."""

    def __post_init__(self) -> None:
        self.host = self.host.rstrip("/")
        if "://" not in self.host:
            self.host = f"https://{self.host}"
        if not self.user_agent:
            self.user_agent = default_user_agent()

    def copy(self, **changes: object) -> RestConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def __repr__(self) -> str:  # credentials stay out of logs
        return f"RestConfig(host={self.host!r})"


def default_user_agent() -> str:
    """Program, version, platform, build: what audit logs of the API server show."""
    release, commit = version()
    return f"bobrapet/{release} ({platform.system().lower()}/{platform.machine()}) kubernetes/{commit}"
