"""A real control plane for tests: etcd, kube-apiserver and, where there is one, kube-controller-manager (spec ET-1).

There is no kubelet and no scheduler: pods are created but nothing runs them. Without kube-controller-manager Jobs make
no pods and nothing is garbage collected.

>>> with Environment() as environment:
...     async with client.new(environment.config) as c:
...         await c.list(Unstructured.of("v1", "Namespace"))
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from bobrapet.runtime.envtest.binaries import find_assets
from bobrapet.runtime.envtest.certificates import Authority, signing_keys
from bobrapet.runtime.envtest.etcd import compact
from bobrapet.runtime.envtest.kubeconfig import write_kubeconfig
from bobrapet.runtime.envtest.ports import PortLease
from bobrapet.runtime.envtest.process import Check, EnvironmentFailed, Program
from bobrapet.runtime.rest.config import RestConfig

_P = TypeVar("_P")

ADMIN_TOKEN = "envtest-admin"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to start and how long to wait."""

    assets: str | None = None
    """Folder of the programs. None: `KUBEBUILDER_ASSETS`, else the usual folder."""

    controllers: bool = True
    """Start kube-controller-manager too, when it is among the assets."""

    api_server_args: tuple[str, ...] = ()
    """More flags for kube-apiserver."""

    start_timeout: float | None = None
    """Seconds. None: `KUBEBUILDER_CONTROLPLANE_START_TIMEOUT`, else 20."""

    stop_timeout: float | None = None
    """Seconds until a program that does not end is killed. None: `KUBEBUILDER_CONTROLPLANE_STOP_TIMEOUT`, else 20."""

    use_existing_cluster: bool | None = None
    """Start nothing, use the configured cluster. None: whether `USE_EXISTING_CLUSTER` is `true`."""

    attach_output: bool | None = None
    """Show the output of the programs. None: whether `KUBEBUILDER_ATTACH_CONTROL_PLANE_OUTPUT` is `true`."""


