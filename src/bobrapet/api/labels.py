"""Keys that objects carry for controllers and people: labels, annotations, finalizers (spec api 8.1 to 8.3).

Labels have plain names, annotations start with `ANNOTATION_`, finalizers end with
`_FINALIZER`. Values of labels must be label-safe: see `names.label`.
"""

from __future__ import annotations

from typing import Final

# Labels. STORYRUN is the selector that finds everything of a run.
STORY: Final = "bubustack.io/story"
STORY_NAME: Final = "bubustack.io/story-name"
STORYRUN: Final = "bubustack.io/storyrun"
STEP: Final = "bubustack.io/step"
STEPRUN: Final = "bubustack.io/steprun"
PARENT_STORYRUN: Final = "bubustack.io/parent-storyrun"
PARENT_STEP: Final = "bubustack.io/parent-step"
LOOP_INDEX: Final = "bubustack.io/loop-index"
ENGRAM: Final = "bubustack.io/engram"
MATERIALIZE: Final = "bubustack.io/materialize"
QUEUE: Final = "bubustack.io/queue"
QUEUE_PRIORITY: Final = "bubustack.io/queue-priority"
CORRELATION_ID: Final = "bubustack.io/correlation-id"
HYBRID: Final = "bubustack.io/hybrid"
APP_NAME: Final = "app.kubernetes.io/name"
APP_COMPONENT: Final = "app.kubernetes.io/component"
APP_INSTANCE: Final = "app.kubernetes.io/instance"
APP_MANAGED_BY: Final = "app.kubernetes.io/managed-by"

# Annotations of workloads and runs. STORY, STORYRUN and STEP are used as annotations too, for names in full length.
ANNOTATION_PARENT_STORYRUN: Final = PARENT_STORYRUN
ANNOTATION_PARENT_STEP: Final = PARENT_STEP
ANNOTATION_PARENT_STEPRUN: Final = "bubustack.io/parent-steprun"
ANNOTATION_CORRELATION_ID: Final = CORRELATION_ID
ANNOTATION_CANCEL_REQUESTED: Final = "bubustack.io/cancel-requested"
ANNOTATION_CONTROLLER_RESOLVE: Final = "bubustack.io/controller-resolve"
ANNOTATION_RESOLVED_INPUTS: Final = "bubustack.io/resolved-inputs"
ANNOTATION_INPUTS_RESOLVED: Final = "bubustack.io/inputs-resolved"
ANNOTATION_UPSTREAM_STEP: Final = "bubustack.io/upstream-step"
ANNOTATION_DEBUG_TEMPLATE_CONTEXT: Final = "bubustack.io/debug-template-context"
ANNOTATION_TEMPLATE_CONTEXT_SUMMARY: Final = "bubustack.io/template-context-summary"
ANNOTATION_TEMPLATE_CONTEXT_SIZE: Final = "bubustack.io/template-context-size"
ANNOTATION_TRIGGER_DATA_HASH: Final = "bubustack.io/trigger-data-hash"
ANNOTATION_CONNECTOR_GENERATION: Final = "bubustack.io/connector-generation"
ANNOTATION_MATERIALIZE_PURPOSE: Final = "bubustack.io/materialize-purpose"
ANNOTATION_MATERIALIZE_TARGET_STEP: Final = "bubustack.io/materialize-target-step"
ANNOTATION_MATERIALIZE_TRANSPORT: Final = "bubustack.io/materialize-transport"
ANNOTATION_MATERIALIZE_MODE: Final = "bubustack.io/materialize-mode"
ANNOTATION_MATERIALIZE_FOR: Final = "bubustack.io/materialize-for"
ANNOTATION_MANAGED_STORAGE_SECRET: Final = "bubustack.io/managed-storage-secret"
ANNOTATION_MANAGED_STORAGE_SECRET_SOURCE: Final = "bubustack.io/managed-storage-secret-source"
ANNOTATION_TLS_SECRET: Final = "bubustack.io/tls-secret"
ANNOTATION_ENGRAM_TLS_SECRET: Final = "engram.bubustack.io/tls-secret"

