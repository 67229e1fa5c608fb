"""The configuration in words: every key with its meaning, and the values in force with where they come from.

`docs/configuration.md` is made from this, and `bobrapet config` prints it. Rules: spec admission-and-config B2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from bobrapet.api.duration import from_timedelta
from bobrapet.config.operator import (
    DEFAULT_QUEUE,
    Declared,
    Loaded,
    OperatorConfig,
    declared,
    parse,
    queue_keys,
)

AT_ONCE: Final = "at once"
"""The next reconcile or admission sees a change."""
AT_START: Final = "restart"
"""Read when the manager starts."""
WITH_STREAMING: Final = "streaming"
"""Accepted and checked; it belongs to streaming Stories, which this version does not run yet."""
NOT_USED: Final = "not used"
"""Accepted and checked, because configurations of the Go operator have it; there is nothing for it to change."""

DEFAULT: Final = "default"
CONFIG_MAP: Final = "ConfigMap"


@dataclass(frozen=True, slots=True)
class Key:
    """What a key is for."""

    name: str
    aliases: tuple[str, ...]
    rule: str
    default: str
    """As it would be written; empty: unset."""
    about: str
    takes_effect: str
    """`AT_ONCE`, `AT_START`, `WITH_STREAMING` or `NOT_USED`."""


@dataclass(frozen=True, slots=True)
class Effective:
    """The value of a key that is in force."""

    key: str
    value: str
    source: str
    """`default`, or what set it: `ConfigMap`, `flag --...`."""


def keys() -> list[Key]:
    """Every key with a fixed name, then those of a queue called NAME."""
    unset = OperatorConfig()
    fixed = [_described(each, written(_at(unset, each.path))) for each in declared()]
    return fixed + [_described(each, "0") for each in queue_keys("NAME")]


def groups() -> Iterator[tuple[str, list[Key]]]:
    """The keys by topic, in the order of the table below."""
    by_name = {key.name: key for key in keys()}
    for title, members in _ABOUT.items():
        yield title, [by_name[name] for name in members]


def effective(data: Mapping[str, Any], overrides: Mapping[str, str] | None = None) -> tuple[Loaded, list[Effective]]:
    """What the data of a ConfigMap, and on top of it `overrides` from flags, come to: every key with its value.

    Values that cannot be used are among the problems of what was loaded, and their keys show what stands instead.
    """
    overrides = overrides or {}
    loaded = parse({**data, **overrides})

    def source(path: str) -> str:
        key = loaded.sources.get(path)
        return DEFAULT if key is None else "flag" if key in overrides else CONFIG_MAP

    rows = [
        Effective(loaded.sources.get(each.path, each.key), written(_at(loaded.config, each.path)), source(each.path))
        for each in declared()
    ]
    for name in sorted(loaded.config.storyruns.queues, key=lambda name: (name != DEFAULT_QUEUE, name)):
        queue = loaded.config.storyruns.queues[name]
        rows += [
            Effective(each.key, written(getattr(queue, each.path)), source(f"storyruns.queues.{name}.{each.path}"))
            for each in queue_keys(name)
        ]
    return loaded, rows


def written(value: Any) -> str:
    """A value as its key would have it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case timedelta():
            return from_timedelta(value)
        case tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _described(each: Declared, default: str) -> Key:
    about, takes_effect = _BY_KEY[each.key]
    return Key(each.key, each.aliases, each.reader.rule, default, about, takes_effect)


