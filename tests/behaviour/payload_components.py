"""Components of our SDK that exchange large values; `python payload_components.py produce|consume` runs one."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bobrapet.sdk import Context, engram


@engram
def produce(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """A text, rows and a file, each of the size that was asked for."""
    size = int(input["size"])
    with TemporaryDirectory() as folder:
        file = Path(folder, "file")
        file.write_bytes(b"f" * size)
        handed = ctx.storage.upload(file) if ctx.storage.is_configured else None
    return {"text": "x" * size, "rows": [{"id": n} for n in range(size // 10)], "size": size, "file": handed}


@engram
def consume(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """What it was given, measured."""
    ctx.log.info("consuming", keys=sorted(input))
    found = {key: len(value) for key, value in input.items() if isinstance(value, str | list)}
    if input.get("file"):
        with TemporaryDirectory() as folder:
            found["file"] = ctx.storage.download(input["file"], Path(folder, "file")).stat().st_size
    return {"found": found, "kinds": {key: type(value).__name__ for key, value in input.items()}}


if __name__ == "__main__":
    {"produce": produce, "consume": consume}[sys.argv[1]].main()
