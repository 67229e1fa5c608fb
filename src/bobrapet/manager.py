"""The operator: wires runtime, configuration and reconcilers together, and owns `bobrapet-manager`.

`build` makes a manager without servers and without leader election, for use inside another process. `main` is the
process of a cluster, with the flags of the Go operator (admission-and-config B3).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from bobrapet import __version__

if TYPE_CHECKING:
    import ssl

    from bobrapet.admission.certificatekeeper import CertificateKeeper
    from bobrapet.reconcilers.rbac import Rule
    from bobrapet.runtime.cache import Options as CacheOptions
    from bobrapet.runtime.client.client import ApiClient
    from bobrapet.runtime.clock import Clock
    from bobrapet.runtime.manager import ControllerManager
    from bobrapet.runtime.metrics.server import Options as MetricsOptions
    from bobrapet.runtime.rest.config import RestConfig
    from bobrapet.runtime.webhook import Server as WebhookServer

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_LEASE_LOST: Final = 3
"""Another replica may lead now; a crash is 1. Whoever restarts the process need not look for a fault."""

ENVIRONMENT_PREFIX: Final = "BOBRAPET_"
CERTIFICATE_PATIENCE: Final = 60.0
"""Seconds for which the start waits until its webhook certificate can be stored; the pod is restarted afterwards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How the manager runs. The defaults are those for use inside another process: it serves and elects nothing."""

    kubeconfig: str = ""
    metrics_bind_address: str = "0"
    metrics_secure: bool = True
    metrics_cert_path: str = ""
    metrics_cert_name: str = "tls.crt"
    metrics_cert_key: str = "tls.key"
    webhook_cert_path: str = ""
    webhook_cert_name: str = "tls.crt"
    webhook_cert_key: str = "tls.key"
    webhook_port: int | str = 9443
    webhook_host: str = ""
    """Where webhooks are served. Empty: on all addresses."""

    webhook_context: ssl.SSLContext | None = None
    """Serve webhooks with the certificate of whoever embeds the manager."""

    enable_webhooks: bool = True
    """With a certificate; without one there is nothing to serve."""
    webhook_self_signed: bool = False
    """Make and renew the certificate in a Secret of `config_namespace`, and have it trusted. With
    `webhook_cert_path` somebody else does it, and this has no meaning."""

    webhook_name_prefix: str = "bobrapet-"
    """How the names of the webhook Service, its Secret and the webhook configurations begin."""

    health_probe_bind_address: str = "0"
    leader_elect: bool = False
    leader_election_id: str = "d3a8b358.bubustack.io"
    leader_election_namespace: str = ""
    leader_election_lease_duration: str = "15s"
    leader_election_renew_deadline: str = "10s"
    leader_election_retry_period: str = "2s"
    watch_namespaces: str = ""
    """Comma-separated. Empty: all."""
    max_concurrent_reconciles: str = ""
    """`CONTROLLER=WORKERS`, comma-separated, over what the ConfigMap says."""
    enable_http2: bool = False
    config_namespace: str = "bobrapet-system"
    config_name: str = "bobrapet-operator-config"
    storage_claims_path: str = ""
    tracing_init_timeout: str = "10s"
    tracing_shutdown_timeout: str = "5s"
    zap_devel: bool = False
    zap_encoder: str = ""
    zap_log_level: str = ""
    zap_stacktrace_level: str = ""
    zap_time_encoding: str = "rfc3339"

    @property
    def serves_webhooks(self) -> bool:
        return self.enable_webhooks and bool(
            self.webhook_cert_path or self.webhook_self_signed or self.webhook_context is not None
        )


async def build(config: RestConfig, options: Options | None = None, *, clock: Clock | None = None) -> ControllerManager:
    """Makes the operator: `await manager.start()` runs it until it is cancelled or `request_stop()` is called.

    Reads the operator's ConfigMap, which may be absent. Raises `ConfigurationRefused` when it holds values that must
    not be used, `ApiError` or `TransportError` when it cannot be read, `OSError` when a port is taken.
    """
    from bobrapet.api import KINDS
    from bobrapet.api.duration import to_seconds
    from bobrapet.reconcilers import indexes, wiring
    from bobrapet.reconcilers.operator import Operator
    from bobrapet.reconcilers.operatorconfig import ConfigSource
    from bobrapet.reconcilers.stores import Access, Stores
    from bobrapet.reconcilers.tracing import Tracer
    from bobrapet.runtime import cluster, healthz, manager
    from bobrapet.runtime.client.client import ApiClient
    from bobrapet.runtime.client.object import ObjectKey
    from bobrapet.runtime.clock import REAL_CLOCK
    from bobrapet.runtime.config import Controller
    from bobrapet.runtime.rest.client import RestClient
    from bobrapet.runtime.scheme import Scheme

    options = options or Options()
    scheme = Scheme()
    scheme.add_known_types(*KINDS)
    guarded = options.metrics_secure and options.metrics_bind_address not in ("", "0")
    reviews = ApiClient(RestClient(config)) if guarded else None
    keeper = await _certificate_keeper(config, options, clock or REAL_CLOCK)
    made = await manager.new(
        config,
        manager.Options(
            cluster=cluster.Options(
                scheme=scheme,
                cache=_cache_options(options),
                client_cache_unstructured=True,
                read_your_writes=True,
            ),
            # A process may hold several managers one after the other: tests, and programs that embed the operator.
            controller=Controller(skip_name_validation=True),
            leader_election=options.leader_elect,
            leader_election_id=options.leader_election_id,
            leader_election_namespace=options.leader_election_namespace,
            leader_election_release_on_cancel=True,
            lease_duration=to_seconds(options.leader_election_lease_duration),
            renew_deadline=to_seconds(options.leader_election_renew_deadline),
            retry_period=to_seconds(options.leader_election_retry_period),
            health_probe_bind_address=options.health_probe_bind_address,
            metrics=_metrics_options(options, reviews),
            webhook_server=_webhook_server(options, keeper),
        ),
        clock=clock or REAL_CLOCK,
    )
    if reviews is not None:
        made.add(_ClosedAtTheEnd(reviews))
    source = ConfigSource(ObjectKey(options.config_namespace, options.config_name), overrides=overrides(options))
    await source.load(made.get_api_reader())
    stores = Stores(
        Access(
            secrets=made.get_api_reader(),
            config_namespace=options.config_namespace,
            claims=Path(options.storage_claims_path) if options.storage_claims_path else None,
        )
    )
    made.add(_ClosedAtTheEnd(stores))
    operator = Operator(
        client=made.get_client(),
        live=made.get_api_reader(),
        clock=made.clock,
        config=source,
        outputs=stores,
        stores=stores,
        tracer=Tracer(source, shutdown_timeout=to_seconds(options.tracing_shutdown_timeout)),
    )
    if operator.tracer is not None:
        operator.tracer.prepare()
        made.add(_ClosedAtTheEnd(operator.tracer))
    await indexes.register(made.get_field_indexer())
    await wiring.add_controllers(made, operator, source)
    if keeper is not None:
        made.add(keeper)
        made.add(_ClosedAtTheEnd(keeper))
    if options.serves_webhooks:
        from bobrapet.admission import add_webhooks

        add_webhooks(made, source)
    made.add_healthz_check("healthz", healthz.ping)
    made.add_readyz_check("readyz", healthz.ping)
    return made


def rights() -> tuple[Rule, ...]:
    """All that the manager may do in the whole cluster: the rules that reconcilers and webhooks declare."""
    from bobrapet.admission import RULES
    from bobrapet.reconcilers import rbac, wiring

    return (*wiring.RBAC, *(rbac.Rule(*rule) for rule in RULES))


def certificate_rights(prefix: str) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """What `--webhook-self-signed` needs besides: in its own namespace, and in the whole cluster."""
    from bobrapet.admission import certificates
    from bobrapet.reconcilers import rbac

    local, wide = certificates.rules(prefix)
    return tuple(rbac.Rule(*rule) for rule in local), tuple(rbac.Rule(*rule) for rule in wide)


def main(arguments: Sequence[str] | None = None) -> int:
    """The process `bobrapet-manager`. Returns its exit code."""
    options = parse_flags(sys.argv[1:] if arguments is None else arguments, os.environ)
    _set_up_logging(options)
    import uvloop

    return uvloop.run(_run(options))


async def _run(options: Options) -> int:
    from bobrapet.reconcilers.operatorconfig import ConfigurationRefused
    from bobrapet.runtime.client.config import get_config
    from bobrapet.runtime.errors import ControllerRuntimeError
    from bobrapet.runtime.log.log import get_logger
    from bobrapet.runtime.manager import LeaderElectionLost, setup_signal_handler

    log = get_logger("setup")
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        if made is not None:
            made.request_stop()

    made = None
    setup_signal_handler(stop)
    try:
        made = await build(get_config(options.kubeconfig or None), options)
        if not stopped:
            log.info("starting manager", version=__version__)
            calm_the_collector()
            await made.start()
    except LeaderElectionLost as error:
        log.error("the manager ends because another replica may lead", error=error)
        return EXIT_LEASE_LOST
    except (ControllerRuntimeError, ConfigurationRefused, OSError) as error:
        log.error("the manager ends", error=error)
        return EXIT_FAILED
    return EXIT_OK


def calm_the_collector() -> None:
    """What was imported stays for good, and a reconcile makes thousands of objects that count references suffices for:
    looking at all of them every 700 objects, as Python does by itself, takes a tenth of the operator's time."""
    import gc

    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _cache_options(options: Options) -> CacheOptions:
    """What is kept in memory: our kinds whole, of built-in kinds only what carries our labels."""
    from bobrapet.api import labels
    from bobrapet.reconcilers.builtin import ConfigMap, Job, Pod, Role, RoleBinding, ServiceAccount
    from bobrapet.runtime import cache

    ours = cache.ByObject(label={labels.APP_NAME: "bobrapet"})
    namespaces = _listed(options.watch_namespaces)
    return cache.Options(
        default_namespaces={namespace: cache.Config() for namespace in namespaces} or None,
        default_transform=cache.transform_strip_managed_fields,
        default_unsafe_disable_copy=True,  # reconcilers and engine only read what they are given
        by_object={
            Job: ours,
            ServiceAccount: ours,
            Role: ours,
            RoleBinding: ours,
            Pod: cache.ByObject(label=labels.STEPRUN),
            ConfigMap: cache.ByObject(
                namespaces={options.config_namespace: cache.Config(field={"metadata.name": options.config_name})}
            ),
        },
    )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def overrides(options: Options) -> dict[str, str]:
    """What flags say about the operator's configuration, as keys of the ConfigMap."""
    pairs = (part.partition("=") for part in _listed(options.max_concurrent_reconciles))
    return {f"{name.strip().lower()}.max-concurrent-reconciles": workers.strip() for name, _, workers in pairs}


