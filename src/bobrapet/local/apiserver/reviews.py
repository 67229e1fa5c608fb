"""Reviews: resources that are only created, and answer at once.

TokenReview, SelfSubjectReview, SubjectAccessReview and its relatives. What a user may do is the authorizer's answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from bobrapet.local.apiserver import decoding
from bobrapet.local.apiserver.authorization import Attributes, Authorizer
from bobrapet.local.apiserver.http import Request, Response, json_response
from bobrapet.local.apiserver.rest import Call
from bobrapet.local.apiserver.strategy import Strategy
from bobrapet.local.apiserver.tokens import Tokens
from bobrapet.local.apiserver.typed import type_schema
from bobrapet.local.apiserver.types import Object, Resource, User

_AUTHENTICATION = "authentication.k8s.io"
_AUTHORIZATION = "authorization.k8s.io"
_KINDS = (
    (_AUTHENTICATION, "SelfSubjectReview", False),
    (_AUTHENTICATION, "TokenReview", False),
    (_AUTHORIZATION, "LocalSubjectAccessReview", True),
    (_AUTHORIZATION, "SelfSubjectAccessReview", False),
    (_AUTHORIZATION, "SelfSubjectRulesReview", False),
    (_AUTHORIZATION, "SubjectAccessReview", False),
)


class ReviewStrategy(Strategy):
    """A kind that is never stored."""


def review_resources() -> Iterator[Resource]:
    """The resources of all reviews."""
    for group, kind, namespaced in _KINDS:
        schema = type_schema(f"{group.split('.')[0]}/v1.{kind}")
        yield Resource(
            group=group,
            version="v1",
            plural=f"{kind.lower()}s",
            kind=kind,
            singular=kind.lower(),
            namespaced=namespaced,
            schema=schema,
            strategy=ReviewStrategy(schema),
            verbs=("create",),
        )


class Reviews:
    """Answers reviews."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self.tokens: Tokens | None = None

    async def serve(self, request: Request, call: Call) -> Response:
        """The review with its status filled in."""
        review = decoding.decode_for(call.resource, await request.read(), request.content_type)
        spec = review.get("spec") or {}
        match call.resource.kind:
            case "SelfSubjectReview":
                review["status"] = {"userInfo": _user_info(call.user)}
            case "TokenReview":
                review["status"] = self._token_status(spec)
            case "SelfSubjectRulesReview":
                review["status"] = self._authorizer.rules(call.user, spec.get("namespace", ""))
            case "SelfSubjectAccessReview":
                review["status"] = self._access_status(call.user, spec)
            case _:
                user = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""))
                review["status"] = self._access_status(user, spec)
        return json_response(review, 201)

    def _token_status(self, spec: Object) -> Object:
        assert self.tokens is not None
        audiences = spec.get("audiences") or ()
        user = self.tokens.user_of(spec.get("token", ""), audiences)
        if user is None:
            return {"user": {}, "error": "invalid bearer token"}
        return {"authenticated": True, "user": _user_info(user), "audiences": self.tokens.audiences(spec)}

    def _access_status(self, user: User, spec: Object) -> Object:
        given = spec.get("resourceAttributes") or {}
        path = (spec.get("nonResourceAttributes") or {}).get("path", "")
        verb = given.get("verb") or (spec.get("nonResourceAttributes") or {}).get("verb", "")
        allowed, reason = self._authorizer.authorize(
            Attributes(
                user=user,
                verb=verb,
                group=given.get("group", ""),
                resource=given.get("resource", ""),
                subresource=given.get("subresource", ""),
                namespace=given.get("namespace", ""),
                name=given.get("name", ""),
                path=path,
            )
        )
        return {"allowed": allowed, **({"reason": reason} if reason else {})}


def _user_info(user: User) -> Object:
    info: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra.items()}
    return info
