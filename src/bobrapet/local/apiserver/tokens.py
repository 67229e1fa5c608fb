"""Bearer tokens: the administrator's, and signed ones of ServiceAccounts.

A ServiceAccount token is a JWT signed with ES256; it is good while its account (and the pod it is bound to) exists
with the uid it was made for.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from bobrapet.local.apiserver.types import User

ISSUER = "https://kubernetes.default.svc.cluster.local"
ADMIN = User("admin", ("system:masters", "system:authenticated"))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
_CACHE = 1024
_ES256 = ec.ECDSA(hashes.SHA256())

UidOf = Callable[[str, str, str], str | None]
"""(resource, namespace, name) -> uid of the object, None when there is none."""


class Tokens:
    """Issues and verifies tokens."""

    def __init__(
        self, admin_token: str, key: ec.EllipticCurvePrivateKey, uid_of: UidOf, now: Callable[[], datetime]
    ) -> None:
        self._admin = admin_token
        self._key = key
        self._public = key.public_key()
        self.uid_of = uid_of
        self._now = now
        self._verified: dict[str, dict[str, Any]] = {}

    def authenticate(self, headers: Mapping[str, str]) -> User | None:
        """The user of a request: anonymous without credentials; None for bad ones."""
        given = headers.get("Authorization")
        if given is None:
            return ANONYMOUS
        scheme, _, token = given.partition(" ")
        return self.user_of(token.strip()) if scheme.lower() == "bearer" else None

    def user_of(self, token: str, audiences: Sequence[str] = ()) -> User | None:
        """The user of a token; None when it is not valid now (for any of `audiences`)."""
        if not token:
            return None
        if hmac.compare_digest(token.encode(), self._admin.encode()):
            return ADMIN
        claims = self._verified.get(token) or self._verify(token)
        if claims is None or not set(audiences or [ISSUER]) & set(claims["aud"]):
            return None
        now = self._now().timestamp()
        if not claims["nbf"] <= now + 1 or now >= claims["exp"]:
            return None
        return self._bound_user(claims["kubernetes.io"])

    def issue(
        self,
        namespace: str,
        account: str,
        uid: str,
        *,
        seconds: int,
        audiences: Sequence[str] = (),
        pod: tuple[str, str] | None = None,
    ) -> tuple[str, datetime]:
        """A token of a ServiceAccount and when it ends. `pod`: name and uid of the pod it is bound to."""
        now = int(self._now().timestamp())
        bound: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}}
        if pod is not None:
            bound["pod"] = {"name": pod[0], "uid": pod[1]}
        claims = {
            "aud": list(audiences or [ISSUER]),
            "exp": now + seconds,
            "iat": now,
            "iss": ISSUER,
            "kubernetes.io": bound,
            "nbf": now,
            "sub": f"system:serviceaccount:{namespace}:{account}",
        }
        signed = f"{_segment({'alg': 'ES256', 'typ': 'JWT'})}.{_segment(claims)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), _ES256))
        signature = _base64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return f"{signed}.{signature}", datetime.fromtimestamp(now + seconds, self._now().tzinfo)

    def audiences(self, spec: Mapping[str, Any]) -> list[str]:
        """The audiences a request names, or the server itself."""
        return list(spec.get("audiences") or [ISSUER])

    def _verify(self, token: str) -> dict[str, Any] | None:
        try:
            head, body, signature = token.split(".")
            if json.loads(_unbase64(head)).get("alg") != "ES256":
                return None
            raw = _unbase64(signature)
            if len(raw) != 64:
                return None
            der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            self._public.verify(der, f"{head}.{body}".encode(), _ES256)
            claims: dict[str, Any] = json.loads(_unbase64(body))
        except (ValueError, InvalidSignature, AttributeError):
            return None
        # Only the signature is remembered; expiry and binding are looked at each time.
        if len(self._verified) >= _CACHE:
            self._verified.clear()
        self._verified[token] = claims
        return claims

    def _bound_user(self, bound: dict[str, Any]) -> User | None:
        namespace, account = bound["namespace"], bound["serviceaccount"]
        if self.uid_of("serviceaccounts", namespace, account["name"]) != account["uid"]:
            return None
        extra: dict[str, tuple[str, ...]] = {}
        if pod := bound.get("pod"):
            if self.uid_of("pods", namespace, pod["name"]) != pod["uid"]:
                return None
            extra = {
                "authentication.kubernetes.io/pod-name": (pod["name"],),
                "authentication.kubernetes.io/pod-uid": (pod["uid"],),
            }
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(f"system:serviceaccount:{namespace}:{account['name']}", groups, account["uid"], extra)


def _segment(value: Mapping[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