def _metrics_options(options: Options, reviews: ApiClient | None) -> MetricsOptions:
    """Where metrics are served; with `reviews`, to those only whom the API server knows and lets read them."""
    from bobrapet.runtime.metrics.filters import with_authentication_and_authorization
    from bobrapet.runtime.metrics.server import Options as MetricsOptions

    return MetricsOptions(
        bind_address=options.metrics_bind_address,
        secure_serving=options.metrics_secure,
        cert_dir=options.metrics_cert_path,
        cert_name=options.metrics_cert_name,
        key_name=options.metrics_cert_key,
        filter_provider=with_authentication_and_authorization(reviews) if reviews is not None else None,
    )


async def _certificate_keeper(config: RestConfig, options: Options, clock: Clock) -> CertificateKeeper | None:
    """Whoever keeps our own certificate, ready to serve; None when there is nothing to keep."""
    if not options.serves_webhooks or options.webhook_cert_path or options.webhook_context is not None:
        return None
    from bobrapet.admission.certificatekeeper import CertificateKeeper, ready_keeper
    from bobrapet.runtime.client.client import ApiClient
    from bobrapet.runtime.rest.client import RestClient

    # A client of its own: replicas that do not lead may not write with the manager's.
    keeper = CertificateKeeper(
        ApiClient(RestClient(config)), options.config_namespace, options.webhook_name_prefix, clock=clock
    )
    try:
        await ready_keeper(keeper, patience=CERTIFICATE_PATIENCE, clock=clock)
    except BaseException:
        await keeper.close()
        raise
    return keeper


