"""Who may read metrics: those whom the API server knows and lets (spec runtime MS-2, MS-3)."""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from aiohttp import web

from bobrapet.runtime.client.interfaces import Client
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.clock import REAL_CLOCK, Clock, cancel_after
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.metrics.server.server import Filter, HttpHandler

TokenReview = Unstructured.of("authentication.k8s.io/v1", "TokenReview")
SubjectAccessReview = Unstructured.of("authorization.k8s.io/v1", "SubjectAccessReview")

TOKEN_TTL = 60.0
ALLOW_TTL = 300.0
DENY_TTL = 30.0
REVIEW_TIMEOUT = 10.0
RETRY_STEPS = 5
RETRY_DELAY = 0.5
RETRY_FACTOR = 1.5
RETRY_JITTER = 0.2
CACHE_SIZE = 4096

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

log = get_logger("metrics")


class _Cache(Generic[K, V]):
    """Answers with an expiry date."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: dict[K, tuple[float, V]] = {}

    def get(self, key: K) -> V | None:
        found = self._answers.get(key)
        return found[1] if found is not None and found[0] > self._clock.monotonic() else None

    def put(self, key: K, answer: V, seconds: float) -> None:
        if len(self._answers) >= CACHE_SIZE:
            self._answers.clear()
        self._answers[key] = self._clock.monotonic() + seconds, answer


class Reviewer:
    """Asks the API server who a token belongs to, and what he may do."""

    def __init__(self, client: Client, *, clock: Clock = REAL_CLOCK, rng: random.Random | None = None) -> None:
        self._client = client
        self._clock = clock
        self._random = rng or random.Random()
        self._users: _Cache[str, dict[str, Any]] = _Cache(clock)
        self._rights: _Cache[tuple[str, str, str], bool] = _Cache(clock)

    async def user_of(self, token: str) -> dict[str, Any] | None:
        """The user behind a token, None for a token that is not valid."""
        known = self._users.get(token)
        if known is None:
            answer = await self._review(TokenReview({"spec": {"token": token}}))
            status = answer.get("status", default={}) or {}
            known = (status.get("user") or {}) if status.get("authenticated") else {}
            self._users.put(token, known, TOKEN_TTL)
        return known or None

    async def may(self, user: dict[str, Any], verb: str, path: str) -> bool:
        """Whether a user may do this with a path that is no resource."""
        key = (f"{user.get('username')}|{user.get('uid')}|{sorted(user.get('groups') or [])}", verb, path)
        known = self._rights.get(key)
        if known is None:
            spec: dict[str, Any] = {
                "user": user.get("username") or "",
                "uid": user.get("uid") or "",
                "groups": user.get("groups") or [],
                "extra": user.get("extra") or {},
                "nonResourceAttributes": {"verb": verb, "path": path},
            }
            answer = await self._review(SubjectAccessReview({"spec": spec}))
            known = bool(answer.get("status", "allowed"))
            self._rights.put(key, known, ALLOW_TTL if known else DENY_TTL)
        return known

    async def _review(self, review: Unstructured) -> Unstructured:
        delay = RETRY_DELAY
        with cancel_after(self._clock, REVIEW_TIMEOUT):
            for step in range(RETRY_STEPS):
                try:
                    return await self._client.create(review)
                except ControllerRuntimeError:
                    if step == RETRY_STEPS - 1:
                        raise
                await self._clock.sleep(delay * (1 + RETRY_JITTER * self._random.random()))
                delay *= RETRY_FACTOR
        raise TimeoutError(f"no answer to a {review.kind} within {REVIEW_TIMEOUT:g} s")


def with_authentication_and_authorization(client: Client, *, clock: Clock = REAL_CLOCK) -> Filter:
    """A filter that lets through who has a valid bearer token and the right to this verb on this path.

    Without a valid token 401, without the right 403, and 500 when the API server cannot be asked.
    """
    reviewer = Reviewer(client, clock=clock)

    def wrap(handler: HttpHandler) -> HttpHandler:
        async def check(request: web.Request) -> web.StreamResponse:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                return web.Response(status=401, text="Unauthorized\n")
            try:
                user = await reviewer.user_of(token.strip())
                if user is None:
                    return web.Response(status=401, text="Unauthorized\n")
                allowed = await reviewer.may(user, request.method.lower(), request.path)
            except (ControllerRuntimeError, TimeoutError) as error:
                log.error("the right to read metrics cannot be checked", error=error)
                return web.Response(status=500, text="Authentication failed\n")
            if not allowed:
                return web.Response(status=403, text=f"Authorization denied for user {user.get('username')}\n")
            return await handler(request)

        return check

    return wrap
