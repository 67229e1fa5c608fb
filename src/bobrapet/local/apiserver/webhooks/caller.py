"""Sends reviews over TLS and keeps the connections."""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bobrapet.local.apiserver import selectors
from bobrapet.local.apiserver.types import Object
from bobrapet.local.apiserver.webhooks.configurations import Hook
from bobrapet.local.store import Key, Store

if TYPE_CHECKING:
    import aiohttp

_MAX_ANSWER = 8 * 1024 * 1024


class CallFailed(Exception):
    """No answer came: nobody listens, TLS fails, the time is up, or the status is not 200."""


class Caller:
    """One client for all webhooks of a server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, hook: Hook, body: bytes) -> bytes:
        """The body of the answer. Raises CallFailed."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        url, host = self._target(hook)
        shown = f'Post "{_shown_url(hook)}?timeout={hook.timeout}s"'
        try:
            async with (
                asyncio.timeout(hook.timeout),
                self._session.post(
                    f"{url}?timeout={hook.timeout}s",
                    data=body,
                    headers={"Content-Type": "application/json", "Accept": "application/json"},
                    ssl=_trusting(hook.ca_bundle),
                    server_hostname=host,
                    allow_redirects=False,
                ) as response,
            ):
                answer = await response.content.read(_MAX_ANSWER + 1)
                if len(answer) > _MAX_ANSWER:
                    raise CallFailed(f"{shown}: the answer is larger than {_MAX_ANSWER} bytes")
                if response.status != 200:
                    told = answer[:200].decode(errors="replace").strip()
                    raise CallFailed(f"the server answered {response.status} {response.reason}: {told}")
                return answer
        except TimeoutError:
            raise CallFailed(f"{shown}: context deadline exceeded") from None
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise CallFailed(f"{shown}: {error}") from error

    def _target(self, hook: Hook) -> tuple[str, str | None]:
        """Where to send, and the name that the certificate must have when that is another one."""
        client = hook.client
        if url := client.get("url"):
            return url, None
        service = client["service"]
        name, namespace = service["name"], service["namespace"]
        address = self._endpoint(name, namespace, service.get("port", 443))
        path = "/" + (service.get("path") or "").lstrip("/")
        return f"https://{address}{path}", f"{name}.{namespace}.svc"

    def _endpoint(self, name: str, namespace: str, port: int) -> str:
        """A running pod behind a Service; there is no network here that would find one."""
        record = self._store.get(Key("services", namespace, name))
        if record is None:
            raise CallFailed(f'service "{name}" not found')
        spec = record.object().get("spec") or {}
        target = next(
            (entry.get("targetPort", port) for entry in spec.get("ports") or () if entry["port"] == port), None
        )
        if target is None:
            raise CallFailed(f'no service port {port} found for service "{name}"')
        selects = selectors.from_label_selector({"matchLabels": spec.get("selector") or {"": ""}})
        for pod in (record.object() for record in self._store.list("pods", namespace)):
            address = (pod.get("status") or {}).get("podIP")
            if address and _is_ready(pod) and selects is not None and selects(pod["metadata"].get("labels") or {}):
                return f"{address}:{_port(pod, target)}"
        raise CallFailed(f'no endpoints available for service "{name}"')


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def _port(pod: Object, target: Any) -> Any:
    """A named port as the number that the pod gives it."""
    ports = (port for container in pod["spec"].get("containers") or () for port in container.get("ports") or ())
    return next((port["containerPort"] for port in ports if port.get("name") == target), target)


def _shown_url(hook: Hook) -> str:
    if url := hook.client.get("url"):
        return str(url)
    service = hook.client["service"]
    path = "/" + (service.get("path") or "").lstrip("/")
    return f"https://{service['name']}.{service['namespace']}.svc:{service.get('port', 443)}{path}"


@lru_cache(maxsize=64)
def _trusting(ca_bundle: str) -> ssl.SSLContext:
    """A context that trusts these authorities, or those of the system. Making one takes milliseconds."""
    return ssl.create_default_context(cadata=ca_bundle or None)