def _at(config: OperatorConfig, path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _rates(kind: str, what: str) -> dict[str, tuple[str, str]]:
    return {
        f"{kind}.max-concurrent-reconciles": (
            f"{what} that are worked on at the same time. 0: controller.max-concurrent-reconciles.",
            AT_START,
        ),
        f"{kind}.rate-limiter.base-delay": ("First pause after a failed reconcile; it doubles with each.", AT_START),
        f"{kind}.rate-limiter.max-delay": ("Longest pause after failed reconciles.", AT_START),
    }


def _process(name: str, about: str) -> dict[str, tuple[str, str]]:
    return {f"engram.default-{name}": (about, AT_ONCE)}


_ABOUT: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Steps": {
        "timeout.default-step": ("Time limit of a step when nothing nearer to it sets one. Unset: 30m.", AT_ONCE),
        "timeout.approval-default": ("Time limit of gate steps. Unset: they wait without end.", AT_ONCE),
        "timeout.external-data-default": ("Time limit of wait steps. Unset: they wait without end.", AT_ONCE),
        "timeout.conditional-default": ("Time limit of condition steps. Unset: that of every step.", AT_ONCE),
        "retry.max-retries": ("Repetitions of a failed step when no retry policy says otherwise.", AT_ONCE),
        "images.pull-policy": ("When container images are pulled.", AT_ONCE),
        "job.backoff-limit": ("Restarts by the Job itself. 0 leaves repeating to the retry policy.", AT_ONCE),
        "job.ttl-seconds-after-finished": (
            "Seconds that Jobs, and the StepRuns of a finished batch run, are kept.",
            AT_ONCE,
        ),
        "job.restart-policy": ("Restart policy of pods.", AT_ONCE),
        "streaming.ttl-seconds-after-finished": ("Seconds that the steps of a finished stream are kept.", AT_ONCE),
    },
    "Resources of step pods": {
        f"resources.{whose}.{what}": (f"{about} of every step{extra}.", AT_ONCE)
        for whose, extra in (("default", ""), ("engram", "; unset: resources.default"))
        for what, about in (
            ("cpu-request", "CPU request"),
            ("cpu-limit", "CPU limit"),
            ("memory-request", "Memory request"),
            ("memory-limit", "Memory limit"),
        )
    },
    "Security of step pods": {
        "security.run-as-non-root": ("Refuses images that run as root.", AT_ONCE),
        "security.read-only-root-filesystem": ("Keeps the file system of the image as it is.", AT_ONCE),
        "security.allow-privilege-escalation": ("Lets a process gain more rights than its parent.", AT_ONCE),
        "security.drop-capabilities": ("Linux capabilities that are taken away.", AT_ONCE),
        "security.run-as-user": ("User id of the process.", AT_ONCE),
        "security.automount-service-account-token": (
            "Gives pods a token of the API server, unless the step says otherwise.",
            AT_ONCE,
        ),
        "security.service-account-name": (
            "ServiceAccount of all step pods. Empty: one that is made for each Story.",
            AT_ONCE,
        ),
        "security.allow-step-service-account-override": (
            "Lets steps and Engrams name a ServiceAccount of their own.",
            AT_ONCE,
        ),
    },
    "Runs and queues": {
        "storyrun.retention-seconds": (
            "Seconds that a finished run is kept. 0: for ever. -1: not longer than its steps.",
            AT_ONCE,
        ),
        "storyrun.max-inline-inputs-size": ("Bytes of a run's inputs; larger ones belong into storage.", AT_ONCE),
        "storyrun.global-concurrency": ("Steps that run at the same time in the whole cluster. 0: no limit.", AT_ONCE),
        "storyrun.max-story-depth": ("How deep Stories may start Stories.", AT_ONCE),
        "storyrun.queue.NAME.concurrency": ("Steps of the queue that run at the same time. 0: no limit.", AT_ONCE),
        "storyrun.queue.NAME.default-priority": ("Priority of runs that have none. Higher goes first.", AT_ONCE),
        "storyrun.queue.NAME.priority-aging-seconds": (
            "Seconds of waiting that raise a run's priority by one, 60 for the queue default. 0: never.",
            AT_ONCE,
        ),
    },
    "Stories, templates and references": {
        "references.cross-namespace-policy": (
            "What a reference into another namespace needs: nothing helps (deny), a ReferenceGrant there (grant), "
            "or nothing (allow).",
            AT_ONCE,
        ),
        "controller.max-story-with-block-size-bytes": ("Bytes of each `with` and `output` of a Story.", AT_ONCE),
        "templating.evaluation-timeout": ("Time that one template may take. 0: no limit.", AT_ONCE),
        "templating.max-output-bytes": ("Bytes that one template may give. 0: no limit.", AT_ONCE),
        "templating.deterministic": ("Takes functions away whose result is not foreseeable, such as now.", AT_ONCE),
        "templating.offloaded-data-policy": (
            "How templates read data that lies in storage: by a step of its own (inject), in the controller "
            "(controller), or not at all (error).",
            AT_ONCE,
        ),
        "templating.materialize-engram": ("The Engram that reads stored data under the policy inject.", AT_ONCE),
    },
    "Storage": {
        "controller.storage.provider": ("Where large payloads go. Empty: nowhere, they stay inline.", AT_ONCE),
        "controller.storage.s3.bucket": ("Bucket.", AT_ONCE),
        "controller.storage.s3.region": ("Region.", AT_ONCE),
        "controller.storage.s3.endpoint": ("Address of a server other than that of AWS.", AT_ONCE),
        "controller.storage.s3.use-path-style": ("Puts the bucket into the path, as most other servers want.", AT_ONCE),
        "controller.storage.s3.auth-secret-name": (
            "Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in the namespace of the operator.",
            AT_ONCE,
        ),
        "controller.storage.file.path": ("Folder of the provider file.", AT_ONCE),
        "controller.storage.file.volume-claim-name": ("Volume claim that is mounted there.", AT_ONCE),
    },
    "What components are told": {
        **_process("max-inline-size", "Bytes of an output that stays inline; larger ones go to storage."),
        **_process("max-recursion-depth", "How deep payloads are searched for references to storage."),
        **_process("storage-timeout-seconds", "Seconds that reading or writing a payload may take."),
        **_process("graceful-shutdown-timeout-seconds", "Seconds for finishing after a termination signal."),
        **_process("termination-grace-period-seconds", "Seconds that Kubernetes waits before it kills the pod."),
        **_process("grpc-port", "Port of a streaming component."),
        **_process("grpc-heartbeat-interval-seconds", "Seconds between signs of life on a stream."),
        **_process("max-recv-msg-bytes", "Bytes of the largest message that is received."),
        **_process("max-send-msg-bytes", "Bytes of the largest message that is sent."),
        **_process("dial-timeout-seconds", "Seconds for making a connection."),
        **_process("channel-buffer-size", "Messages that are held while the other side is slow."),
        **_process("reconnect-max-retries", "Attempts to make a broken connection again."),
        **_process("reconnect-base-backoff-millis", "First pause between such attempts, in milliseconds."),
        **_process("reconnect-max-backoff-seconds", "Longest pause between such attempts."),
        **_process("hang-timeout-seconds", "Seconds without progress after which a component gives up. 0: never."),
        **_process("message-timeout-seconds", "Seconds that handling one message may take."),
    },
    "Controllers": {
        "controller.max-concurrent-reconciles": (
            "Workers of a controller that has no number of its own.",
            AT_START,
        ),
        "controller.reconcile-timeout": (
            "Time after which a reconcile is tried again. 0: no limit.",
            AT_ONCE,
        ),
        "controller.requeue-base-delay": (
            "First pause of the controllers without a key for it: StoryTrigger, EffectClaim, Transport. Unset: 200ms.",
            AT_START,
        ),
        "controller.requeue-max-delay": ("Longest pause of the same controllers. Unset: 1m.", AT_START),
        "controller.cleanup-interval": ("Nothing: clean-up follows deadlines, not a clock.", NOT_USED),
        **_rates("storyrun", "StoryRuns"),
        **_rates("steprun", "StepRuns"),
        **_rates("story", "Stories"),
        **_rates("engram", "Engrams"),
        **_rates("impulse", "Impulses"),
        **_rates("template", "EngramTemplates, or ImpulseTemplates,"),
    },
    "Streaming": {
        "storyrun.binding.max-mutations-per-reconcile": (
            "TransportBindings written at once for a run.",
            WITH_STREAMING,
        ),
        "storyrun.binding.throttle-requeue-delay": ("Pause when that many were written.", WITH_STREAMING),
        "story.binding.max-mutations-per-reconcile": ("TransportBindings written at once for a Story.", WITH_STREAMING),
        "story.binding.throttle-requeue-delay": ("Pause when that many were written.", WITH_STREAMING),
        "controller.transport.grpc.enable-downstream-targets": ("Tells components where packets go.", WITH_STREAMING),
        "controller.transport.grpc.default-tls-secret": ("TLS Secret of Engrams that name none.", WITH_STREAMING),
        "controller.transport.heartbeat-interval": ("Time between signs of life of a connector.", WITH_STREAMING),
        "controller.transport.heartbeat-timeout": ("Silence after which a connector counts as gone.", WITH_STREAMING),
    },
    "Observing": {
        "debug.enable-metrics": ("Records the metrics of the operator itself.", AT_ONCE),
        "debug.enable-verbose-logging": ("Logs what is done in detail, whatever the log level says.", AT_ONCE),
        "debug.enable-step-output-logging": ("Logs size and keys, never values, of step outputs.", AT_ONCE),
        "telemetry.enabled": ("Sends traces.", AT_ONCE),
        "telemetry.trace-propagation": ("Passes the trace on to components.", AT_ONCE),
    },
}
_BY_KEY: Final = {name: about for members in _ABOUT.values() for name, about in members.items()}
