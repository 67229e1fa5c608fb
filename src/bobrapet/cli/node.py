"""`bobrapet node`: the process runner alone, as the node of any API server."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bobrapet.cli.errors import EXIT_OK, UsageError
from bobrapet.cli.loops import on_signals
from bobrapet.cli.loops import run as run_in_loop
from bobrapet.cli.stack import image_resolver
from bobrapet.cli.state import temporary_folder

if TYPE_CHECKING:
    from bobrapet.local.node.images import ImageResolver


def main(
    kubeconfig: str, images: tuple[str, ...], name: str, data_dir: str | None, address: str, strict: bool = False
) -> int:
    """Runs pods until SIGINT or SIGTERM and returns the exit code."""
    if not Path(kubeconfig).is_file():
        raise UsageError(f"--kubeconfig {kubeconfig}: no such file")
    resolver = image_resolver(images)
    with nullcontext(Path(data_dir).absolute()) if data_dir else temporary_folder() as folder:
        run_in_loop(_serve(kubeconfig, resolver, name, folder, address, strict))
    return EXIT_OK


async def _serve(kubeconfig: str, images: ImageResolver, name: str, folder: Path, address: str, strict: bool) -> None:
    from bobrapet.local.node.node import Node, NodeOptions
    from bobrapet.runtime.client.config import load_kubeconfig

    config = load_kubeconfig(kubeconfig)
    stopped = asyncio.Event()
    with on_signals(stopped.set):
        options = NodeOptions(data_dir=folder, name=name, images=images, log_port=0, address=address, strict=strict)
        async with Node(config, options):
            print(f"node {name} runs the pods of {config.host}", file=sys.stderr, flush=True)
            await stopped.wait()
