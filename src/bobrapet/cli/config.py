"""`bobrapet config`: the operator's configuration as it is, where each value comes from, and what is wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from bobrapet.cli.errors import EXIT_FAILED, EXIT_OK, CliError, UsageError
from bobrapet.cli.loops import run as run_in_loop
from bobrapet.cli.yaml_documents import Document, YamlError, load_documents
from bobrapet.config.operator import Loaded, Problem, known_keys
from bobrapet.config.reference import DEFAULT, Effective, effective
from bobrapet.manager import Options, overrides
from bobrapet.validation.faults import did_you_mean

CONFIG_MAP: Final = "ConfigMap"


@dataclass(frozen=True, kw_only=True)
class ConfigRequest:
    """The command line of `bobrapet config`."""

    file: str | None = None
    """A ConfigMap, or only its data. None: the one of the cluster."""
    kubeconfig: str = ""
    """Empty: KUBECONFIG, then that of the user; without any there is no cluster, and the defaults are shown."""
    namespace: str
    name: str
    workers: str = ""
    """`--max-concurrent-reconciles` of the manager."""
    changed: bool = False
    output: str = "text"


def show(request: ConfigRequest) -> int:
    """Prints every key with its value and source; problems go to stderr.

    Returns 1 when the operator would refuse the configuration. Raises CliError when there is none to be read.
    """
    data = run_in_loop(_from_cluster(request)) if request.file is None else _read(request.file).data
    loaded, rows = effective(data, overrides(Options(max_concurrent_reconciles=request.workers)))
    shown = [row for row in rows if row.source != DEFAULT or not request.changed]
    match request.output:
        case "json":
            print(json.dumps([_entry(row) for row in shown], indent=2))
        case "yaml":
            print(yaml.safe_dump([_entry(row) for row in shown], sort_keys=False), end="")
        case _:
            print(_table(shown), end="")
    for problem in loaded.problems:
        print(_words(problem), file=sys.stderr)
    for key in loaded.unknown:
        print(_unknown(key), file=sys.stderr)
    return EXIT_OK if loaded.is_usable else EXIT_FAILED


def check(path: str) -> int:
    """Explains what is wrong with a configuration in a file; 1 when anything is. Raises CliError without a file."""
    written = _read(path)
    loaded, _ = effective(written.data)
    found = [(written.line(problem.key), _words(problem)) for problem in loaded.problems]
    found += [(written.line(key), _unknown(key)) for key in loaded.unknown]
    for line, words in sorted(found):
        print(f"{written.source}:{line}: {words}")
    if found:
        print(_verdict(loaded))
        return EXIT_FAILED
    count = len(written.data)
    print(f"{written.source}: {count} {'key' if count == 1 else 'keys'}, all good")
    return EXIT_OK


def _verdict(loaded: Loaded) -> str:
    if not loaded.is_usable:
        return "The operator refuses this: it does not start with it, and keeps what it has when it runs."
    return "The operator takes the rest of this, and leaves out what is told above."


def _words(problem: Problem) -> str:
    kind = "error" if problem.fatal else "ignored" if problem.ignored else "doubtful"
    return f"{kind}: {problem}"


def _unknown(key: str) -> str:
    return f"unknown: {key}: no such key{did_you_mean(key, known_keys())}"


def _entry(row: Effective) -> dict[str, str]:
    return {"key": row.key, "value": row.value, "source": row.source}


def _table(rows: Sequence[Effective]) -> str:
    lines = [("KEY", "VALUE", "SOURCE"), *((row.key, row.value or "(unset)", row.source) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(2)]
    return "".join(f"{key:{widths[0]}}  {value:{widths[1]}}  {source}\n" for key, value, source in lines)


@dataclass(frozen=True, slots=True)
class _Written:
    """The data of a ConfigMap in a file."""

    source: str
    document: Document
    path: tuple[str, ...]
    data: Mapping[str, Any]

    def line(self, key: str) -> int:
        return self.document.line_of((*self.path, key))


def _read(path: str) -> _Written:
    """The one ConfigMap of a file, or the data of one standing alone."""
    source = "standard input" if path == "-" else path
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        found = [document for document in load_documents(text) if document.value is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source}: cannot be read: {error}") from error
    except YamlError as error:
        raise UsageError(f"{source}: line {error.line or 1}: {error}") from error
    for document in found:
        if not isinstance(document.value, dict):
            raise UsageError(f"{source}: line {document.line_of(())}: must be an object")
    maps = [document for document in found if document.value.get("kind") == CONFIG_MAP]
    alone = len(found) == 1 and "kind" not in found[0].value
    if len(maps) != 1 and not alone:
        raise UsageError(f"{source}: must hold one ConfigMap, or its data alone; holds {len(maps)} ConfigMaps")
    document, within = (found[0], ()) if alone else (maps[0], ("data",))
    data = document.value if alone else document.value.get("data") or {}
    if not isinstance(data, dict):
        raise UsageError(f"{source}: line {document.line_of(within)}: data must be an object")
    return _Written(source, document, within, data)


async def _from_cluster(request: ConfigRequest) -> Mapping[str, Any]:
    from bobrapet.reconcilers.builtin import ConfigMap
    from bobrapet.runtime.client.client import ApiClient
    from bobrapet.runtime.client.config import get_config
    from bobrapet.runtime.client.interfaces import get_or_none
    from bobrapet.runtime.client.object import ObjectKey
    from bobrapet.runtime.errors import ConfigError, ControllerRuntimeError
    from bobrapet.runtime.rest.client import RestClient

    try:
        config = get_config(request.kubeconfig or None)
    except ConfigError as error:
        if request.kubeconfig:
            raise CliError(str(error)) from error
        print("no cluster is configured; these are the defaults", file=sys.stderr)
        return {}
    key = ObjectKey(request.namespace, request.name)
    try:
        async with ApiClient(RestClient(config)) as client:
            found = await get_or_none(client, ConfigMap, key)
    except (ControllerRuntimeError, OSError) as error:
        raise CliError(f"ConfigMap {key} cannot be read: {error}") from error
    if found is None:
        print(f"there is no ConfigMap {key}; these are the defaults", file=sys.stderr)
        return {}
    data: Mapping[str, Any] = found.get("data") or {}
    return data
