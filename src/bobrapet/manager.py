"""The operator: wires runtime, configuration and reconcilers together, and owns `bobrapet-manager`.

`build` makes a manager without servers and without leader election, for use inside another process. `main` is the
process of a cluster; what it is told is in `managerflags`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from bobrapet import __version__
from bobrapet.managerflags import EXIT_OK, Options, listed, overrides, parse_flags

if TYPE_CHECKING:
    from bobrapet.admission.certificatekeeper import CertificateKeeper
    from bobrapet.reconcilers.operatorconfig import ConfigSource
    from bobrapet.reconcilers.rbac import Rule
    from bobrapet.reconcilers.tracing import Tracer
    from bobrapet.runtime.cache import Options as CacheOptions
    from bobrapet.runtime.client.client import ApiClient
    from bobrapet.runtime.clock import Clock
    from bobrapet.runtime.manager import ControllerManager
    from bobrapet.runtime.metrics.server import Options as MetricsOptions
    from bobrapet.runtime.rest.config import RestConfig
    from bobrapet.runtime.webhook import Server as WebhookServer

__all__ = ["EXIT_OK", "Options", "build", "main", "overrides", "parse_flags"]

EXIT_FAILED: Final = 1
EXIT_LEASE_LOST: Final = 3
"""Another replica may lead now; a crash is 1. Whoever restarts the process need not look for a fault."""

CERTIFICATE_PATIENCE: Final = 60.0
"""Seconds for which the start waits until its webhook certificate can be stored; the pod is restarted afterwards."""


async def build(config: RestConfig, options: Options | None = None, *, clock: Clock | None = None) -> ControllerManager:
    """Makes the operator: `await manager.start()` runs it until it is cancelled or `request_stop()` is called.

    Reads the operator's ConfigMap, which may be absent. Raises `ConfigurationRefused` when it holds values that must
    not be used, `ApiError` or `TransportError` when it cannot be read, `OSError` when a port is taken.
    """
    from bobrapet.runtime.clock import REAL_CLOCK

    async with AsyncExitStack() as undo:
        made = await _build(config, options or Options(), clock or REAL_CLOCK, undo)
        undo.pop_all()
    return made


async def _build(config: RestConfig, options: Options, clock: Clock, undo: AsyncExitStack) -> ControllerManager:
    """`undo` closes what was opened, should the rest fail."""
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
    from bobrapet.runtime.config import Controller
    from bobrapet.runtime.rest.client import RestClient
    from bobrapet.runtime.scheme import Scheme

    scheme = Scheme()
    scheme.add_known_types(*KINDS)
    guarded = options.metrics_secure and options.metrics_bind_address not in ("", "0")
    reviews = ApiClient(RestClient(config)) if guarded else None
    if reviews is not None:
        undo.push_async_callback(reviews.close)
    keeper = await _certificate_keeper(config, options, clock)
    if keeper is not None:
        undo.push_async_callback(keeper.close)
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
        clock=clock,
    )
    undo.push_async_callback(made.discard)
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
    undo.push_async_callback(stores.close)
    made.add(_ClosedAtTheEnd(stores))
    tracer = Tracer(
        source,
        init_timeout=_seconds(options.tracing_init_timeout, 10.0),
        shutdown_timeout=_seconds(options.tracing_shutdown_timeout, 5.0),
    )
    operator = Operator(
        client=made.get_client(),
        live=made.get_api_reader(),
        clock=made.clock,
        config=source,
        outputs=stores,
        stores=stores,
        tracer=tracer,
    )
    await tracer.prepare()
    undo.push_async_callback(tracer.close)
    made.add(_Following(tracer, source))
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


def _seconds(duration: str, default: float) -> float:
    """`default` for what is not positive (admission-and-config B3)."""
    from bobrapet.api.duration import to_seconds

    found = to_seconds(duration)
    return found if found > 0 else default


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
    import asyncio

    from bobrapet.reconcilers.operatorconfig import ConfigurationRefused
    from bobrapet.runtime.client.config import get_config
    from bobrapet.runtime.errors import ControllerRuntimeError
    from bobrapet.runtime.log.log import get_logger
    from bobrapet.runtime.manager import LeaderElectionLost, setup_signal_handler

    log = get_logger("setup")
    try:
        starting = asyncio.ensure_future(_built(get_config(options.kubeconfig or None), options))

        def stop() -> None:
            if not starting.cancel():
                starting.result().request_stop()

        setup_signal_handler(stop)
        try:
            made = await starting
        except asyncio.CancelledError:
            return EXIT_OK
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


async def _built(config: RestConfig, options: Options) -> ControllerManager:
    """As `build`, waiting for an API server that is away."""
    from bobrapet.runtime.clock import REAL_CLOCK
    from bobrapet.runtime.errors import NO_SERVER
    from bobrapet.runtime.manager.absence import wait_for_api_server
    from bobrapet.runtime.manager.endpoints import Probes

    while True:
        try:
            return await build(config, options)
        except NO_SERVER as error:
            why = error
        probes = Probes(options.health_probe_bind_address)
        await wait_for_api_server(config, why, probes=probes, clock=REAL_CLOCK)


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
    namespaces = listed(options.watch_namespaces)
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


class _Following:
    """Keeps tracing as the configuration says, until the manager stops."""

    def __init__(self, tracer: Tracer, source: ConfigSource) -> None:
        self._tracer, self._changes = tracer, source.changes()

    def need_leader_election(self) -> bool:
        return False

    async def start(self) -> None:
        await self._tracer.follow(self._changes)


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


if __name__ == "__main__":
    sys.exit(main())
