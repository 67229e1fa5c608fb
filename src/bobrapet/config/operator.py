"""The operator's configuration: every key of its ConfigMap, with type, default and bounds in one place.

Pure: `parse` turns the data of a ConfigMap into a configuration and a list of problems; loading and watching belong
to the caller. Rules: spec admission-and-config B1 and B2.
"""

# ruff: noqa: RUF009  (`_key` makes a field, which ruff cannot see)

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, Final, TypeVar, cast

from bobrapet.api.enums import CrossNamespacePolicy
from bobrapet.config.values import (
    KeyRefused,
    Reader,
    ValueRefused,
    boolean,
    choice,
    duration,
    integer,
    names,
    quantity,
    text,
)

_T = TypeVar("_T")
_KEY: Final = "key"
_PARSE: Final = "parse"
_ALIASES: Final = "aliases"


def _key(name: str, parse: Reader[Any], default: object, *, aliases: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={_KEY: name, _PARSE: parse, _ALIASES: aliases})


def _group(cls: Callable[[], _T]) -> Any:
    return field(default_factory=cls)


_MILLISECOND: Final = timedelta(milliseconds=1)
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_INT32: Final = 2**31 - 1

_positive = integer(at_least=1)
_not_negative = integer(at_least=0)
_count32 = integer(at_least=0, at_most=_INT32)
_span = duration(more_than=timedelta(0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Workers of one controller, and the back-off of a key that fails."""

    max_concurrent_reconciles: int | None = None
    """None: `controller.max-concurrent-reconciles`."""
    base_delay: timedelta | None = None
    max_delay: timedelta | None = None


def _rate(workers: int, base: timedelta, maximum: timedelta) -> Callable[[], Rate]:
    return lambda: Rate(max_concurrent_reconciles=workers, base_delay=base, max_delay=maximum)


@dataclass(frozen=True, kw_only=True, slots=True)
class Controller:
    """Defaults of all controllers."""

    max_concurrent_reconciles: int = _key("controller.max-concurrent-reconciles", _positive, 10)
    requeue_base_delay: timedelta | None = _key(
        "controller.requeue-base-delay", duration(at_least=10 * _MILLISECOND), None
    )
    requeue_max_delay: timedelta | None = _key("controller.requeue-max-delay", _span, None)
    cleanup_interval: timedelta = _key("controller.cleanup-interval", duration(at_least=10 * _SECOND), _HOUR)
    reconcile_timeout: timedelta = _key(
        "controller.reconcile-timeout",
        duration(at_least=5 * _SECOND, at_most=30 * _MINUTE, off=True, fatal=True, lenient_below=timedelta(0)),
        30 * _SECOND,
    )
    """Seconds after which one reconcile is cancelled and retried. Zero: no limit."""
    max_story_block_bytes: int = _key(
        "controller.max-story-with-block-size-bytes",
        integer(at_least=1024, at_most=1_048_576, fatal=True, lenient_below=1),
        65_536,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Requests and limits of a container; None inherits."""

    cpu_request: str | None = None
    cpu_limit: str | None = None
    memory_request: str | None = None
    memory_limit: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DefaultResources(Resources):
    cpu_request: str | None = _key("resources.default.cpu-request", quantity, "100m")
    cpu_limit: str | None = _key("resources.default.cpu-limit", quantity, "500m")
    memory_request: str | None = _key("resources.default.memory-request", quantity, "128Mi")
    memory_limit: str | None = _key("resources.default.memory-limit", quantity, "512Mi")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngramResources(Resources):
    cpu_request: str | None = _key("resources.engram.cpu-request", quantity, None)
    cpu_limit: str | None = _key("resources.engram.cpu-limit", quantity, None)
    memory_request: str | None = _key("resources.engram.memory-request", quantity, None)
    memory_limit: str | None = _key("resources.engram.memory-limit", quantity, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Step timeouts when nothing nearer to the step sets one; None: 30 minutes."""

    step: timedelta | None = _key("timeout.default-step", _span, None)
    approval: timedelta | None = _key("timeout.approval-default", _span, None)
    """Of gate steps. None: they wait without end."""
    external_data: timedelta | None = _key("timeout.external-data-default", _span, None)
    """Of wait steps. None: they wait without end."""
    conditional: timedelta | None = _key("timeout.conditional-default", _span, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Security:
    """Pod security. The defaults are those of the shipped ConfigMap: without one, pods are no less secure."""

    run_as_non_root: bool = _key("security.run-as-non-root", boolean, True)
    read_only_root_filesystem: bool = _key("security.read-only-root-filesystem", boolean, True)
    allow_privilege_escalation: bool = _key("security.allow-privilege-escalation", boolean, False)
    drop_capabilities: tuple[str, ...] = _key("security.drop-capabilities", names(default=("ALL",)), ("ALL",))
    run_as_user: int | None = _key("security.run-as-user", integer(at_least=1, fatal=True), 1000)
    automount_service_account_token: bool = _key("security.automount-service-account-token", boolean, False)
    service_account_name: str = _key("security.service-account-name", text, "")
    """Account of all step pods. Empty: the generated runner account of the Story."""
    allow_step_service_account_override: bool = _key("security.allow-step-service-account-override", boolean, False)
    """Whether steps and Engrams may name an account of their own; the generated Role is not bound to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    backoff_limit: int = _key("job.backoff-limit", _count32, 0)
    """0: the engine's retry policy is the only retrier (decision 7)."""
    ttl_seconds_after_finished: int = _key("job.ttl-seconds-after-finished", _count32, 3600)
    """Also: seconds that the StepRuns of a finished batch run are kept."""
    restart_policy: str = _key("job.restart-policy", choice("OnFailure", "Never"), "Never")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bindings:
    """Writes of TransportBindings per reconcile, and the pause when that budget is used up."""

    max_mutations_per_reconcile: int = 8
    throttle_requeue_delay: timedelta = 2 * _SECOND


@dataclass(frozen=True, kw_only=True, slots=True)
class RunBindings(Bindings):
    max_mutations_per_reconcile: int = _key("storyrun.binding.max-mutations-per-reconcile", _not_negative, 8)
    throttle_requeue_delay: timedelta = _key("storyrun.binding.throttle-requeue-delay", _span, 2 * _SECOND)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoryBindings(Bindings):
    max_mutations_per_reconcile: int = _key("story.binding.max-mutations-per-reconcile", _not_negative, 4)
    throttle_requeue_delay: timedelta = _key("story.binding.throttle-requeue-delay", _span, 3 * _SECOND)


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """Limits of one queue of runs."""

    concurrency: int = 0
    """Step runs of the queue at one time. 0: no limit."""
    default_priority: int = 0
    priority_aging_seconds: int = 0
    """Seconds of waiting that raise a run's priority by one. 0: never."""


DEFAULT_QUEUE: Final = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoryRuns:
    retention_seconds: int = _key("storyrun.retention-seconds", integer(at_least=-1, at_most=_INT32), 86_400)
    """Seconds that a finished run is kept. 0: for ever. -1: not at all."""
    max_inline_inputs_size: int = _key("storyrun.max-inline-inputs-size", _positive, 1024)
    global_concurrency: int = _key("storyrun.global-concurrency", _count32, 0)
    max_story_depth: int = _key("storyrun.max-story-depth", _positive, 10)
    """How deep executeStory may nest."""
    bindings: Bindings = _group(RunBindings)
    queues: Mapping[str, Queue] = field(default_factory=lambda: {DEFAULT_QUEUE: Queue(priority_aging_seconds=60)})

    def queue(self, name: str) -> Queue:
        """The limits of a queue; one that is not configured has none."""
        return self.queues.get(name, _UNLIMITED)


_UNLIMITED: Final = Queue()


@dataclass(frozen=True, kw_only=True, slots=True)
class Templating:
    evaluation_timeout: timedelta = _key(
        "templating.evaluation-timeout", duration(at_least=timedelta(0), fatal=True), 30 * _SECOND
    )
    max_output_bytes: int = _key("templating.max-output-bytes", _not_negative, 65_536)
    deterministic: bool = _key("templating.deterministic", boolean, False)
    offloaded_data_policy: str = _key(
        "templating.offloaded-data-policy", choice("error", "inject", "controller", fatal=True), "inject"
    )
    materialize_engram: str = _key("templating.materialize-engram", text, "materialize")


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    cross_namespace_policy: str = _key(
        "references.cross-namespace-policy",
        choice(*(policy.value for policy in CrossNamespacePolicy), fatal=True),
        CrossNamespacePolicy.DENY.value,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Telemetry:
    enabled: bool = _key("telemetry.enabled", boolean, False)
    trace_propagation: bool = _key("telemetry.trace-propagation", boolean, False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Debug:
    enable_verbose_logging: bool = _key("debug.enable-verbose-logging", boolean, False)
    enable_step_output_logging: bool = _key("debug.enable-step-output-logging", boolean, False)
    enable_metrics: bool = _key("debug.enable-metrics", boolean, True)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngramDefaults:
    """What a component process is told through its environment."""

    max_inline_size: int = _key("engram.default-max-inline-size", _positive, 4096)
    max_recursion_depth: int = _key("engram.default-max-recursion-depth", _positive, 32)
    grpc_port: int = _key("engram.default-grpc-port", _positive, 50051)
    grpc_heartbeat_interval_seconds: int = _key("engram.default-grpc-heartbeat-interval-seconds", _positive, 10)
    storage_timeout_seconds: int = _key("engram.default-storage-timeout-seconds", _positive, 300)
    graceful_shutdown_timeout_seconds: int = _key("engram.default-graceful-shutdown-timeout-seconds", _positive, 20)
    termination_grace_period_seconds: int = _key("engram.default-termination-grace-period-seconds", _positive, 30)
    max_recv_msg_bytes: int = _key("engram.default-max-recv-msg-bytes", _positive, 10_485_760)
    max_send_msg_bytes: int = _key("engram.default-max-send-msg-bytes", _positive, 10_485_760)
    dial_timeout_seconds: int = _key("engram.default-dial-timeout-seconds", _positive, 10)
    channel_buffer_size: int = _key("engram.default-channel-buffer-size", _positive, 16)
    reconnect_max_retries: int = _key("engram.default-reconnect-max-retries", _not_negative, 10)
    reconnect_base_backoff_millis: int = _key("engram.default-reconnect-base-backoff-millis", _positive, 500)
    reconnect_max_backoff_seconds: int = _key("engram.default-reconnect-max-backoff-seconds", _positive, 30)
    hang_timeout_seconds: int = _key("engram.default-hang-timeout-seconds", _not_negative, 0)
    message_timeout_seconds: int = _key("engram.default-message-timeout-seconds", _positive, 30)


@dataclass(frozen=True, kw_only=True, slots=True)
class S3:
    bucket: str = _key("controller.storage.s3.bucket", text, "")
    region: str = _key("controller.storage.s3.region", text, "")
    endpoint: str = _key("controller.storage.s3.endpoint", text, "")
    use_path_style: bool = _key("controller.storage.s3.use-path-style", boolean, False)
    auth_secret_name: str = _key("controller.storage.s3.auth-secret-name", text, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStorage:
    path: str = _key("controller.storage.file.path", text, "")
    volume_claim_name: str = _key("controller.storage.file.volume-claim-name", text, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """Where payloads go that are too large to be inline, unless a Story or step says otherwise."""

    provider: str = _key("controller.storage.provider", choice("s3", "file", "", fatal=True), "")
    s3: S3 = _group(S3)
    file: FileStorage = _group(FileStorage)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transport:
    enable_downstream_targets: bool = _key("controller.transport.grpc.enable-downstream-targets", boolean, True)
    default_tls_secret: str = _key("controller.transport.grpc.default-tls-secret", text, "")
    heartbeat_interval: timedelta = _key(
        "controller.transport.heartbeat-interval",
        duration(at_least=_SECOND, fatal=True, lenient_below=_MILLISECOND),
        30 * _SECOND,
    )
    heartbeat_timeout: timedelta = _key("controller.transport.heartbeat-timeout", _span, 2 * _MINUTE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Workers and back-off by controller."""

    storyrun: Rate = field(default_factory=_rate(8, 50 * _MILLISECOND, 5 * _MINUTE))
    steprun: Rate = field(default_factory=_rate(15, 100 * _MILLISECOND, 2 * _MINUTE))
    story: Rate = field(default_factory=_rate(5, 200 * _MILLISECOND, _MINUTE))
    engram: Rate = field(default_factory=_rate(5, 200 * _MILLISECOND, _MINUTE))
    impulse: Rate = field(default_factory=_rate(5, 200 * _MILLISECOND, _MINUTE))
    template: Rate = field(default_factory=_rate(2, 500 * _MILLISECOND, 10 * _MINUTE))
    transport: Rate = field(default_factory=_rate(2, 200 * _MILLISECOND, _MINUTE))


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorConfig:
    """The whole configuration. `OperatorConfig()` is what runs without a ConfigMap."""

    controller: Controller = _group(Controller)
    image_pull_policy: str = _key("images.pull-policy", choice("Always", "Never", "IfNotPresent"), "IfNotPresent")
    resources: DefaultResources = _group(DefaultResources)
    engram_resources: EngramResources = _group(EngramResources)
    max_retries: int = _key("retry.max-retries", integer(at_least=0, clamp=50), 3)
    timeouts: Timeouts = _group(Timeouts)
    security: Security = _group(Security)
    job: Job = _group(Job)
    realtime_ttl_seconds_after_finished: int = _key(
        "streaming.ttl-seconds-after-finished", _count32, 0, aliases=("realtime.ttl-seconds-after-finished",)
    )
    storyruns: StoryRuns = _group(StoryRuns)
    story_bindings: Bindings = _group(StoryBindings)
    templating: Templating = _group(Templating)
    references: References = _group(References)
    telemetry: Telemetry = _group(Telemetry)
    debug: Debug = _group(Debug)
    engram: EngramDefaults = _group(EngramDefaults)
    storage: Storage = _group(Storage)
    transport: Transport = _group(Transport)
    rates: Rates = _group(Rates)


@dataclass(frozen=True, slots=True)
class Problem:
    """A key that could not be used as written."""

    key: str
    message: str
    fatal: bool
    """Fatal: the configuration as a whole is refused, and the caller keeps the one it has."""
    value: str = ""
    """The text that was written; empty where the fault lies between several keys."""
    rule: str = ""
    """What the text must be; empty where the message is the rule."""
    ignored: bool = True
    """Whether the default stays in place of the value. False: it was read, into something that may not be meant."""

    def __str__(self) -> str:
        rule = f"; must be {self.rule}" if self.rule and self.ignored else ""
        return f"{self.key}: {self.message}{rule}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a ConfigMap says."""

    config: OperatorConfig
    problems: tuple[Problem, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    """Attribute path (`storyruns.retention_seconds`) -> the key that set it. What is missing has its default."""
    unknown: tuple[str, ...] = ()
    """Keys that mean nothing to this operator, sorted."""

    @property
    def is_usable(self) -> bool:
        return not any(problem.fatal for problem in self.problems)


def parse(data: Mapping[str, Any]) -> Loaded:
    """Reads the data of the operator's ConfigMap, starting from the defaults.

    A value that is malformed leaves its default in place and is listed as a problem; it never raises. Only a fatal
    problem means that the result must not be used (`Loaded.is_usable`).
    """
    reading = _Reading(data)
    config = reading.build(OperatorConfig)
    config = dataclasses.replace(
        config,
        storyruns=dataclasses.replace(config.storyruns, queues=reading.queues()),
        rates=reading.rates(config.rates),
    )
    reading.check(config)
    unknown = sorted(set(data) - reading.known - DEAD_KEYS)
    return Loaded(config, tuple(reading.problems), reading.sources, tuple(unknown))


@dataclass(frozen=True, slots=True)
class Declared:
    """One key as it is declared here."""

    key: str
    aliases: tuple[str, ...]
    path: str
    """Attribute path of the value in an `OperatorConfig`."""
    reader: Reader[Any]


def declared() -> tuple[Declared, ...]:
    """Every key with a fixed name; those of queues contain the queue's name (`storyrun.queue.NAME.concurrency`)."""
    rates = (
        Declared(f"{name}.{setting}", (), f"rates.{name}.{attribute}", reader)
        for name in _RATED
        for setting, (attribute, reader) in _RATE_KEYS.items()
    )
    return (*_fields(OperatorConfig), *rates)


def queue_keys(name: str) -> tuple[Declared, ...]:
    """The keys of one queue."""
    return tuple(
        Declared(f"storyrun.queue.{name}.{attribute.replace('_', '-')}", (), attribute, _count32)
        for attribute in ("concurrency", "default_priority", "priority_aging_seconds")
    )


def known_keys() -> frozenset[str]:
    """Names of the declared keys."""
    return frozenset(each.key for each in declared())


# Shipped or documented by the Go operator, read by nobody: accepted silently.
DEAD_KEYS: Final = frozenset(
    {
        "images.default-engram",
        "images.default-impulse",
        "retry.exponential-backoff-base",
        "retry.exponential-backoff-max",
        "loop.max-iterations",
        "loop.default-batch-size",
        "loop.max-batch-size",
        "loop.max-concurrency",
        "loop.max-concurrency-limit",
        "transport.enabled",
        "transport.security-mode",
    }
)

_QUEUE_KEY: Final = re.compile(r"storyrun\.queue\.(.+)\.(concurrency|default-priority|priority-aging-seconds)")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_RATED: Final = ("storyrun", "steprun", "story", "engram", "impulse", "template")
_RATE_KEYS: Final[Mapping[str, tuple[str, Reader[Any]]]] = {
    "max-concurrent-reconciles": ("max_concurrent_reconciles", _not_negative),
    "rate-limiter.base-delay": ("base_delay", duration(at_least=10 * _MILLISECOND, fatal=True)),
    "rate-limiter.max-delay": ("max_delay", duration(more_than=timedelta(0), fatal=True)),
}


class _Reading:
    """One pass over the data: collects problems and where values came from."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self.problems: list[Problem] = []
        self.sources: dict[str, str] = {}
        self.known: set[str] = set()

    def build(self, cls: type[Any], path: str = "") -> Any:
        values: dict[str, Any] = {}
        for item in dataclasses.fields(cls):
            attribute = f"{path}{item.name}"
            if _KEY in item.metadata:
                for key in (item.metadata[_KEY], *item.metadata[_ALIASES]):
                    self.known.add(key)
                    if item.name not in values and key in self._data:
                        self._read(values, item.name, attribute, key, item.metadata[_PARSE])
            elif (group := _group_class(item)) is not None:
                values[item.name] = self.build(group, f"{attribute}.")
        return cls(**values)

    def queues(self) -> dict[str, Queue]:
        found: dict[str, dict[str, int]] = {DEFAULT_QUEUE: {"priority_aging_seconds": 60}}
        for key in sorted(self._data):
            match = _QUEUE_KEY.fullmatch(key)
            if match is None:
                continue
            self.known.add(key)
            name, setting = match[1].lower(), match[2].replace("-", "_")
            if not _LABEL.fullmatch(name):
                self.problems.append(Problem(key, f'queue name "{name}" is no DNS label', fatal=True))
                continue
            self._read(found.setdefault(name, {}), setting, f"storyruns.queues.{name}.{setting}", key, _count32)
        return {name: Queue(**settings) for name, settings in found.items()}

    def rates(self, defaults: Rates) -> Rates:
        changed: dict[str, Rate] = {}
        for name in _RATED:
            values: dict[str, Any] = {}
            for setting, (attribute, read) in _RATE_KEYS.items():
                key = f"{name}.{setting}"
                self.known.add(key)
                if key in self._data:
                    self._read(values, attribute, f"rates.{name}.{attribute}", key, read)
            if values.get("max_concurrent_reconciles") == 0:
                values["max_concurrent_reconciles"] = None
            rate = dataclasses.replace(getattr(defaults, name), **values)
            if rate.base_delay and rate.max_delay and rate.base_delay > rate.max_delay:
                key = f"{name}.rate-limiter.base-delay"
                self.problems.append(Problem(key, "is longer than the max-delay beside it", fatal=True))
            changed[name] = rate
        return dataclasses.replace(defaults, **changed)

    def check(self, config: OperatorConfig) -> None:
        """The rules that look at more than one key."""
        base, maximum = config.controller.requeue_base_delay, config.controller.requeue_max_delay
        if base is not None and maximum is not None and base > maximum:
            self.problems.append(
                Problem("controller.requeue-base-delay", "is longer than controller.requeue-max-delay", fatal=False)
            )
        if config.templating.offloaded_data_policy == "inject" and not config.templating.materialize_engram:
            self.problems.append(
                Problem("templating.materialize-engram", "must name an Engram under the policy inject", fatal=True)
            )
        file = config.storage.file
        if config.storage.provider == "file" and not (file.path and file.volume_claim_name):
            self.problems.append(
                Problem(
                    "controller.storage.provider",
                    "file needs controller.storage.file.path and controller.storage.file.volume-claim-name",
                    fatal=True,
                )
            )

    def _read(self, into: dict[str, Any], name: str, path: str, key: str, read: Reader[Any]) -> None:
        written = self._data[key]
        if not isinstance(written, str):  # a file that was never a ConfigMap; the API server lets only text in
            self.problems.append(Problem(key, "must be text, so put it in quotes", False, str(written), read.rule))
            return
        try:
            into[name] = read(written)
        except ValueRefused as refusal:
            fatal = isinstance(refusal, KeyRefused)
            self.problems.append(Problem(key, str(refusal), fatal, written, read.rule))
        else:
            self.sources[path] = key
            if doubt := read.doubt(written):
                self.problems.append(Problem(key, doubt, False, written, read.rule, ignored=False))


def _group_class(item: dataclasses.Field[Any]) -> type[Any] | None:
    factory: object = item.default_factory
    is_group = isinstance(factory, type) and dataclasses.is_dataclass(factory) and factory is not Rates
    return cast("type[Any]", factory) if is_group else None


@cache
def _fields(cls: type[Any]) -> tuple[Declared, ...]:
    return tuple(_walk(cls, ""))


def _walk(cls: type[Any], path: str) -> Iterator[Declared]:
    for item in dataclasses.fields(cls):
        about = item.metadata
        if _KEY in about:
            yield Declared(about[_KEY], about[_ALIASES], f"{path}{item.name}", about[_PARSE])
        elif (group := _group_class(item)) is not None:
            yield from _walk(group, f"{path}{item.name}.")