class Environment:
    """Starts and stops a control plane. Blocking; in a coroutine use `anyio.to_thread.run_sync(environment.start)`.

    It belongs to no event loop, so one environment may serve all tests of a run.
    """

    def __init__(self, options: Options | None = None) -> None:
        self._options = _with_defaults(options or Options())
        self._ports = PortLease()
        self._folder: Path | None = None
        self._authority: Authority | None = None
        self._checks: list[Check] = []
        self._config: RestConfig | None = None
        self.etcd: Program | None = None
        self.api_server: Program | None = None
        self.controller_manager: Program | None = None

    @property
    def config(self) -> RestConfig:
        """Configuration of an administrator; a copy, so that a test can change it."""
        if self._config is None:
            raise EnvironmentFailed("the environment is not running; call start() first")
        return self._config.copy()

    def start(self) -> RestConfig:
        """Starts everything and waits until it is ready. Leaves nothing behind when that fails."""
        if self._config is not None:
            return self.config
        if self._options.use_existing_cluster:
            # Imported here: reading a kubeconfig needs a library that takes half a second to import.
            from bobrapet.runtime.client.config import get_config

            self._config = get_config()
            return self.config
        try:
            self._config = self._start()
        except BaseException:
            self.stop()
            raise
        return self.config

    def stop(self) -> None:
        """Stops the programs and removes their files. May be called again."""
        timeout = self._options.stop_timeout or 0.0
        for program in (self.controller_manager, self.api_server, self.etcd):
            if program is not None:
                program.stop(timeout)
        self.etcd = self.api_server = self.controller_manager = None
        self._ports.release()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._config = None

    def add_user(self, name: str, *groups: str) -> RestConfig:
        """Configuration of a user with a client certificate; without groups it may do nothing until RBAC says so."""
        if self._authority is None:
            raise EnvironmentFailed("users can only be added to an environment that was started by us")
        pair = self._authority.client(name, *groups)
        return self.config.copy(token=None, cert_data=pair.certificate, key_data=pair.key)

    def kubeconfig(self, path: Path | None = None, config: RestConfig | None = None) -> Path:
        """Writes a kubeconfig, of the administrator unless a configuration is given, and returns its path."""
        config = config or self.config
        path = path or self._files() / "kubeconfig"
        write_kubeconfig(path, config)
        return path

    def restart_api_server(self, away: float = 0.0, *, kill: bool = True) -> None:
        """Ends the API server, hard by default, and starts it again `away` seconds later, at the same address over the
        same data."""
        self.stop_api_server(kill=kill)
        time.sleep(away)
        self.start_api_server()

    def stop_api_server(self, *, kill: bool = True) -> None:
        program = _started(self.api_server)
        if kill:
            program.kill()
        else:
            program.stop(self._options.stop_timeout or 0.0)

    def start_api_server(self) -> None:
        program = _started(self.api_server)
        program.start()
        program.wait_ready(self._checks, self._deadline())

    def pause_api_server(self) -> None:
        """Freezes the API server: connections stay open and nobody answers."""
        _started(self.api_server).pause()

    def resume_api_server(self) -> None:
        _started(self.api_server).signal(signal.SIGCONT)

    def logs(self) -> list[Path]:
        """The files to which the programs write, the API server first; they go with the environment."""
        return [program.log for program in (self.api_server, self.controller_manager, self.etcd) if program is not None]

    def compact(self) -> None:
        """Makes etcd forget all history, so that watches at older versions are answered with 410."""
        compact(self._etcd_url)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Starting

    def _start(self) -> RestConfig:
        assets = find_assets(self._options.assets)
        folder = self._files()
        self._authority = Authority()
        deadline = self._deadline()
        self._start_etcd(assets, folder, deadline)
        config = self._start_api_server(assets, folder, deadline)
        manager = assets / "kube-controller-manager"
        if self._options.controllers and os.access(manager, os.X_OK):
            self._start_controller_manager(manager, folder, config, deadline)
        return config

    def _start_etcd(self, assets: Path, folder: Path, deadline: float) -> None:
        self._etcd_url = f"http://127.0.0.1:{self._ports.take()}"
        peer = f"http://127.0.0.1:{self._ports.take()}"
        self.etcd = self._program(
            assets / "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )
        self.etcd.start()
        self.etcd.wait_ready([Check(f"{self._etcd_url}/health")], deadline)

    def _start_api_server(self, assets: Path, folder: Path, deadline: float) -> RestConfig:
        authority = _started(self._authority)
        port = self._ports.take()
        serving = authority.serving("localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default.svc")
        private, public = signing_keys()
        files = {
            "ca.crt": authority.certificate,
            "apiserver.crt": serving.certificate,
            "apiserver.key": serving.key,
            "sa.key": private,
            "sa.pub": public,
            "tokens.csv": f'{ADMIN_TOKEN},admin,admin,"system:masters"\n'.encode(),
        }
        for name, data in files.items():
            _write_private(folder / name, data)
        # Without the controller manager nobody makes the service accounts that this plugin wants every pod to have.
        without = () if self._options.controllers else ("--disable-admission-plugins=ServiceAccount",)
        self.api_server = self._program(
            assets / "kube-apiserver",
            f"--etcd-servers={self._etcd_url}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={folder / 'apiserver'}",
            f"--tls-cert-file={folder / 'apiserver.crt'}",
            f"--tls-private-key-file={folder / 'apiserver.key'}",
            f"--client-ca-file={folder / 'ca.crt'}",
            f"--service-account-key-file={folder / 'sa.pub'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/16",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            *without,
            *self._options.api_server_args,
        )
        host = f"https://127.0.0.1:{port}"
        context = ssl.create_default_context(cadata=authority.certificate.decode())
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        self._checks = [
            Check(f"{host}/readyz", context, headers),
            Check(f"{host}/api/v1/namespaces/default", context, headers),
        ]
        self.api_server.start()
        self.api_server.wait_ready(self._checks, deadline)
        return RestConfig(host=host, ca_data=authority.certificate, token=ADMIN_TOKEN, disable_compression=True)

    def _start_controller_manager(self, program: Path, folder: Path, config: RestConfig, deadline: float) -> None:
        kubeconfig = folder / "controller-manager.kubeconfig"
        write_kubeconfig(kubeconfig, config)
        port = self._ports.take()
        self.controller_manager = self._program(
            program,
            f"--kubeconfig={kubeconfig}",
            f"--service-account-private-key-file={folder / 'sa.key'}",
            f"--root-ca-file={folder / 'ca.crt'}",
            "--leader-elect=false",
            "--controllers=*,-nodeipam,-nodelifecycle,-cloud-node-lifecycle",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={folder / 'controller-manager'}",
            # The default of 20 requests a second slows every test.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )
        self.controller_manager.start()
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        account = f"{config.host}/api/v1/namespaces/default/serviceaccounts/default"
        checks = [
            Check(f"https://127.0.0.1:{port}/healthz", unverified),
            Check(account, self._checks[0].context, self._checks[0].headers),
        ]
        self.controller_manager.wait_ready(checks, deadline)

    def _program(self, path: Path, *arguments: str) -> Program:
        return Program(
            path.name,
            [str(path), *arguments],
            self._files() / f"{path.name}.log",
            attach_output=bool(self._options.attach_output),
        )

    def _files(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="bobrapet-envtest-"))
        return self._folder

    def _deadline(self) -> float:
        return time.monotonic() + (self._options.start_timeout or 0.0)


def _with_defaults(options: Options) -> Options:
    environ = os.environ
    return Options(
        assets=options.assets,
        controllers=options.controllers,
        api_server_args=options.api_server_args,
        start_timeout=_seconds(options.start_timeout, "KUBEBUILDER_CONTROLPLANE_START_TIMEOUT"),
        stop_timeout=_seconds(options.stop_timeout, "KUBEBUILDER_CONTROLPLANE_STOP_TIMEOUT"),
        use_existing_cluster=_flag(options.use_existing_cluster, environ.get("USE_EXISTING_CLUSTER")),
        attach_output=_flag(options.attach_output, environ.get("KUBEBUILDER_ATTACH_CONTROL_PLANE_OUTPUT")),
    )


def _seconds(given: float | None, variable: str) -> float:
    """Seconds given by option, else by environment as a number with or without the unit `s`, else 20."""
    if given is not None:
        return given
    with contextlib.suppress(ValueError):
        return float(os.environ.get(variable, "").removesuffix("s"))
    return 20.0


def _flag(given: bool | None, text: str | None) -> bool:
    return given if given is not None else (text or "").lower() == "true"


def _started(program: _P | None) -> _P:
    if program is None:
        raise EnvironmentFailed("the environment is not running; call start() first")
    return program


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
