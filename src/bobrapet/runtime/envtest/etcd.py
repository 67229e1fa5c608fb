"""What tests do to etcd behind the API server's back."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any


def compact(url: str) -> None:
    """Makes etcd forget all history before its present revision.

    An API server that still holds the history in memory goes on serving it; restart it to see 410.
    """
    present = _call(url, "/v3/kv/range", {"key": base64.b64encode(b"\0").decode(), "limit": 1})
    _call(url, "/v3/kv/compaction", {"revision": present["header"]["revision"], "physical": True})


def _call(url: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as response:
        return json.load(response)