# Annotations of a StoryRun's start, redrive and cancel.
ANNOTATION_STORYRUN_TRIGGER_TOKENS: Final = "bubustack.io/storyrun-trigger-tokens"
ANNOTATION_TRIGGER_TOKEN: Final = "storyrun.bubustack.io/trigger-token"
ANNOTATION_TRIGGER_INPUT_HASH: Final = "storyrun.bubustack.io/trigger-input-hash"
ANNOTATION_TRIGGER_RECORDED: Final = "storyrun.bubustack.io/trigger-recorded"
ANNOTATION_TRIGGER_REQUEST_NAME: Final = "storyrun.bubustack.io/trigger-request-name"
ANNOTATION_TRIGGER_REQUEST_UID: Final = "storyrun.bubustack.io/trigger-request-uid"
ANNOTATION_REDRIVE_TOKEN: Final = "storyrun.bubustack.io/redrive-token"
ANNOTATION_REDRIVE_OBSERVED: Final = "storyrun.bubustack.io/redrive-observed"
ANNOTATION_REDRIVE_FROM_STEP: Final = "storyrun.bubustack.io/redrive-from-step"
ANNOTATION_REDRIVE_FROM_STEP_OBSERVED: Final = "storyrun.bubustack.io/redrive-from-step-observed"
ANNOTATION_GRACEFUL_CANCEL_OBSERVED_AT: Final = "storyrun.bubustack.io/graceful-cancel-observed-at"
ANNOTATION_STEP_TIMERS: Final = "runs.bubustack.io/step-timers"

# Annotations of a StepRun's Job, counters and cache.
ANNOTATION_STEPRUN_TRIGGER_RECORDED: Final = "steprun.bubustack.io/trigger-recorded"
ANNOTATION_JOB_UID: Final = "runs.bubustack.io/job-uid"
ANNOTATION_RESTART_COUNT: Final = "runs.bubustack.io/restart-count"
ANNOTATION_RESTARTED_AT: Final = "runs.bubustack.io/restarted-at"
ANNOTATION_RUN_ATTEMPT: Final = "runs.bubustack.io/run-attempt"  # on children made after a redrive; absent: the first
ANNOTATION_ATTEMPT: Final = "runs.bubustack.io/attempt"
ANNOTATION_MANAGED_STORAGE_ANNOTATIONS: Final = "runs.bubustack.io/managed-storage-annotations"
ANNOTATION_CACHE_KEY: Final = "cache.bubustack.io/key"
ANNOTATION_CACHE_MODE: Final = "cache.bubustack.io/mode"
ANNOTATION_CACHE_TTL_SECONDS: Final = "cache.bubustack.io/ttl-seconds"
ANNOTATION_CACHE_STATUS: Final = "cache.bubustack.io/status"

# Annotations of streaming.
ANNOTATION_TRANSPORT_BINDING: Final = "transport.bubustack.io/binding"
ANNOTATION_ROUTING_MODE: Final = "transport.bubustack.io/routing-mode"
ANNOTATION_DOWNSTREAM_STEPS: Final = "transport.bubustack.io/downstream-steps"
ANNOTATION_TRANSPORT_READY: Final = "transport.bobravoz.bubustack.io/ready"
ANNOTATION_TRANSPORT_MESSAGE: Final = "transport.bobravoz.bubustack.io/message"
ANNOTATION_STORY_TRANSPORT: Final = "bobravoz.bubustack.io/transport"

STORY_FINALIZER: Final = "story.bubustack.io/finalizer"
STORYRUN_FINALIZER: Final = "storyrun.bubustack.io/finalizer"
STEPRUN_FINALIZER: Final = "steprun.bubustack.io/finalizer"
IMPULSETEMPLATE_FINALIZER: Final = "impulsetemplate.catalog.bubustack.io/finalizer"
TRANSPORT_FINALIZER: Final = "transport.bobravoz.bubustack.io/finalizer"
