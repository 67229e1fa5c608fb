"""Pods for tests, readable in one line."""

from __future__ import annotations

from typing import Any


def container(name: str = "engram", image: str = "tool:1", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": image, **fields}


def pod(*containers: dict[str, Any], name: str = "p", namespace: str = "ns", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "labels": {"app": "x", "tier": 'a"b'},
            "annotations": {"note/one": "1"},
        },
        "spec": {"restartPolicy": "Never", "containers": list(containers) or [container()], **spec},
    }