def _webhook_server(options: Options, keeper: CertificateKeeper | None) -> WebhookServer | None:
    if not options.serves_webhooks:
        return None
    from bobrapet.runtime.webhook import Options as WebhookOptions
    from bobrapet.runtime.webhook import Server

    return Server(
        WebhookOptions(
            port=int(options.webhook_port),
            host=options.webhook_host,
            context=options.webhook_context if keeper is None else keeper.context,
            cert_dir=options.webhook_cert_path,
            cert_name=options.webhook_cert_name,
            key_name=options.webhook_cert_key,
        )
    )


class _Closable(Protocol):
    async def close(self) -> None: ...


class _ClosedAtTheEnd:
    """Closes a connection when the manager stops."""

    def __init__(self, client: _Closable) -> None:
        self._client = client

    def need_leader_election(self) -> bool:
        return False

    async def start(self) -> None:
        import asyncio

        try:
            await asyncio.Event().wait()
        finally:
            await self._client.close()


def _set_up_logging(options: Options) -> None:
    from bobrapet.runtime.log import log

    level = options.zap_log_level or ("debug" if options.zap_devel else "info")
    encoder = options.zap_encoder or ("console" if options.zap_devel else "json")
    stacktrace = options.zap_stacktrace_level or ("warn" if options.zap_devel else "error")
    log.setup(
        level=log.parse_level(level),
        encoder="console" if encoder == "console" else "json",
        time_encoding=options.zap_time_encoding,  # type: ignore[arg-type]  # the flag's choices are these words
        stacktrace_level=log.WARNING if stacktrace == "warn" else log.parse_level(stacktrace),
    )


