"""Where objects lie in a store, and which paths are safe to follow (spec workloads 8, 10.2).

Paths are written by components, so they are hostile until `check_path` has seen them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from bobrapet.storage.errors import ReferenceRefused

OUTPUTS: Final = "outputs"
INPUTS: Final = "inputs"
CACHE: Final = "cache"
LOGS: Final = "logs"
ROOT_NAME: Final = "output"
REMAINDER_NAME: Final = "input"

MAX_PATH_BYTES: Final = 900  # S3 allows 1,024 bytes of key; the rest is for a prefix that a bucket may have
MAX_NAME_BYTES: Final = 200  # a file system allows 255; temporary names are longer than the final ones

_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\\]")


def check_path(path: str) -> str:
    """`path`, when it stays inside the store on every provider. Raises ReferenceRefused, saying why."""
    if not path.strip():
        raise ReferenceRefused("the storage reference is empty")
    if path.startswith("/"):
        raise ReferenceRefused(f"the storage reference {shown(path)} is absolute; paths start at the store's root")
    if _CONTROL.search(path):
        raise ReferenceRefused(f"the storage reference {shown(path)} has a backslash or a control character")
    try:
        encoded = path.encode()
    except UnicodeEncodeError as error:
        raise ReferenceRefused(f"the storage reference {shown(path)} is no valid text") from error
    if len(encoded) > MAX_PATH_BYTES:
        raise ReferenceRefused(f"the storage reference {shown(path)} has {len(encoded)} bytes, most: {MAX_PATH_BYTES}")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise ReferenceRefused(f"the storage reference {shown(path)} has the part {part!r}, which is not followed")
        if len(part.encode()) > MAX_NAME_BYTES + 10:
            raise ReferenceRefused(f"the storage reference {shown(path)} has a part longer than {MAX_NAME_BYTES} bytes")
    return path


def check_prefix(prefix: str) -> str:
    """A folder for payloads, as BUBU_STORAGE_OUTPUT_PREFIX may name it, without slashes around it."""
    return check_path(prefix.strip().strip("/"))


def check_namespace(path: str, namespace: str, prefixes: Sequence[str] = (OUTPUTS, CACHE, INPUTS)) -> None:
    """Raises ReferenceRefused when `path` is the object of another namespace.

    For who reads with rights over the whole store: a component can write any path into its output. Inputs of older
    writers have no namespace in their path (`inputs/<run>/<file>`); they are readable from everywhere.
    """
    parts = path.split("/")
    owner = parts[1] if parts[0] in prefixes and len(parts) > 2 else parts[0] if parts[1:2] == [LOGS] else namespace
    if parts[0] == INPUTS and len(parts) == 3:
        return
    if owner != namespace:
        raise ReferenceRefused(f"the storage reference {shown(path)} lies in namespace {owner}, not in {namespace}")


def output_prefix(namespace: str, steprun: str, prefix: str = OUTPUTS) -> str:
    """The folder of what a step returns."""
    return f"{prefix}/{namespace}/{steprun}"


def input_prefix(namespace: str, name: str, prefix: str = INPUTS) -> str:
    """The folder of inputs that are too large for the StepRun's process, or for the StoryRun, of that name."""
    return f"{prefix}/{namespace}/{name}"


def log_path(namespace: str, storyrun: str, step: str, steprun: str, nanoseconds: int) -> str:
    """The log of one attempt of a step."""
    return f"{namespace}/{LOGS}/{storyrun}/{step}/{steprun}/{nanoseconds}.log"


def cache_path(namespace: str, engram: str, version: str, key: str) -> str:
    """An entry of the output cache; `key` is a SHA-256 in hex."""
    return f"{CACHE}/{namespace}/{engram}/{version or 'latest'}/{key}.json"


def part_path(prefix: str, keys: Sequence[str | int], root_name: str = ROOT_NAME) -> str:
    """The object of the value at `keys` below `prefix`: `items.0.body.json`, and for the whole value `output.json`.

    Keys are data. Those that are not plain words would make a strange path, or that of another value, so they are
    told by a digest of the exact keys instead.
    """
    if not keys:
        return f"{prefix}/{root_name}.json"
    texts = [str(key) for key in keys]
    name = ".".join(texts)
    if len(name) > MAX_NAME_BYTES - 5 or not all(map(_PLAIN_KEY.fullmatch, texts)):
        digest = sha256("\0".join(f"{type(key).__name__}:{key}" for key in keys).encode(errors="surrogatepass"))
        readable = _UNSAFE.sub("_", name)[:60].strip("_")
        name = f"{readable}~{digest.hexdigest()[:16]}"
    return f"{prefix}/{name}.json"


def shown(path: str) -> str:
    """A path for a message; never longer than the message is worth."""
    return repr(path if len(path) <= 120 else path[:117] + "...")
