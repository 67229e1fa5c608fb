"""A store in memory, for tests of what uses a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

from bobrapet.storage.body import Body
from bobrapet.storage.errors import PayloadNotFound
from bobrapet.storage.layout import check_path, shown
from bobrapet.storage.store import ObjectInfo, Reading, Store


class MemoryStore(Store):
    """Objects in a dict. `before` is called with `"get"`, `"put"`, `"delete"` or `"list"` and the path, and may
    raise, so that a test decides what fails."""

    def __init__(self, before: Callable[[str, str], None] | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.infos: dict[str, ObjectInfo] = {}
        self.before = before or (lambda verb, path: None)
        self._lock = Lock()

    def open(self, path: str) -> Reading:
        self.before("get", check_path(path))
        with self._lock:
            if path not in self.objects:
                raise PayloadNotFound(f"nothing is stored at {shown(path)}")
            data, info = self.objects[path], self.infos[path]
        return Reading(info, [data])

    def put(self, path: str, body: Body) -> None:
        self.before("put", check_path(path))
        data = body.data()
        with self._lock:
            self._set(path, body, data)

    def put_if_absent(self, path: str, body: Body) -> bool:
        self.before("put", check_path(path))
        data = body.data()
        with self._lock:
            if path in self.objects:
                return False
            self._set(path, body, data)
        return True

    def delete(self, path: str) -> None:
        self.before("delete", check_path(path))
        with self._lock:
            self.objects.pop(path, None)
            self.infos.pop(path, None)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.before("list", prefix)
        with self._lock:
            found = list(self.infos.values())
        return (info for info in found if not prefix or info.path.startswith(f"{prefix.rstrip('/')}/"))

    def _set(self, path: str, body: Body, data: bytes) -> None:
        self.objects[path] = data
        self.infos[path] = ObjectInfo(path, body.size, sha256=body.sha256)