def _not_a_duration(text: str) -> str:
    from bobrapet.api.duration import DurationError, parse_duration

    try:
        return "" if parse_duration(text) > 0 else "must be more than 0"
    except DurationError as error:
        return str(error)


def _not_a_port(text: str) -> str:
    return "" if text.isdecimal() and 0 < int(text) < 65536 else "must be a port, 1 to 65535"


def _not_workers(text: str) -> str:
    known = ("storyrun", "steprun", "story", "engram", "impulse", "template")
    for part in _listed(text):
        name, _, workers = part.partition("=")
        if name.strip().lower() not in known or not workers.strip().isdecimal() or int(workers) == 0:
            return f"{part!r} is not CONTROLLER=WORKERS with a controller of {', '.join(known)} and a number above 0"
    return ""


@dataclass(frozen=True, slots=True)
class _Flag:
    name: str
    default: str | bool
    help: str
    choices: tuple[str, ...] = ()
    refusal: Callable[[str], str] | None = None
    """Says what is wrong with a value, or nothing."""

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper().replace("-", "_")


_FLAGS: Final[Mapping[str, tuple[_Flag, ...]]] = {
    "cluster": (
        _Flag("kubeconfig", "", "file that leads to the API server; empty: KUBECONFIG, then in-cluster, then ~/.kube"),
        _Flag("config-namespace", "bobrapet-system", "namespace of the operator's ConfigMap"),
        _Flag("config-name", "bobrapet-operator-config", "name of the operator's ConfigMap; it may be absent"),
        _Flag("storage-claims-path", "", "folder with the claims of file storage, as NAMESPACE/CLAIM"),
        _Flag("watch-namespaces", "", "namespaces to look after, separated by commas; empty: all"),
        _Flag(
            "max-concurrent-reconciles",
            "",
            "workers by controller over what the ConfigMap says, for example storyrun=16,steprun=32",
            refusal=_not_workers,
        ),
    ),
    "leader election": (
        _Flag("leader-elect", False, "let only one of several replicas act"),
        _Flag("leader-election-id", "d3a8b358.bubustack.io", "name of the Lease"),
        _Flag("leader-election-namespace", "", "namespace of the Lease; empty: the pod's"),
        _Flag(
            "leader-election-lease-duration",
            "15s",
            "silence of the leader after which another takes over",
            refusal=_not_a_duration,
        ),
        _Flag(
            "leader-election-renew-deadline",
            "10s",
            "time for which the leader may fail to renew before it ends",
            refusal=_not_a_duration,
        ),
        _Flag(
            "leader-election-retry-period",
            "2s",
            "time between two tries to get or renew the Lease",
            refusal=_not_a_duration,
        ),
    ),
    "servers": (
        _Flag("health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0: off"),
        _Flag("metrics-bind-address", "0", "address of /metrics, :8443 with TLS or :8080 without; 0: off"),
        _Flag("metrics-secure", True, "serve metrics over TLS, to callers who may read them"),
        _Flag("metrics-cert-path", "", "folder of the metrics certificate; empty: self-signed"),
        _Flag("metrics-cert-name", "tls.crt", "file of the certificate in it"),
        _Flag("metrics-cert-key", "tls.key", "file of the key in it"),
        _Flag("webhook-cert-path", "", "folder of the webhook certificate"),
        _Flag("webhook-cert-name", "tls.crt", "file of the certificate in it"),
        _Flag("webhook-cert-key", "tls.key", "file of the key in it"),
        _Flag("webhook-port", "9443", "port of the webhooks", refusal=_not_a_port),
        _Flag("webhook-self-signed", False, "make and renew the webhook certificate, and have it trusted"),
        _Flag("webhook-name-prefix", "bobrapet-", "how Service, Secret and configurations of the webhooks begin"),
        _Flag("enable-http2", False, "allow HTTP/2 for metrics and webhooks"),
    ),
    "logging and tracing": (
        _Flag("zap-devel", False, "for development: console lines, debug level, stack traces from warnings on"),
        _Flag("zap-encoder", "", "json or console; empty: json, with --zap-devel console", ("", "json", "console")),
        _Flag("zap-log-level", "", "debug, info, error, panic or a positive number; empty: info"),
        _Flag("zap-stacktrace-level", "", "level from which lines carry a stack trace", ("", "info", "error", "panic")),
        _Flag(
            "zap-time-encoding",
            "rfc3339",
            "how times look",
            ("epoch", "millis", "nano", "iso8601", "rfc3339", "rfc3339nano"),
        ),
        _Flag("tracing-init-timeout", "10s", "time to reach the trace collector at the start"),
        _Flag("tracing-shutdown-timeout", "5s", "time to send the last traces at the end"),
    ),
}
_ALL_FLAGS: Final = {flag.name: flag for group in _FLAGS.values() for flag in group}
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})  # what Go's flag package reads as a boolean
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def parse_flags(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Flags as Go's package reads them: one dash or two, `--flag=value` or `--flag value`, `--flag` for booleans.

    What is not given comes from `BOBRAPET_<FLAG>`, for example BOBRAPET_LEADER_ELECT. Ends the process with 2 on bad
    usage, with 0 after --help and --version.
    """
    parser = _parser()
    given = parser.parse_args(_as_argparse_wants(arguments))
    if given.version:
        print(f"bobrapet-manager {__version__}")
        sys.exit(EXIT_OK)
    values: dict[str, Any] = {}
    for flag in _ALL_FLAGS.values():
        attribute = flag.name.replace("-", "_")
        text = getattr(given, attribute)
        source = f"--{flag.name}"
        if text is None:
            text, source = environ.get(flag.variable), flag.variable
        values[attribute] = flag.default if text is None else _value(flag, text, source, parser)
    # The switch of the Go operator; text that is no boolean leaves webhooks on.
    values["enable_webhooks"] = environ.get("ENABLE_WEBHOOKS", "") not in _FALSE
    return Options(**values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bobrapet-manager",
        description="The bobrapet operator: runs Stories on the cluster that it is pointed at.",
        epilog=f"A flag may be given as {ENVIRONMENT_PREFIX}<FLAG> too, such as {ENVIRONMENT_PREFIX}LEADER_ELECT=true. "
        "The first SIGTERM or SIGINT stops it gracefully, the second at once.",
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help="print this and exit")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    for title, flags in _FLAGS.items():
        group = parser.add_argument_group(title)
        for flag in flags:
            default = str(flag.default).lower() if isinstance(flag.default, bool) else flag.default
            group.add_argument(
                f"--{flag.name}",
                metavar="BOOL" if isinstance(flag.default, bool) else "VALUE",
                help=f"{flag.help} (default {default!r})" if default else flag.help,
            )
    return parser


def _as_argparse_wants(arguments: Sequence[str]) -> list[str]:
    """Two dashes everywhere, and a value for booleans that stand alone."""
    result = []
    for argument in arguments:
        if argument.startswith("-") and not argument.startswith("--") and argument != "-h" and len(argument) > 2:
            argument = f"-{argument}"
        flag = _ALL_FLAGS.get(argument.removeprefix("--"))
        if argument.startswith("--") and flag is not None and isinstance(flag.default, bool):
            argument = f"{argument}=true"
        result.append(argument)
    return result


def _value(flag: _Flag, text: str, source: str, parser: argparse.ArgumentParser) -> str | bool:
    if isinstance(flag.default, bool):
        if text not in _TRUE | _FALSE:
            parser.error(f"{source}: {text!r} is neither true nor false")
        return text in _TRUE
    if flag.refusal is not None and text and (refused := flag.refusal(text)):
        parser.error(f"{source}: {refused}")
    if flag.choices and text not in flag.choices:
        parser.error(f"{source}: {text!r} is none of {', '.join(filter(None, flag.choices))}")
    return text


if __name__ == "__main__":
    sys.exit(main())
