"""A whole control plane in this process: API server, workload controllers, node and, in front of them, our operator.

`bobrapet run` and `bobrapet dev` differ only in what they do once it stands.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bobrapet.admission.configuration import Url, webhook_configurations
from bobrapet.api import KINDS
from bobrapet.api.crds import crd_manifests
from bobrapet.cli.errors import CliError, UsageError
from bobrapet.config.operator import OperatorConfig
from bobrapet.local.apiserver import AddressUnusable, ApiServer, IdentityDamaged
from bobrapet.local.apiserver import Options as ServerOptions
from bobrapet.local.node.errors import InvalidImageCommand
from bobrapet.local.node.images import ImageResolver, parse_override
from bobrapet.local.node.node import Node, NodeOptions
from bobrapet.local.store import StoreDamaged, StoreInUse
from bobrapet.reconcilers.operator import Operator
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.envtest.crd import install_crds
from bobrapet.runtime.errors import NotFound
from bobrapet.runtime.log import log
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.scheme import Scheme

if TYPE_CHECKING:
    from bobrapet.runtime.cache import Cache
    from bobrapet.runtime.manager import ControllerManager


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What to start, and where."""

    folder: Path
    """Pod folders and logs; with `persistent` also the objects, keys and the port."""

    persistent: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    images: ImageResolver | None = None
    strict: bool = False
    """Holds containers to the whole of their security contexts and limits."""


@dataclass(frozen=True)
class Stack:
    """A control plane that stands."""

    server: ApiServer
    client: ApiClient
    """Reads live, writes as the administrator."""
    operator: Operator
    """What the reconcilers work with: reads from the cache."""
    cache: Cache
    tasks: tuple[asyncio.Task[None], ...]

    async def until(self, event: asyncio.Event, timeout: float | None = None, *, with_disk: bool = False) -> bool:
        """Waits for `event`, at most `timeout` seconds; says whether it came.

        Raises what ended a part of the control plane meanwhile; `with_disk`, also when the disk refuses a write.
        """
        waiter = asyncio.create_task(event.wait())
        refused = self.server.refused if with_disk else None
        waits: set[asyncio.Future[Any]] = {waiter, *self.tasks, *([refused] if refused else [])}
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if refused is not None and refused.done():
                raise CliError(f"{refused.result()}; what was reached so far is kept")
            for task in self.tasks:
                if task.done():
                    task.result()
                    raise CliError(f"{task.get_name()} ended by itself")
            return waiter.done()
        finally:
            waiter.cancel()


def image_resolver(overrides: Sequence[str]) -> ImageResolver:
    """What `--image` asks for. Raises UsageError."""
    try:
        return ImageResolver(dict(parse_override(text) for text in overrides))
    except InvalidImageCommand as error:
        raise UsageError(str(error)) from error


def tell_about_trouble(level: int) -> None:
    """Lets the parts of the control plane speak on stderr from this level on, in lines for people."""
    log.setup(level=level, encoder="console", time_encoding="rfc3339", stacktrace_level=log.PANIC)


@asynccontextmanager
async def control_plane(options: StackOptions) -> AsyncIterator[Stack]:
    """Starts everything, and stops it in the opposite order: nothing is left behind, whatever happens inside.

    Raises:
        UsageError: the address or the data dir cannot be used: in use by somebody else, read-only, damaged.
    """
    from bobrapet import manager as operators
    from bobrapet.local.controllers import controllers

    async with AsyncExitStack() as stack:
        server = ApiServer(
            ServerOptions(data_dir=options.folder if options.persistent else None, host=options.host, port=options.port)
        )
        try:
            await server.start()
        except (AddressUnusable, IdentityDamaged, StoreInUse, StoreDamaged) as error:
            raise UsageError(str(error)) from error
        except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise UsageError(f"data dir: {error.filename}: {error.strerror}") from error
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            raise UsageError(f"data dir: {error.filename}: {error.strerror}") from error
        stack.push_async_callback(server.stop)

        config = RestConfig(host=server.url, ca_data=server.ca_pem.encode(), token=server.admin_token)
        client = await stack.enter_async_context(ApiClient(RestClient(config), scheme()))
        await install_crds(config, crd_manifests())
        if options.persistent:
            # Those of the last start lead to a port where nobody listens, and would refuse every write.
            await _withdraw_webhooks(client)

        images = options.images or ImageResolver()
        node = await stack.enter_async_context(
            Node(config, NodeOptions(data_dir=options.folder, images=images, strict=options.strict, heartbeat=False))
        )
        server.serve_logs(node.logs)

        workloads = await controllers(config)
        manager = await operators.build(
            config,
            operators.Options(
                storage_claims_path=str(options.folder / "claims"),
                webhook_host=options.host,
                webhook_port=0,
                webhook_context=server.serving_context,
            ),
        )
        tasks = (_start(stack, workloads, "the workload controllers"), _start(stack, manager, "the operator"))
        await _register_webhooks(client, manager, server, tasks)
        operator = Operator(
            client=manager.get_client(), live=manager.get_api_reader(), clock=manager.clock, config=OperatorConfig
        )
        yield Stack(server, client, operator, manager.get_cache(), tasks)


async def _register_webhooks(
    client: ApiClient, manager: ControllerManager, server: ApiServer, tasks: Sequence[asyncio.Task[None]]
) -> None:
    """Lets the API server ask the operator inside, by TLS as on a cluster, from now on."""
    webhooks = manager.get_webhook_server()
    serving = asyncio.create_task(webhooks.ready())
    await asyncio.wait({serving, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            serving.cancel()
            task.result()
            raise CliError(f"{task.get_name()} ended by itself")
    host = server.url.removesuffix(f":{server.port}")
    endpoint = Url(f"{host}:{webhooks.port}", server.ca_pem.encode())
    for configuration in webhook_configurations(endpoint):
        await client.create(Unstructured(configuration), field_owner="bobrapet")


async def _withdraw_webhooks(client: ApiClient) -> None:
    for configuration in webhook_configurations(Url("https://127.0.0.1")):
        with suppress(NotFound):
            await client.delete(Unstructured(configuration))


def scheme() -> Scheme:
    """Our kinds, for a client."""
    known = Scheme()
    known.add_known_types(*KINDS)
    return known


def _start(stack: AsyncExitStack, manager: ControllerManager, name: str) -> asyncio.Task[None]:
    """Runs a manager until the stack closes."""
    task = asyncio.create_task(manager.start(), name=name)

    async def stop() -> None:
        manager.request_stop()
        await asyncio.wait({task})

    stack.push_async_callback(stop)
    return task
