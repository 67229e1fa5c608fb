"""Webhooks in the path of a write: first those that change the object, one after the other, then all others at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import jsonpatch
import jsonpointer

from bobrapet.local.apiserver import errors
from bobrapet.local.apiserver.errors import ApiError
from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.rest import Call
from bobrapet.local.apiserver.schema import copy
from bobrapet.local.apiserver.typed import TypeMismatch
from bobrapet.local.apiserver.types import Object, Resource
from bobrapet.local.apiserver.webhooks.caller import Caller, CallFailed
from bobrapet.local.apiserver.webhooks.configurations import MUTATING, VALIDATING, Hook, hooks
from bobrapet.local.apiserver.webhooks.matching import ConditionFailed, Matcher
from bobrapet.local.apiserver.webhooks.review import Answer, BadAnswer, Question, denied, read, review
from bobrapet.local.store import Change, Store

log = logging.getLogger("bobrapet.local.apiserver")

_EXEMPT = (MUTATING, VALIDATING)
"""What no webhook is asked about, or one that refuses everything could never be removed."""


class Webhooks:
    """The admission part that asks webhooks."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._matcher = Matcher(store, registry)
        self._caller = Caller(store)
        self._hooks: dict[str, tuple[Hook, ...]] = {}

    def start(self) -> None:
        """Follows the configurations from here on."""
        for storage in _EXEMPT:
            self._load(storage)
        self._store.subscribe(self._changed)

    async def stop(self) -> None:
        """Closes the connections."""
        await self._caller.close()

    def _changed(self, change: Change) -> None:
        if change.record.key.resource in _EXEMPT:
            self._load(change.record.key.resource)

    def _load(self, storage: str) -> None:
        records = sorted(self._store.list(storage), key=lambda record: record.key.name)
        self._hooks[storage] = tuple(hook for record in records for hook in hooks(record.object()))

    async def admit(self, call: Call, operation: str, obj: Object | None, old: Object | None) -> None:
        """Lets webhooks change `obj`. Those that want to see what later ones did are asked a second time."""
        known = self._known(MUTATING, call)
        if not known:
            return
        asked_before: list[int] = []
        changed_last = -1
        for index, hook in enumerate(known):
            asked, changed = await self._mutate(hook, Question(call, operation, obj, old))
            if asked and hook.reinvoked:
                asked_before.append(index)
            if changed:
                changed_last = index
        for index in asked_before:
            if index < changed_last:
                await self._mutate(known[index], Question(call, operation, obj, old))

    async def validate(self, call: Call, operation: str, obj: Object | None, old: Object | None) -> None:
        """Raises ApiError when a webhook refuses; of several refusals that of the first."""
        known = self._known(VALIDATING, call)
        if not known:
            return
        question = Question(call, operation, obj, old)
        outcomes = await asyncio.gather(*(self._judge(hook, question) for hook in known), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _known(self, storage: str, call: Call) -> Sequence[Hook]:
        return () if call.resource.storage in _EXEMPT else self._hooks.get(storage, ())

    async def _judge(self, hook: Hook, question: Question) -> None:
        answer = await self._ask(hook, question, mutating=False)
        if answer is not None and not answer.allowed:
            raise denied(hook, answer.status)

    async def _mutate(self, hook: Hook, question: Question) -> tuple[bool, bool]:
        """Whether the webhook was asked, and whether it changed the object."""
        answer = await self._ask(hook, question, mutating=True)
        if answer is None:
            return False, False
        if not answer.allowed:
            raise denied(hook, answer.status)
        if not answer.patch:
            return True, False
        if question.object is None:
            why = "attempted to modify the object, which is not supported for this operation"
            raise errors.internal(f'admission webhook "{hook.name}" {why}')
        before = copy(question.object)
        self._patch(hook, question, answer)
        return True, before != question.object

    def _patch(self, hook: Hook, question: Question, answer: Answer) -> None:
        """Changes the object in place, and makes it whole again: defaults, no unknown fields."""
        obj = question.object
        assert obj is not None
        try:
            patched = jsonpatch.apply_patch(obj, answer.patch)
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
            raise errors.internal(f'admission webhook "{hook.name}": the patch does not fit: {error}') from error
        if not isinstance(patched, dict) or (patched.get("kind"), patched.get("apiVersion")) != (
            obj.get("kind"),
            obj.get("apiVersion"),
        ):
            raise errors.internal(f'admission webhook "{hook.name}": the patch leaves an object of another kind')
        try:
            question.call.resource.strategy.conform(patched, [])
        except TypeMismatch as error:
            raise errors.internal(f'admission webhook "{hook.name}": {error}') from error
        obj.clear()
        obj.update(patched)

    async def _ask(self, hook: Hook, question: Question, *, mutating: bool) -> Answer | None:
        """The answer; None when the webhook is not asked, or could not be and its failure is ignored."""
        try:
            resource = self._matcher.match(hook, question)
        except ConditionFailed as error:
            self._failed(hook, question, str(error), condition=True)
            return None
        if resource is None:
            return None
        if question.call.dry_run and not hook.dry_run:
            raise errors.bad_request(f'admission webhook "{hook.name}" does not support dry run')
        return await self._called(hook, question, resource, mutating=mutating)

    async def _called(self, hook: Hook, question: Question, resource: Resource, *, mutating: bool) -> Answer | None:
        uid, body = review(hook, question.request(resource))
        try:
            answer = read(await self._caller.post(hook, body), uid, hook.version, mutating=mutating)
        except CallFailed as error:
            self._failed(hook, question, f"failed to call webhook: {error}")
            return None
        except BadAnswer as error:
            self._failed(hook, question, f"received invalid webhook response: {error}")
            return None
        for text in answer.warnings:
            question.call.warn(text)
        return answer

    def _failed(self, hook: Hook, question: Question, why: str, *, condition: bool = False) -> None:
        """Refuses, or lets it pass: what the webhook's failure policy says. Raises ApiError."""
        if not hook.fails:
            log.warning("webhook %s of %s is not asked, its failure policy is Ignore: %s", hook.name,
                        hook.configuration, why)  # fmt: skip
            return
        if condition:
            raise errors.forbidden(question.call.resource, question.call.name, why)
        raise _call_error(hook, why)


def _call_error(hook: Hook, why: str) -> ApiError:
    return errors.internal(f'failed calling webhook "{hook.name}": {why}')
