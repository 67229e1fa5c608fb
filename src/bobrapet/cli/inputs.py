"""Story inputs from the command line: `--input a.b=3` and `--inputs FILE`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bobrapet.cli.errors import UsageError
from bobrapet.cli.yaml_documents import YamlError, load_documents


def gather(pairs: Iterable[str], file: str | None, *, stdin: Any = None, option: str = "--input") -> dict[str, Any]:
    """The inputs of a run: those of the file, with each pair of `option` laid over them in the order given.

    Raises:
        UsageError: a pair without `=`, a key below a value that is no object, a file that holds no object.
    """
    inputs = _read(file, stdin) if file is not None else {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise UsageError(f"{option} {pair}: write it as KEY=VALUE, for example {option} url=http://example.com")
        _set(inputs, key, _value(text), f"{option} {pair}")
    return inputs


def _value(text: str) -> Any:
    """JSON where the text is JSON, else the text. NaN and Infinity are not JSON, so they stay text."""
    try:
        return json.loads(text, parse_constant=lambda constant: (_ for _ in ()).throw(ValueError(constant)))
    except (ValueError, RecursionError):
        return text


def _set(inputs: dict[str, Any], key: str, value: Any, pair: str) -> None:
    *parents, last = key.split(".")
    if not all(parents) or not last:
        raise UsageError(f"{pair}: the key has an empty part; write nested keys as a.b=VALUE")
    target = inputs
    for parent in parents:
        child = target.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UsageError(f"{pair}: {parent!r} is already {json.dumps(child)}, so it has no keys below it")
        target = child
    target[last] = value


def _read(file: str, stdin: Any) -> dict[str, Any]:
    name = "standard input" if file == "-" else file
    try:
        text = (stdin or sys.stdin).read() if file == "-" else Path(file).read_text(encoding="utf-8")
        documents = [document.value for document in load_documents(text)]
    except OSError as error:
        raise UsageError(f"--inputs {file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--inputs {file}: not UTF-8 at byte {error.start}") from error
    except YamlError as error:
        raise UsageError(f"--inputs {name}: line {error.line}: neither YAML nor JSON: {error}") from error
    if not documents:
        return {}
    if len(documents) > 1 or not isinstance(documents[0], dict):
        raise UsageError(f"--inputs {name}: must hold one object with the Story's inputs")
    return documents[0]
