"""The payload store of a step: what comes in by reference is read, what is too large to go out inline is stored.

A component does not see any of it, unless it asks for `ctx.storage` to hand over files. A step without references and
without large values never loads the storage code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from bobrapet.api import env
from bobrapet.sdk.errors import EnvironmentInvalid, OutputInvalid, StorageFailed, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bobrapet.sdk.environment import StepIdentity
    from bobrapet.storage import Limits, Retries, SchemaIdentity, Store

_LOG_TYPE = "application/x-ndjson"


class StepStorage:
    """`ctx.storage`: hands files to later steps, piece by piece, so that they never need to fit into memory.

        return {"archive": ctx.storage.upload(Path("/tmp/archive.tar"))}

    and in the step that reads `input.archive`:

        ctx.storage.download(input.archive, Path("/tmp/archive.tar"))
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        step: StepIdentity,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._environ = environ
        self._step = step
        self._sleep = sleep

    @property
    def is_configured(self) -> bool:
        """Whether the step has a payload store."""
        return bool(self._environ.get(env.STORAGE_PROVIDER, "").strip())

    def upload(self, source: Path, name: str = "") -> dict[str, Any]:
        """Stores a file, and returns what a later step needs to get it: `path`, `bytes` and `sha256`. Put it into the
        output. Raises StorageFailed."""
        from bobrapet.storage import output_prefix

        path = (
            f"{output_prefix(self._step.namespace, self._step.step_run, self._outputs())}/files/{name or source.name}"
        )
        with _translated():
            info = self._retries().call(lambda: self._required().upload(source, path))
        return {"path": info.path, "bytes": info.size, "sha256": info.sha256}

    def download(self, file: Mapping[str, Any] | str, target: Path) -> Path:
        """Reads a file that a step has uploaded into `target`, which appears when all of it is there and right.
        Raises StorageFailed."""
        path = str(file if isinstance(file, str) else file.get("path", ""))
        with _translated():
            info = self._retries().call(lambda: self._required().download(path, target))
        wanted = "" if isinstance(file, str) else str(file.get("sha256", ""))
        if wanted and info.sha256 and wanted != info.sha256:
            raise StorageFailed(f"{path} was replaced: expected sha256 {wanted}, found {info.sha256}")
        return target

    def resolve(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Inputs or configuration with the stored data in place of references. Raises StorageFailed."""
        if not _may_hold_reference(value):
            return value
        from bobrapet.storage import hydrate

        with _translated():
            resolved = hydrate(value, self._store, depth=self._limits.depth, retries=self._retries())
        if not isinstance(resolved, Mapping):
            raise StorageFailed(f"the stored data must be an object, not {type(resolved).__name__}")
        return resolved

    def offload(self, output: dict[str, Any]) -> dict[str, Any]:
        """The output with references in place of what is too large. Raises StorageFailed, OutputInvalid."""
        if not self.is_configured:
            return output
        from bobrapet.storage import dehydrate, output_prefix

        prefix = output_prefix(self._step.namespace, self._step.step_run, self._outputs())
        with _translated():
            try:
                found: dict[str, Any] = dehydrate(
                    output, self._store, prefix, self._limits, schema=self._schema("output"), retries=self._retries()
                )
            except (UnicodeEncodeError, msgspec.EncodeError) as error:
                raise OutputInvalid(f"the result cannot be written as JSON: {error}") from error
        return found  # an object, or a reference, which is one too

    def save_log(self, lines: bytes) -> dict[str, Any]:
        """Stores the log of this attempt; the reference for `status.logs`. Raises StorageFailed."""
        from bobrapet.api.payloads import PayloadReference
        from bobrapet.storage import Body, log_path

        step = self._step
        path = log_path(step.namespace, step.story_run or "-", step.step or "-", step.step_run, time.time_ns())
        with _translated():
            self._required().put(path, Body.of(lines, _LOG_TYPE))
        schema = self._schema("logs")
        reference = PayloadReference(path, content_type=_LOG_TYPE, schema=schema.name, schema_version=schema.version)
        return dict(reference.to_wire())

    @cached_property
    def _store(self) -> Store | None:
        from bobrapet.storage import from_environ, open_store

        settings = from_environ(self._environ)
        return open_store(settings) if settings is not None else None

    @cached_property
    def _limits(self) -> Limits:
        from bobrapet.storage import Limits

        default = Limits()
        return Limits(
            inline=self._number(env.MAX_INLINE_SIZE, default.inline),
            depth=self._number(env.MAX_RECURSION_DEPTH, 0) or default.depth,
        )

    def _required(self) -> Store:
        if self._store is None:
            raise StorageFailed("this step has no payload store; give its Story a storage policy")
        return self._store

    def _retries(self) -> Retries:
        from bobrapet.storage import Retries, operation_timeout

        return Retries(timeout=operation_timeout(self._environ), sleep=self._sleep)

    def _schema(self, what: str) -> SchemaIdentity:
        """Of which contract the data is (workloads 10.2)."""
        from bobrapet.storage import SchemaIdentity

        step = self._step
        if step.engram:
            name = f"bubu://engram/{step.namespace}/{step.engram}/{what}"
        else:
            name = f"bubu://story/{step.namespace}/{step.story}/steps/{step.step}/{what}"
        return SchemaIdentity(name, step.engram_version or step.story_version)

    def _outputs(self) -> str:
        from bobrapet.storage.layout import OUTPUTS, check_prefix

        text = self._environ.get(env.STORAGE_OUTPUT_PREFIX, "").strip()
        with _translated():
            return check_prefix(text) if text else OUTPUTS

    def _number(self, name: str, default: int) -> int:
        text = self._environ.get(name, "").strip()
        try:
            return int(text) if text else default
        except ValueError as error:
            raise EnvironmentInvalid(f"{name}={text!r} is no whole number") from error


@contextmanager
def _translated() -> Iterator[None]:
    """Turns what the storage floor raises into failures of the component."""
    from bobrapet.storage import Retriable, StorageError, StorageMisconfigured

    try:
        yield
    except Retriable as error:
        raise StorageUnavailable(str(error)) from error
    except StorageMisconfigured as error:
        raise EnvironmentInvalid(str(error)) from error
    except StorageError as error:
        raise StorageFailed(str(error)) from error


def _may_hold_reference(value: Any) -> bool:
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, Mapping):
            if env.STORAGE_REF in found:
                return True
            pending.extend(found.values())
        elif isinstance(found, list):
            pending.extend(found)
    return False
