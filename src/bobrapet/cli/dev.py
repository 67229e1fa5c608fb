"""`bobrapet dev`: a control plane that keeps running, for kubectl and any Kubernetes client."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from pathlib import Path

from bobrapet.cli.checks import check_manifests
from bobrapet.cli.errors import EXIT_OK, EXIT_USAGE, ManifestError, UsageError
from bobrapet.cli.loops import on_signals
from bobrapet.cli.loops import run as run_in_loop
from bobrapet.cli.manifests import Manifest, load
from bobrapet.cli.state import temporary_folder
from bobrapet.validation.scene import Absent


def main(
    paths: tuple[str, ...],
    data_dir: str | None,
    listen: str,
    images: tuple[str, ...],
    namespace: str,
    strict: bool = False,
) -> int:
    """Serves until SIGINT or SIGTERM and returns the exit code."""
    host, port = _address(listen)
    try:
        manifests = load(paths)
        for warning in check_manifests(manifests, namespace, absent=Absent.WARNS):
            print(f"warning: {warning}", file=sys.stderr)
        with nullcontext(_existing(data_dir)) if data_dir else temporary_folder() as folder:
            run_in_loop(_serve(manifests, folder, host, port, images, namespace, strict))
    except ManifestError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


async def _serve(
    manifests: list[Manifest], folder: Path, host: str, port: int, images: tuple[str, ...], namespace: str, strict: bool
) -> None:
    from bobrapet.cli.apply import apply_all
    from bobrapet.cli.stack import StackOptions, control_plane, image_resolver, tell_about_trouble
    from bobrapet.runtime.log import log

    stopped = asyncio.Event()
    tell_about_trouble(log.WARNING)
    options = StackOptions(
        folder=folder, persistent=True, host=host, port=port, images=image_resolver(images), strict=strict
    )
    with on_signals(stopped.set):
        async with control_plane(options) as stack:
            kubeconfig = folder / "kubeconfig"
            stack.server.write_kubeconfig(kubeconfig)
            placed = await apply_all(stack.client, manifests, namespace)
            for line in (
                f"kubeconfig: {kubeconfig}",
                f"api: {stack.server.url}",
                *([f"applied: {len(placed)} objects"] if placed else []),
                "",
                "try:",
                f"  export KUBECONFIG={kubeconfig}",
                "  kubectl get stories,storyruns,stepruns -A",
                "  kubectl apply -f examples/batch-etl",
                "",
                "ready",
            ):
                print(line)
            sys.stdout.flush()
            await stack.until(stopped)


def _address(listen: str) -> tuple[str, int]:
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {listen}: write it as HOST:PORT, for example 127.0.0.1:0 for any free port")
    return host.strip("[]") or "127.0.0.1", int(port)


def _existing(data_dir: str) -> Path:
    folder = Path(data_dir).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except FileExistsError as error:
        raise UsageError(f"--data-dir {data_dir}: is no folder") from error
    except OSError as error:
        raise UsageError(f"--data-dir {data_dir}: {error.strerror}") from error
    return folder
