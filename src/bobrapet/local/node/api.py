"""The requests that a node makes, in its own words, over the runtime's REST client.

A kubelet needs few verbs on few kinds; plain objects are enough for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from bobrapet.runtime.errors import AlreadyExists, NotFound
from bobrapet.runtime.rest.client import RestClient

MERGE = "application/merge-patch+json"
STRATEGIC_MERGE = "application/strategic-merge-patch+json"
LEASE_SECONDS = 40  # a kubelet's nodeLeaseDurationSeconds; it renews at a quarter of it
Object = dict[str, Any]


class NodeApi:
    """What the node asks of the API server. Raises the runtime's `ApiError` and `TransportError`."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    async def bind(self, pod: Mapping[str, Any], node: str) -> None:
        """Assigns the pod to the node, as a scheduler does."""
        meta = pod["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._write("POST", f"{_pod_path(pod)}/binding", body)

    async def patch_status(self, pod: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        """Writes the fields of `status`; refused with Conflict when another pod has the name by now."""
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        return await self._write("PATCH", f"{_pod_path(pod)}/status", body, STRATEGIC_MERGE)

    async def delete_now(self, pod: Mapping[str, Any]) -> None:
        """Removes a pod whose containers are gone, once its finalizers allow."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": pod["metadata"]["uid"]},
        }
        await self._write("DELETE", _pod_path(pod), body)

    async def get_object(self, kind: str, namespace: str, name: str) -> Object | None:
        """A Secret or ConfigMap; None when there is none."""
        plural = {"Secret": "secrets", "ConfigMap": "configmaps"}[kind]
        try:
            answer = await self._client.request("GET", f"/api/v1/namespaces/{_q(namespace)}/{plural}/{_q(name)}")
        except NotFound:
            return None
        return _decoded(answer)

    async def token(
        self, pod: Mapping[str, Any], service_account: str, audience: str | None, seconds: int
    ) -> tuple[str, datetime]:
        """A token of the ServiceAccount that is worth as long as the pod exists, and when it expires."""
        meta = pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": bound,
            },
        }
        namespace = _q(meta["namespace"])
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{_q(service_account)}/token"
        status = (await self._write("POST", path, body))["status"]
        return status["token"], datetime.fromisoformat(status["expirationTimestamp"].replace("Z", "+00:00"))

    async def create_event(self, event: Mapping[str, Any]) -> None:
        """Records an Event."""
        await self._write("POST", f"/api/v1/namespaces/{_q(event['metadata']['namespace'])}/events", event)

    async def register(self, node: Mapping[str, Any]) -> Object:
        """Creates the Node object, or brings the status of the existing one up to date; answers what is stored."""
        name = node["metadata"]["name"]
        try:
            stored = await self._write("POST", "/api/v1/nodes", node)
        except AlreadyExists:
            stored = {}
        body = {"metadata": {"labels": node["metadata"].get("labels") or {}}}
        if not stored:
            stored = await self._write("PATCH", f"/api/v1/nodes/{_q(name)}", body, STRATEGIC_MERGE)
        return await self._write("PATCH", f"/api/v1/nodes/{_q(name)}/status", {"status": node["status"]}, MERGE)

    async def renew_lease(self, node: Mapping[str, Any], now: datetime) -> None:
        """Says that the node is alive, with the Lease that kube-controller-manager looks at."""
        name = node["metadata"]["name"]
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        try:
            await self._write("PATCH", f"{leases}/{_q(name)}", {"spec": spec}, MERGE)
        except NotFound:
            owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}
            meta = {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            await self._write("POST", leases, body)

    async def _write(
        self, method: str, path: str, body: Mapping[str, Any], content_type: str = "application/json"
    ) -> Object:
        encoded = json.dumps(body).encode()
        return _decoded(await self._client.request(method, path, None, encoded, content_type))


def _pod_path(pod: Mapping[str, Any]) -> str:
    meta = pod["metadata"]
    return f"/api/v1/namespaces/{_q(meta['namespace'])}/pods/{_q(meta['name'])}"


def _q(segment: str) -> str:
    return quote(segment, safe="")


def _decoded(answer: bytes) -> Object:
    decoded: Object = json.loads(answer)
    return decoded
