"""What `bobrapet-manager` is told: its options, and the flags and variables that they come from.

Flags are those of the Go operator and a few more (admission-and-config B3). Nothing is imported here that a process
which only prints its help would not need.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bobrapet import __version__

if TYPE_CHECKING:
    import ssl

EXIT_OK: Final = 0
EXIT_USAGE: Final = 2
ENVIRONMENT_PREFIX: Final = "BOBRAPET_"


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


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def overrides(options: Options) -> dict[str, str]:
    """What flags say about the operator's configuration, as keys of the ConfigMap."""
    pairs = (part.partition("=") for part in listed(options.max_concurrent_reconciles))
    return {f"{name.strip().lower()}.max-concurrent-reconciles": workers.strip() for name, _, workers in pairs}


def _not_a_duration(text: str) -> str:
    from bobrapet.api.duration import DurationError, parse_duration

    try:
        return "" if parse_duration(text) > 0 else "must be more than 0"
    except DurationError as error:
        return str(error)


def _not_an_amount_of_time(text: str) -> str:
    from bobrapet.api.duration import DurationError, parse_duration

    try:
        parse_duration(text)
    except DurationError as error:
        return str(error)
    return ""


def _not_a_port(text: str) -> str:
    return "" if text.isdecimal() and 0 < int(text) < 65536 else "must be a port, 1 to 65535"


def _not_workers(text: str) -> str:
    known = ("storyrun", "steprun", "story", "engram", "impulse", "template")
    for part in listed(text):
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
        _Flag(
            "tracing-init-timeout",
            "10s",
            "time to set tracing up at the start; 0: the default",
            refusal=_not_an_amount_of_time,
        ),
        _Flag(
            "tracing-shutdown-timeout",
            "5s",
            "time to send the last traces at the end; 0: the default",
            refusal=_not_an_amount_of_time,
        ),
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
