"""Limits that are no operator configuration (spec api 9). Bytes count UTF-8 of compact JSON."""

from __future__ import annotations

from typing import Final

MAX_STEPS: Final = 1_000
MAX_COMPENSATIONS: Final = 50
MAX_FINALLY: Final = 50
MAX_STEP_NAME: Final = 63
MAX_RETRIES: Final = 10

MAX_OBJECT_BYTES: Final = 1024 * 1024
"""A Story or StepRun as a whole."""
MAX_STORY_OUTPUT_BYTES: Final = 1024 * 1024
MAX_WITH_BLOCK_BYTES: Final = 65_536
"""Default of controller.max-story-with-block-size-bytes."""
MAX_INLINE_BYTES: Final = 4_096
"""Default of engram.default-max-inline-size."""
MIN_INLINE_BYTES: Final = 1_024
"""Used at admission when the configured inline size is 0."""
MAX_INLINE_INPUTS_BYTES: Final = 1_024
"""Default of storyrun.max-inline-inputs-size."""
MAX_SIGNAL_BYTES: Final = 8 * 1024
MAX_SIGNAL_EVENTS: Final = 256
MAX_EFFECTS: Final = 256
MAX_FAILURE_MESSAGE_BYTES: Final = 8_192

MAX_RECURSION_DEPTH: Final = 32
MAX_SCHEMA_DEFAULT_DEPTH: Final = 32

MIN_POLL_INTERVAL_SECONDS: Final = 0.01
GRACEFUL_SHUTDOWN_SECONDS: Final = 30.0
CHILD_TTL_SECONDS: Final = 3_600
STORYRUN_RETENTION_SECONDS: Final = 86_400
GRPC_PORT: Final = 50_051
