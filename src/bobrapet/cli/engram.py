"""`bobrapet engram`: an author's view of a component, before there is an image or a cluster."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bobrapet.cli import inputs
from bobrapet.cli.errors import EXIT_OK, UsageError
from bobrapet.sdk.engram import Engram
from bobrapet.sdk.environment import identity
from bobrapet.sdk.memory_api import MemoryApi
from bobrapet.sdk.process import run_step
from bobrapet.sdk.template import NoSchema, engram_template


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the command line asks for."""

    component: str
    inputs: tuple[str, ...] = ()
    inputs_file: str | None = None
    config: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    timeout: str = "30m"
    storage: str | None = None
    status: bool = False
    verbose: bool = False


def template(component: str, *, name: str, version: str, image: str, modes: tuple[str, ...]) -> int:
    """Prints the EngramTemplate as YAML. Raises UsageError."""
    found = load(component)
    try:
        manifest = engram_template(found, name=name, version=version, image=image, modes=modes or ("job",))
    except (TypeError, NoSchema) as error:
        raise UsageError(f"{component}: {error}") from error
    print(dump(manifest), end="")
    if "image" not in manifest["spec"]:
        print(
            f"note: no image; a cluster needs one: bobrapet engram template {component} --image NAME", file=sys.stderr
        )
    return EXIT_OK


def run(request: RunRequest) -> int:
    """Runs the component alone, in this process; prints its output as JSON and returns its exit code.

    Raises UsageError for a command line that cannot be.
    """
    component = load(request.component)
    environ = {
        "BUBU_STORYRUN_ID": "local",
        "BUBU_STEP_NAME": component.name,
        "BUBU_STEPRUN_NAME": f"local-{component.name}",
        "BUBU_STEPRUN_NAMESPACE": "default",
        "BUBU_STEP_ATTEMPT": "0",
        "BUBU_EXECUTION_MODE": "batch",
        "BUBU_SKIP_INPUT_TEMPLATING": "true",
        "BUBU_STEP_TIMEOUT": request.timeout,
        "BUBU_DEBUG": "true" if request.verbose else "false",
        "BUBU_TRIGGER_DATA": json.dumps(inputs.gather(request.inputs, request.inputs_file)),
        "BUBU_STEP_CONFIG": json.dumps(inputs.gather(request.config, None, option="--config")),
        **_secrets(request.secrets),
    }
    if request.storage:
        environ |= {"BUBU_STORAGE_PROVIDER": "file", "BUBU_STORAGE_PATH": str(Path(request.storage).absolute())}
    api = MemoryApi(identity(environ))
    code = run_step(component, environ, connect=lambda: api)
    status = api.step_run["status"]
    if request.status:
        print(json.dumps(status, indent=2, ensure_ascii=False))
    elif status.get("phase") == "Succeeded":
        print(json.dumps(status.get("output", {}), indent=2, ensure_ascii=False))
    if status.get("phase") != "Succeeded":
        told = status.get("lastFailureMsg") or "the component reported nothing"
        print(f"error: {component.name} ended as {status.get('phase')}: {told}", file=sys.stderr)
        if status.get("exitClass"):
            print(f"exit class {status['exitClass']}, exit code {code}", file=sys.stderr)
    return code


def load(component: str) -> Engram[..., Any]:
    """The component that `module:function` or `path/to/file.py:function` names. Raises UsageError."""
    place, separator, attribute = component.rpartition(":")
    if not separator or not place or not attribute:
        raise UsageError(f"{component}: write it as module:function or file.py:function")
    module = _module(place, component)
    found = getattr(module, attribute, None)
    if isinstance(found, Engram):
        return found
    engrams = sorted(name for name, value in vars(module).items() if isinstance(value, Engram))
    known = f"; it has {', '.join(engrams)}" if engrams else "; a function becomes one by @engram"
    raise UsageError(f"{component}: {place} has no component {attribute!r}{known}")


def dump(manifest: Mapping[str, Any]) -> str:
    return yaml.dump(dict(manifest), Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _module(place: str, component: str) -> Any:
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            if spec is None or spec.loader is None:
                raise ImportError(f"{place} is no Python file")
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            sys.path.insert(0, str(Path(place).resolve().parent))
            spec.loader.exec_module(module)
            return module
        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(place)
    except (ImportError, OSError, SyntaxError) as error:
        raise UsageError(f"{component}: {place} cannot be imported: {error}") from error


def _secrets(pairs: Iterable[str]) -> dict[str, str]:
    """`--secret api.token=value` as the variables of a Secret that is mounted by environment."""
    variables: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        logical, dot, entry = key.partition(".")
        if not separator or not dot or not logical or not entry:
            raise UsageError(f"--secret {key}: write it as NAME.KEY=VALUE, for example --secret api.token=abc")
        variables[f"BUBU_SECRET_{logical}"] = f"env:{logical}_"
        variables[f"{logical}_{entry}"] = value
    return variables
