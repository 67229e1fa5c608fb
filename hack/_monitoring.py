"""What is watched of the operator: recording rules, alerts, and the two dashboards, from one list of expressions.

Alerts name the section of docs/operations.md that says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]

DOCS = "https://github.com/bubustack/bobrapet/blob/main/docs/operations.md"
ENDED = "Succeeded|Failed|Finished|Canceled|Compensated|Timeout|Aborted"
BAD = "Failed|Timeout|Aborted"


def recorded(name: str, expression: str) -> Object:
    return {"record": name, "expr": expression}


def alert(name: str, expression: str, *, after: str, severity: str, summary: str, description: str) -> Object:
    return {
        "alert": name,
        "expr": expression,
        "for": after,
        "labels": {"severity": severity},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": f"{DOCS}#{name.lower()}",
        },
    }


RECORDING: list[Object] = [
    recorded(
        "bobrapet:storyruns_ended:rate5m",
        f'sum by (namespace, story, phase) (rate(bobrapet_storyruns_total{{phase=~"{ENDED}"}}[5m]))',
    ),
    recorded(
        "bobrapet:storyruns_failed:ratio_rate1h",
        f'sum by (namespace, story) (rate(bobrapet_storyruns_total{{phase=~"{BAD}"}}[1h]))'
        f' / sum by (namespace, story) (rate(bobrapet_storyruns_total{{phase=~"{ENDED}"}}[1h]))',
    ),
    recorded(
        "bobrapet:storyrun_duration_seconds:p95_5m",
        "histogram_quantile(0.95, sum by (namespace, story, le) (rate(bobrapet_storyrun_duration_seconds_bucket[5m])))",
    ),
    recorded(
        "bobrapet:steprun_duration_seconds:p95_5m",
        "histogram_quantile(0.95, sum by (namespace, engram, le) (rate(bobrapet_steprun_duration_seconds_bucket[5m])))",
    ),
    recorded(
        "bobrapet:reconcile_errors:ratio_rate5m",
        "sum by (controller) (rate(controller_runtime_reconcile_errors_total[5m]))"
        " / sum by (controller) (rate(controller_runtime_reconcile_total[5m]))",
    ),
    recorded(
        "bobrapet:webhook_latency_seconds:p99_5m",
        "histogram_quantile(0.99, sum by (webhook, le) (rate(controller_runtime_webhook_latency_seconds_bucket[5m])))",
    ),
    recorded(
        "bobrapet:event_loop_lag_seconds:p99_5m",
        "histogram_quantile(0.99, sum by (pod, le) (rate(bobrapet_runtime_event_loop_lag_seconds_bucket[5m])))",
    ),
]

ALERTS: list[Object] = [
    alert(
        "BobrapetManagerDown",
        "absent(bobrapet_build_info)",
        after="5m",
        severity="critical",
        summary="No manager of bobrapet is scraped.",
        description="Runs do not move on and, with webhooks, no Story can be changed. Steps that run keep running.",
    ),
    alert(
        "BobrapetNoLeader",
        "max by (name) (leader_election_master_status) == 0",
        after="2m",
        severity="critical",
        summary="No replica of bobrapet leads.",
        description="Replicas answer webhooks, but none of them holds the Lease {{ $labels.name }}: runs do not move on.",
    ),
    alert(
        "BobrapetReconcileErrors",
        "bobrapet:reconcile_errors:ratio_rate5m > 0.1",
        after="15m",
        severity="warning",
        summary="The {{ $labels.controller }} controller of bobrapet fails often.",
        description="{{ $value | humanizePercentage }} of its reconciles end in an error and are tried again.",
    ),
    alert(
        "BobrapetReconcileStuck",
        "max by (controller) (workqueue_longest_running_processor_seconds) > 300",
        after="5m",
        severity="critical",
        summary="A reconcile of the {{ $labels.controller }} controller does not end.",
        description="It has been running for {{ $value | humanizeDuration }}.",
    ),
    alert(
        "BobrapetQueueBacklog",
        "sum by (controller) (workqueue_depth) > 1000",
        after="15m",
        severity="warning",
        summary="The {{ $labels.controller }} controller of bobrapet falls behind.",
        description="{{ $value }} objects wait for a worker.",
    ),
    alert(
        "BobrapetWebhookErrors",
        'sum by (webhook) (rate(controller_runtime_webhook_requests_total{code!="200"}[5m])) > 0',
        after="5m",
        severity="warning",
        summary="The webhook {{ $labels.webhook }} of bobrapet fails.",
        description="The API server refuses what it cannot have checked.",
    ),
    alert(
        "BobrapetWebhookSlow",
        "bobrapet:webhook_latency_seconds:p99_5m > 2",
        after="10m",
        severity="warning",
        summary="The webhook {{ $labels.webhook }} of bobrapet is slow.",
        description="99 % of its answers take up to {{ $value | humanizeDuration }}; the API server gives up after 10 s.",
    ),
    alert(
        "BobrapetWebhookCertificateExpires",
        "min by (namespace, pod) (bobrapet_webhook_certificate_expiration_timestamp_seconds > 0) - time() < 14 * 86400",
        after="1h",
        severity="warning",
        summary="The webhook certificate of bobrapet is not renewed.",
        description="It expires in {{ $value | humanizeDuration }}; it should have been renewed weeks ago.",
    ),
    alert(
        "BobrapetEventLoopLag",
        "bobrapet:event_loop_lag_seconds:p99_5m > 1",
        after="10m",
        severity="warning",
        summary="A manager of bobrapet is short of CPU.",
        description="Its event loop wakes tasks up to {{ $value | humanizeDuration }} late; a late renewal costs the lease.",
    ),
    alert(
        "BobrapetStoryRunsFail",
        "bobrapet:storyruns_failed:ratio_rate1h > 0.5",
        after="15m",
        severity="warning",
        summary="Most runs of Story {{ $labels.namespace }}/{{ $labels.story }} fail.",
        description="{{ $value | humanizePercentage }} of the runs of the last hour did not succeed.",
    ),
    alert(
        "BobrapetStepsWaitLong",
        "histogram_quantile(0.9, sum by (namespace, queue, le) (rate(bobrapet_storyrun_queue_age_seconds_bucket[15m])))"
        " > 600",
        after="15m",
        severity="warning",
        summary="Steps of queue {{ $labels.queue }} in {{ $labels.namespace }} wait for slots.",
        description="A tenth of them waited longer than {{ $value | humanizeDuration }}.",
    ),
]


def rule_groups() -> list[Object]:
    return [
        {"name": "bobrapet.recording", "rules": RECORDING},
        {"name": "bobrapet.alerts", "rules": ALERTS},
    ]


@dataclass(frozen=True)
class Panel:
    title: str
    queries: dict[str, str]
    """Legend -> expression."""

    unit: str = "short"
    kind: str = "timeseries"
    wide: bool = False


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    description: str
    rows: dict[str, list[Panel]]
    variables: dict[str, str] = field(default_factory=dict)
    """Name -> the query for its values."""

    def expressions(self) -> list[str]:
        return [text for panels in self.rows.values() for panel in panels for text in panel.queries.values()]

    def json(self) -> Object:
        panels: list[Object] = []
        y = 0
        for title, row in self.rows.items():
            panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, y, 24, 1)})
            y, x = y + 1, 0
            for panel in row:
                width = 24 if panel.wide else 4 if panel.kind == "stat" else 8
                height = 4 if panel.kind == "stat" else 8
                if x + width > 24:
                    x, y = 0, y + 8
                panels.append(_panel(panel, _place(x, y, width, height)))
                x += width
            y += 8
        for number, each in enumerate(panels, 1):
            each["id"] = number
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["bobrapet"],
            "timezone": "browser",
            "editable": True,
            "schemaVersion": 39,
            "version": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "templating": {"list": [_source(), *(_variable(*each) for each in self.variables.items())]},
            "panels": panels,
        }


def _place(x: int, y: int, width: int, height: int) -> Object:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, place: Object) -> Object:
    targets = [
        {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend, "datasource": SOURCE}
        for number, (legend, expression) in enumerate(panel.queries.items())
    ]
    options: Object = {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}}
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": options,
        "targets": targets,
    }


SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _source() -> Object:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(name: str, query: str) -> Object:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


OPERATOR = Dashboard(
    uid="bobrapet-operator",
    title="bobrapet / Operator",
    description="Whether the controller-manager is well: controllers, queues, webhooks, requests, the process.",
    rows={
        "At a glance": [
            Panel("Managers", {"managers": "count(bobrapet_build_info)"}, kind="stat"),
            Panel("Leaders", {"leaders": "sum(leader_election_master_status)"}, kind="stat"),
            Panel("Reconciles", {"": "sum(rate(controller_runtime_reconcile_total[5m]))"}, "ops", kind="stat"),
            Panel("Reconcile errors", {"": "sum(rate(controller_runtime_reconcile_errors_total[5m]))"}, "ops", "stat"),
            Panel("Waiting objects", {"": "sum(workqueue_depth)"}, kind="stat"),
            Panel(
                "Certificate expires in",
                {"": "min(bobrapet_webhook_certificate_expiration_timestamp_seconds) - time()"},
                "s",
                kind="stat",
            ),
        ],
        "Controllers": [
            Panel(
                "Reconciles by result",
                {
                    "{{controller}} {{result}}": "sum by (controller, result) (rate(controller_runtime_reconcile_total[5m]))"
                },
                "ops",
            ),
            Panel(
                "Time of a reconcile, 95 %",
                {
                    "{{controller}}": "histogram_quantile(0.95, sum by (controller, le) "
                    "(rate(controller_runtime_reconcile_time_seconds_bucket[5m])))"
                },
                "s",
            ),
            Panel(
                "Workers busy",
                {
                    "{{controller}}": "sum by (controller) (controller_runtime_active_workers)",
                    "{{controller}} limit": "sum by (controller) (controller_runtime_max_concurrent_reconciles)",
                },
            ),
            Panel("Queue depth", {"{{controller}}": "sum by (controller) (workqueue_depth)"}),
            Panel(
                "Wait in the queue, 95 %",
                {
                    "{{controller}}": "histogram_quantile(0.95, sum by (controller, le) "
                    "(rate(workqueue_queue_duration_seconds_bucket[5m])))"
                },
                "s",
            ),
            Panel(
                "Retries and longest run",
                {
                    "{{controller}} retries": "sum by (controller) (rate(workqueue_retries_total[5m]))",
                    "{{controller}} longest, s": "max by (controller) (workqueue_longest_running_processor_seconds)",
                },
            ),
        ],
        "Admission": [
            Panel(
                "Reviews",
                {
                    "{{webhook}} {{code}}": "sum by (webhook, code) (rate(controller_runtime_webhook_requests_total[5m]))"
                },
                "ops",
            ),
            Panel(
                "Time of a review, 99 %",
                {
                    "{{webhook}}": "histogram_quantile(0.99, sum by (webhook, le) "
                    "(rate(controller_runtime_webhook_latency_seconds_bucket[5m])))"
                },
                "s",
            ),
            Panel(
                "Reviews under way", {"{{webhook}}": "sum by (webhook) (controller_runtime_webhook_requests_in_flight)"}
            ),
        ],
        "API server": [
            Panel(
                "Requests by answer",
                {"{{method}} {{code}}": "sum by (method, code) (rate(rest_client_requests_total[5m]))"},
                "ops",
            ),
            Panel("Objects in memory", {"{{kind}}": "sum by (kind) (bobrapet_runtime_informer_objects)"}),
            Panel(
                "Events of watches",
                {"{{kind}}": "sum by (kind) (rate(bobrapet_runtime_watch_events_total[5m]))"},
                "ops",
            ),
        ],
        "Process": [
            Panel("Memory", {"{{pod}}": "process_resident_memory_bytes and on () bobrapet_build_info"}, "bytes"),
            Panel("CPU", {"{{pod}}": "rate(process_cpu_seconds_total[5m]) and on () bobrapet_build_info"}),
            Panel(
                "Event loop lag, 99 %",
                {
                    "{{pod}}": "histogram_quantile(0.99, sum by (pod, le) "
                    "(rate(bobrapet_runtime_event_loop_lag_seconds_bucket[5m])))"
                },
                "s",
            ),
        ],
    },
)

_IN = 'namespace=~"$namespace"'
RUNS = Dashboard(
    uid="bobrapet-runs",
    title="bobrapet / Runs",
    description="What Stories do: runs, steps, attempts, queues.",
    variables={"namespace": "label_values(bobrapet_storyruns_total, namespace)"},
    rows={
        "At a glance": [
            Panel(
                "Started", {"": f'sum(increase(bobrapet_storyruns_total{{{_IN},phase="Running"}}[1h]))'}, kind="stat"
            ),
            Panel(
                "Succeeded",
                {"": f'sum(increase(bobrapet_storyruns_total{{{_IN},phase="Succeeded"}}[1h]))'},
                kind="stat",
            ),
            Panel("Failed", {"": f'sum(increase(bobrapet_storyruns_total{{{_IN},phase=~"{BAD}"}}[1h]))'}, kind="stat"),
            Panel("Steps active", {"": f"sum(bobrapet_storyrun_steps_active{{{_IN}}})"}, kind="stat"),
            Panel("Retries", {"": f"sum(increase(bobrapet_steprun_retries_total{{{_IN}}}[1h]))"}, kind="stat"),
            Panel("Steps in open runs", {"": f"sum(bobrapet_storyrun_steps_completed{{{_IN}}})"}, kind="stat"),
        ],
        "Stories": [
            Panel(
                "Runs that ended",
                {
                    "{{story}} {{phase}}": "sum by (namespace, story, phase) "
                    f'(rate(bobrapet_storyruns_total{{{_IN},phase=~"{ENDED}"}}[5m]))'
                },
                "ops",
            ),
            Panel(
                "Time of a run, median and 95 %",
                {
                    f"{{{{story}}}} {name}": f"histogram_quantile({quantile}, sum by (namespace, story, le) "
                    f"(rate(bobrapet_storyrun_duration_seconds_bucket{{{_IN}}}[5m])))"
                    for name, quantile in (("median", 0.5), ("95 %", 0.95))
                },
                "s",
            ),
            Panel(
                "Kept after the end",
                {"{{story}} {{window}}": f"max by (story, window) (bobrapet_storyrun_window_seconds{{{_IN}}})"},
                "s",
            ),
        ],
        "Steps": [
            Panel(
                "Steps by phase",
                {"{{engram}} {{phase}}": f"sum by (engram, phase) (rate(bobrapet_stepruns_total{{{_IN}}}[5m]))"},
                "ops",
            ),
            Panel(
                "Time of a step, 95 %",
                {
                    "{{engram}}": "histogram_quantile(0.95, sum by (engram, le) "
                    f"(rate(bobrapet_steprun_duration_seconds_bucket{{{_IN}}}[5m])))"
                },
                "s",
            ),
            Panel(
                "Retries by exit class",
                {
                    "{{engram}} {{reason}}": f"sum by (engram, reason) (rate(bobrapet_steprun_retries_total{{{_IN}}}[5m]))"
                },
                "ops",
            ),
            Panel(
                "Attempts by image",
                {"{{image}} {{result}}": f"sum by (image, result) (rate(bobrapet_job_execution_total{{{_IN}}}[5m]))"},
                "ops",
            ),
            Panel(
                "Time of an attempt, 95 %",
                {
                    "{{image}}": "histogram_quantile(0.95, sum by (image, le) "
                    f"(rate(bobrapet_job_execution_duration_seconds_bucket{{{_IN}}}[5m])))"
                },
                "s",
            ),
            Panel(
                "Objects deleted",
                {"{{resource_type}}": "sum by (resource_type) (rate(bobrapet_resource_cleanup_total[5m]))"},
                "ops",
            ),
        ],
        "Queues": [
            Panel(
                "Steps that wait for a slot", {"{{queue}}": f"sum by (queue) (bobrapet_storyrun_queue_depth{{{_IN}}})"}
            ),
            Panel(
                "Wait for a slot, 90 %",
                {
                    "{{queue}}": "histogram_quantile(0.9, sum by (queue, le) "
                    f"(rate(bobrapet_storyrun_queue_age_seconds_bucket{{{_IN}}}[5m])))"
                },
                "s",
            ),
            Panel(
                "Steps readied in one pass, 95 %",
                {
                    "{{type}}": "histogram_quantile(0.95, sum by (type, le) (rate(bobrapet_dag_iteration_steps_bucket[5m])))"
                },
            ),
        ],
    },
)

DASHBOARDS = {"operator": OPERATOR, "runs": RUNS}
