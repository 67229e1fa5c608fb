"""`bobrapet storage gc`: removes stored payloads that no run needs any more."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bobrapet.api import Engram, EngramTemplate, StepRun, Story, StoryRun, StoryTrigger
from bobrapet.api.duration import DurationError, to_timedelta
from bobrapet.cli.errors import EXIT_FAILED, EXIT_OK, UsageError
from bobrapet.cli.loops import run as run_in_loop
from bobrapet.config.operator import OperatorConfig
from bobrapet.config.policy import storage_of
from bobrapet.config.storage import StorageSettings, operator_storage
from bobrapet.manager import Options as ManagerOptions
from bobrapet.reconcilers.operatorconfig import ConfigSource
from bobrapet.reconcilers.stores import Access, Stores
from bobrapet.runtime.client.interfaces import Reader
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.errors import ConfigError
from bobrapet.storage import FileStore, StorageError, Store, references
from bobrapet.storage.garbage import Living, Verdict, judge, namespaces, owner_namespace

COLLECT_TIMEOUT: Final = 3600.0
"""Seconds that listing and deleting in one store may take."""


@dataclass(frozen=True, kw_only=True)
class GcRequest:
    """The command line of `bobrapet storage gc`."""

    kubeconfig: str = ""
    data_dir: str | None = None
    claims: str | None = None
    namespace: str = ""
    older_than: str = "1h"
    cache_older_than: str = ""
    dry_run: bool = False
    as_json: bool = False


@dataclass
class Collected:
    """What was found in one store, and done."""

    store: str
    counts: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    garbage: list[str] = field(default_factory=list)
    deleted: int = 0
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        found = {
            verdict.value: {"objects": self.counts[verdict.value], "bytes": self.sizes[verdict.value]}
            for verdict in Verdict
        }
        result: dict[str, Any] = {"store": self.store, **found, "deleted": self.deleted, "paths": self.garbage}
        return result | ({"error": self.error} if self.error else {})


def main(request: GcRequest) -> int:
    """Collects, prints what was done, and returns the exit code. Raises UsageError on bad usage."""
    if request.data_dir is not None and request.kubeconfig:
        raise UsageError("--kubeconfig and --data-dir name two control planes; give one of them")
    limits = _Limits(
        _seconds("--older-than", request.older_than),
        _seconds("--cache-older-than", request.cache_older_than) if request.cache_older_than else None,
    )
    found = run_in_loop(_collect(request, limits))
    if request.as_json:
        print(json.dumps({"dryRun": request.dry_run, "stores": [one.to_json() for one in found]}, indent=2))
    else:
        _print(found, request.dry_run)
    return EXIT_FAILED if any(one.error for one in found) else EXIT_OK


@dataclass(frozen=True, slots=True)
class _Limits:
    older_than: float
    cache_older_than: float | None


@dataclass(frozen=True, slots=True)
class _Place:
    """A store, and the namespace whose Secret or claim leads to it."""

    settings: StorageSettings
    namespace: str

    def __str__(self) -> str:
        if self.settings.provider == "s3":
            return f"s3://{self.settings.bucket}" + (f" at {self.settings.endpoint}" if self.settings.endpoint else "")
        return f"claim {self.namespace}/{self.settings.volume_claim_name}"


async def _collect(request: GcRequest, limits: _Limits) -> list[Collected]:
    from bobrapet.cli.stack import scheme
    from bobrapet.runtime.client.client import ApiClient
    from bobrapet.runtime.client.config import get_config
    from bobrapet.runtime.rest.client import RestClient

    folder = Path(request.data_dir) if request.data_dir is not None else None
    if folder is not None and not (folder / "kubeconfig").is_file():
        raise UsageError(f"--data-dir {folder}: no control plane is served there; start `bobrapet dev --data-dir`")
    try:
        config = get_config(str(folder / "kubeconfig") if folder is not None else request.kubeconfig or None)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    claims = Path(request.claims) if request.claims else folder / "claims" if folder is not None else None
    defaults = ManagerOptions()
    async with ApiClient(RestClient(config), scheme()) as client:
        source = ConfigSource(ObjectKey(defaults.config_namespace, defaults.config_name))
        await source.load(client)
        # The store is listed first: what a run writes between the two looks is then not in the list.
        stores = Stores(Access(secrets=client, config_namespace=defaults.config_namespace, claims=claims))
        try:
            places = await _places(client, source(), claims)
            return [await _in_store(client, stores, place, request, limits) for place in places]
        finally:
            await stores.close()


async def _in_store(reader: Reader, stores: Stores, place: _Place, request: GcRequest, limits: _Limits) -> Collected:
    result = Collected(str(place))
    if not stores.reach(place.settings):
        result.error = "cannot be reached from here; for claims, give the folder that holds them with --claims"
        return result
    now = time.time()
    try:
        infos = await stores.call(
            place.settings, place.namespace, lambda store: list(store.list()), timeout=COLLECT_TIMEOUT
        )
        living = await _living(reader)
        doomed: list[str] = []
        for info in infos:
            verdict = judge(info, living, now, older_than=limits.older_than, cache_older_than=limits.cache_older_than)
            if request.namespace and owner_namespace(info.path) != request.namespace:
                continue
            result.counts[verdict.value] += 1
            result.sizes[verdict.value] += info.size
            if verdict is Verdict.GARBAGE:
                doomed.append(info.path)
        result.garbage = sorted(doomed)
        if not request.dry_run:
            result.deleted = await stores.call(
                place.settings,
                place.namespace,
                lambda store: _delete(store, doomed, now - limits.older_than),
                timeout=COLLECT_TIMEOUT,
            )
    except StorageError as error:
        result.error = str(error)
    return result


def _delete(store: Store, paths: Iterable[str], before: float) -> int:
    """Removes garbage, and what killed writers left half written."""
    deleted = 0
    for path in paths:
        store.delete(path)
        deleted += 1
    if isinstance(store, FileStore):
        for path in list(store.abandoned(before)):
            store.delete(path)
    return deleted


async def _places(reader: Reader, config: OperatorConfig, claims: Path | None) -> list[_Place]:
    """Every store that the operator, a Story, a step or an Engram names, once."""
    stories, engrams, templates = await asyncio.gather(
        reader.list(Story), reader.list(Engram), reader.list(EngramTemplate)
    )
    by_name = {template.metadata.name: template for template in templates.items}
    found: dict[tuple[str, ...], _Place] = {}

    def add(settings: StorageSettings | None, namespace: str) -> None:
        if settings is None or settings.problem or (settings.provider == "file" and not settings.volume_claim_name):
            return
        key = (
            ("s3", settings.endpoint, settings.bucket)
            if settings.provider == "s3"
            else ("file", namespace, settings.volume_claim_name)
        )
        found.setdefault(key, _Place(settings, namespace))

    for story in stories.items:
        namespace = story.metadata.namespace or ""
        add(storage_of(config, story=story), namespace)
        for step in (*story.spec.steps, *story.spec.compensations, *story.spec.finally_):
            if step.execution is not None:
                add(storage_of(config, story=story, step=step), namespace)
    for engram in engrams.items:
        template = by_name.get(engram.spec.template_ref.name)
        add(storage_of(config, template=template, engram=engram), engram.metadata.namespace or "")
    default = operator_storage(config)
    if default is not None and default.provider == "s3":
        add(default, "")
    return list(found.values())


async def _living(reader: Reader) -> Living:
    """Names of everything whose payloads are kept, and every path that is referred to."""
    runs, steps, triggers, stories, engrams = await asyncio.gather(
        reader.list(StoryRun),
        reader.list(StepRun),
        reader.list(StoryTrigger),
        reader.list(Story),
        reader.list(Engram),
    )

    def names(objects: Iterable[Any]) -> Iterator[tuple[str, str]]:
        for obj in objects:
            yield obj.metadata.namespace or "", obj.metadata.name or ""

    known = [(namespace, "") for namespace, _ in names((*stories.items, *engrams.items))]
    holders = (*runs.items, *steps.items, *triggers.items, *stories.items, *engrams.items)
    return Living(
        runs=namespaces([*known, *names((*runs.items, *steps.items))]),
        engrams=namespaces(names(engrams.items)),
        referred=frozenset(reference.path for obj in holders for reference in references(obj.to_wire())),
    )


def _print(found: list[Collected], dry_run: bool) -> None:
    if not found:
        print("no storage is configured")
        return
    for one in found:
        if one.error:
            print(f"{one.store}: {one.error}", file=sys.stderr)
            continue
        garbage = Verdict.GARBAGE.value
        done = "would be deleted" if dry_run else "deleted"
        kept = one.counts[Verdict.KEPT.value]
        print(
            f"{one.store}: {one.counts[garbage]} objects, {_size(one.sizes[garbage])} {done}; {kept} are in use, "
            f"{one.counts[Verdict.YOUNG.value]} too young to tell, {one.counts[Verdict.UNKNOWN.value]} not ours"
        )
        if dry_run:
            for path in one.garbage:
                print(f"  {path}")


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _seconds(option: str, text: str) -> float:
    try:
        return to_timedelta(text).total_seconds()
    except DurationError as error:
        raise UsageError(f"{option}: {error}") from error
