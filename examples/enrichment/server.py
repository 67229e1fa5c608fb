"""A register of companies that does not like to be asked often: the other side of the example.

    GET /companies           their ids
    GET /profile/<id>        name and country; every second request for one fails with 503
    GET /rating/<id>         a letter; at most `--rate` requests a second, else 429 with Retry-After
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMPANIES = {
    "c1": {"name": "Aare Optics", "country": "CH", "rating": "A"},
    "c2": {"name": "Bodensee Gears", "country": "DE", "rating": "B"},
    "c3": {"name": "Colline Films", "country": "FR", "rating": "A"},
    "c4": {"name": "Dolomiti Foods", "country": "IT", "rating": "C"},
}


class Register(ThreadingHTTPServer):
    """Counts what it answered, by status."""

    daemon_threads = True

    def __init__(self, port: int = 0, rate: int = 2) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: Counter[int] = Counter()
        self._rate = rate
        self._profiles: Counter[str] = Counter()
        self._ratings: deque[float] = deque()
        self._lock = threading.Lock()

    def answer(self, path: str) -> tuple[int, Any]:
        kind, _, company = path.strip("/").partition("/")
        with self._lock:
            status, body = self._answer(kind, company)
            self.answers[status] += 1
            return status, body

    def _answer(self, kind: str, company: str) -> tuple[int, Any]:
        if kind == "companies":
            return 200, sorted(COMPANIES)
        if company not in COMPANIES:
            return 404, {"error": f"no company {company}"}
        known = COMPANIES[company]
        if kind == "profile":
            self._profiles[company] += 1
            if self._profiles[company] % 2:
                return 503, {"error": "the register is being updated"}
            return 200, {"name": known["name"], "country": known["country"]}
        now = time.monotonic()
        while self._ratings and now - self._ratings[0] > 1:
            self._ratings.popleft()
        if len(self._ratings) >= self._rate:
            return 429, {"error": "too many questions"}
        self._ratings.append(now)
        return 200, {"rating": known["rating"]}


class _Handler(BaseHTTPRequestHandler):
    server: Register

    def do_GET(self) -> None:
        status, body = self.server.answer(self.path)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--rate", type=int, default=2, help="ratings a second")
    arguments = parser.parse_args()
    with Register(arguments.port, arguments.rate) as register:
        print(f"listening on {register.url}")
        register.serve_forever()


if __name__ == "__main__":
    main()
