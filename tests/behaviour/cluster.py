"""A small synchronous Kubernetes client for tests: plain HTTP, so that nothing under test helps to judge itself."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import urllib3
import yaml

T = TypeVar("T")
Object = dict[str, Any]
Until = Callable[[Callable[[Object], bool]], Object]
"""Waits until an object is as asked, and gives it."""

_PATHS = {
    "Namespace": ("/api/v1", "namespaces", False),
    "Node": ("/api/v1", "nodes", False),
    "Pod": ("/api/v1", "pods", True),
    "Secret": ("/api/v1", "secrets", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "Event": ("/api/v1", "events", True),
    "Job": ("/apis/batch/v1", "jobs", True),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
    "EngramTemplate": ("/apis/catalog.bubustack.io/v1alpha1", "engramtemplates", False),
    "ImpulseTemplate": ("/apis/catalog.bubustack.io/v1alpha1", "impulsetemplates", False),
    "Engram": ("/apis/bubustack.io/v1alpha1", "engrams", True),
    "Impulse": ("/apis/bubustack.io/v1alpha1", "impulses", True),
    "Transport": ("/apis/transport.bubustack.io/v1alpha1", "transports", False),
    "TransportBinding": ("/apis/transport.bubustack.io/v1alpha1", "transportbindings", True),
    "ReferenceGrant": ("/apis/policy.bubustack.io/v1alpha1", "referencegrants", True),
    "Story": ("/apis/bubustack.io/v1alpha1", "stories", True),
    "StoryRun": ("/apis/runs.bubustack.io/v1alpha1", "storyruns", True),
    "StoryTrigger": ("/apis/runs.bubustack.io/v1alpha1", "storytriggers", True),
    "StepRun": ("/apis/runs.bubustack.io/v1alpha1", "stepruns", True),
    "EffectClaim": ("/apis/runs.bubustack.io/v1alpha1", "effectclaims", True),
}

PATIENCE = 240
"""Seconds: what a machine that does several things at once may take for something that takes one second."""

TERMINAL = frozenset({"Succeeded", "Failed", "Finished", "Canceled", "Compensated", "Timeout", "Aborted", "Skipped"})


def eventually(find: Callable[[], T], what: str, *, every: float = 0.05) -> T:
    """What `find` gives once that is something; for what comes in its own time and tells nobody. `what` is missed."""
    deadline = time.monotonic() + PATIENCE
    while not (found := find()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(every)
    return found


class ApiFailure(Exception):
    """An answer that is no success; `status` is the Kubernetes Status object."""

    def __init__(self, code: int, status: Object) -> None:
        self.code = code
        self.status = status
        super().__init__(f"HTTP {code}: {status.get('message', status)}")

    @property
    def is_passing(self) -> bool:
        """Whether a webhook could not be asked in time, or could not read what it had to: nothing was stored."""
        message = self.status.get("message", "")
        return self.code == 500 and ("failed calling webhook" in message or "try again" in message)


class Cluster:
    """One API server, addressed by a kubeconfig with a token or a client certificate."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        config = yaml.safe_load(kubeconfig.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        tls = ssl.create_default_context()
        if "certificate-authority-data" in cluster:
            tls.load_verify_locations(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        elif "certificate-authority" in cluster:
            tls.load_verify_locations(cafile=cluster["certificate-authority"])
        else:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        if "client-certificate" in user:
            tls.load_cert_chain(user["client-certificate"], user["client-key"])
        self.server: str = cluster["server"]
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self._http = urllib3.PoolManager(ssl_context=tls, headers=headers, retries=False, maxsize=8)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.clear()

    def path(self, kind: str, namespace: str = "", name: str = "") -> str:
        base, plural, namespaced = _PATHS[kind]
        middle = f"/namespaces/{namespace}" if namespaced and namespace else ""
        return f"{base}{middle}/{plural}" + (f"/{name}" if name else "")

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One request; asked again while no webhook has judged it. Raises `ApiFailure`."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self._call(method, path, body, content_type)
            except ApiFailure as failure:
                if not failure.is_passing or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def _call(self, method: str, path: str, body: Any, content_type: str) -> Any:
        response = self._http.request(
            method,
            self.server + path,
            body=None if body is None else json.dumps(body),
            headers={**self._http.headers, "Content-Type": content_type},
            timeout=90,
        )
        if response.status >= 400:
            try:
                raise ApiFailure(response.status, response.json())
            except ValueError:
                raise ApiFailure(response.status, {"message": response.data.decode(errors="replace")}) from None
        if response.headers.get("Content-Type", "").startswith("application/json"):
            return response.json()
        return response.data.decode()

    def get(self, kind: str, namespace: str, name: str) -> Object:
        return self.call("GET", self.path(kind, namespace, name))  # type: ignore[no-any-return]

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        try:
            return self.get(kind, namespace, name)
        except ApiFailure as failure:
            if failure.code != 404:
                raise
            return None

    def list(self, kind: str, namespace: str = "", query: str = "") -> list[Object]:
        return self.call("GET", self.path(kind, namespace) + query)["items"]  # type: ignore[no-any-return]

    def create(self, obj: Object) -> Object:
        namespace = obj["metadata"].get("namespace", "")
        return self.call("POST", self.path(obj["kind"], namespace), obj)  # type: ignore[no-any-return]

    def apply(self, *objects: Object) -> None:
        """Creates objects, or gives those that exist the spec they have here."""
        for obj in objects:
            try:
                self.create(obj)
            except ApiFailure as failure:
                if failure.status.get("reason") != "AlreadyExists":
                    raise
                self.merge(obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"], obj)

    def merge(self, kind: str, namespace: str, name: str, patch: Object, subresource: str = "") -> Object:
        path = self.path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        return self.call("PATCH", path, patch, "application/merge-patch+json")  # type: ignore[no-any-return]

    def delete(self, kind: str, namespace: str, name: str, **options: Any) -> None:
        self.call("DELETE", self.path(kind, namespace, name), options or None)

    def wait(
        self, kind: str, namespace: str, name: str, until: Callable[[Object], bool], *, timeout: float = PATIENCE
    ) -> Object:
        """Follows an object by watch until `until` holds; the object need not exist yet."""
        last: Object | None = None
        for found in self._states(kind, namespace, name, time.monotonic() + timeout):
            if found is not None and until(found):
                return found
            last = found or last
        raise AssertionError(
            f"{kind} {namespace}/{name} did not get there in {timeout} s; last seen: {json.dumps(last)}"
        )

    def following(self, kind: str, namespace: str, name: str, *, timeout: float = PATIENCE) -> Until:
        """As `wait`, but everything is seen that happens to the object from here on, also what is past when asked."""
        states = self._states(kind, namespace, name, time.monotonic() + timeout)
        next(states)

        def until(holds: Callable[[Object], bool]) -> Object:
            for found in states:
                if found is not None and holds(found):
                    return found
            raise AssertionError(f"{kind} {namespace}/{name} did not get there in {timeout} s")

        return until

    def wait_gone(self, kind: str, namespace: str, name: str, *, timeout: float = PATIENCE) -> None:
        """Follows an object by watch until it is deleted."""
        if None not in self._states(kind, namespace, name, time.monotonic() + timeout):
            raise AssertionError(
                f"{kind} {namespace}/{name} is still there after {timeout} s: {self.find(kind, namespace, name)}"
            )

    def wait_event(self, namespace: str, reason: str, *, about: str = "") -> Object:
        """The Event with a reason, of the object of a name if one is given. Events come after what they tell of."""

        def told() -> Object | None:
            events = self.list("Event", namespace)
            named = [each for each in events if not about or each["involvedObject"]["name"] == about]
            return next((each for each in named if each["reason"] == reason), None)

        found = eventually(told, f"an Event {reason}", every=0.1)
        assert found is not None
        return found

    def wait_run(self, namespace: str, name: str, *, timeout: float = PATIENCE) -> Object:
        """Waits for the end of a StoryRun."""
        return self.wait(
            "StoryRun", namespace, name, lambda run: run.get("status", {}).get("phase") in TERMINAL, timeout=timeout
        )

    def _states(self, kind: str, namespace: str, name: str, deadline: float) -> Iterator[Object | None]:
        """How the object is now and after every change until `deadline`; None where it does not exist.

        A server that goes away in the middle, or is not ready for this kind yet, is an ordinary day: asked again.
        """
        path = f"{self.path(kind, namespace)}?fieldSelector=metadata.name%3D{name}"
        while (left := deadline - time.monotonic()) > 0:
            try:
                # Read first: a watch from nowhere in particular begins in the cache of the API server, which may lag.
                listed = self.call("GET", path)
                yield next(
                    ({"kind": kind, "apiVersion": listed["apiVersion"], **item} for item in listed["items"]), None
                )
                for event in self._watch(f"{path}&resourceVersion={listed['metadata']['resourceVersion']}", left):
                    if event["type"] == "ERROR":
                        break  # that version is history by now
                    if event["type"] != "BOOKMARK":
                        yield event["object"] if event["type"] != "DELETED" else None
            except (ApiFailure, urllib3.exceptions.HTTPError):
                time.sleep(0.2)

    def _watch(self, path: str, seconds: float) -> Iterator[Object]:
        """The events of a watch. Raises `ApiFailure`, and `HTTPError` when the connection is lost."""
        response = self._http.request(
            "GET",
            f"{self.server}{path}&watch=1&timeoutSeconds={max(1, int(seconds))}",
            preload_content=False,
            timeout=urllib3.Timeout(connect=seconds, read=seconds + 1),
        )
        try:
            if response.status != 200:
                raise ApiFailure(response.status, {"message": response.read().decode(errors="replace")})
            pending = b""
            for chunk in response.stream(amt=None, decode_content=True):
                *lines, pending = (pending + chunk).split(b"\n")
                yield from map(json.loads, filter(None, lines))
        finally:
            response.close()
