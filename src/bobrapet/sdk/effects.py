"""Side effects that happen once, however often the step is tried (workloads 19.2, runs 23).

    with ctx.effect("charge", order.id) as charge:
        charge.record(payment=gateway.charge(order, idempotency_key=charge.idempotency_key))
    return Receipt(charge.details["payment"])

The block runs in the first attempt that reaches it and is skipped in every later one; `details` are then what was
recorded. An EffectClaim is the lock: one process holds it while the block runs, renews it, and marks it completed
afterwards. `status.effects` of the StepRun is the record that people and other components read.

What no lock can rule out: a process that dies between the effect and the end of its block leaves the effect in doubt.
The next attempt waits until the lease has run out, takes the claim over, and runs the block with `in_doubt` set. So it
is, without a wait, after an interruption of the block. The `idempotency_key` is the same in all attempts, so that the
other side can tell a repetition.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import msgspec

from bobrapet.sdk.codec import json_value
from bobrapet.sdk.errors import EffectLost, EngramError, RateLimitedError, RetryError
from bobrapet.sdk.lease import Renewal
from bobrapet.sdk.ledger import Entry, appended, sequence, summary
from bobrapet.sdk.link import Link
from bobrapet.sdk.log import Log
from bobrapet.sdk.outcome import timestamp
from bobrapet.sdk.report import ReportError
from bobrapet.sdk.skipping import Skipped, skip_block
from bobrapet.sdk.step_run_api import ApiError, ComponentApi, Refused

MAX_DETAILS = 8192
LEASE = 60.0
"""Seconds after the last renewal when another attempt may take a claim over. It bounds how long a retry waits for a
process that died inside the block."""

_KEY_LIMIT = 256
_NO_CLAIMS = frozenset({403, 404, 405})
_TRIES = 5
_LONGEST_DELAY = 5.0
_RELEASED, _IN_DOUBT = "released", "inDoubt"  # details of a claim that was given back


class EffectHeld(RateLimitedError):
    """Another process is inside the block, or died there less than a lease ago: try again when its lease is over."""


class EffectFailed(RetryError):
    """The claim or the record of an effect could not be read or written."""


class _ClaimRefused(EffectFailed):
    """The API server does not admit this claim."""


class Effect:
    """One side effect. A context manager whose block is skipped when the effect has happened already.

    An exception in the block releases the claim, so that the next attempt runs it again.
    """

    def __init__(
        self,
        key: str,
        link: Link,
        *,
        log: Log,
        lease: float = LEASE,
        max_details: int = MAX_DETAILS,
        on_lost: Callable[[EffectLost], None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.key = key
        self.happened = False
        """Whether an earlier attempt, or this one, has completed it."""
        self.in_doubt = False
        """Whether an earlier attempt was killed or interrupted inside the block: its effect may have happened."""
        self.details: dict[str, Any] = {}
        """What `record` kept, in this attempt or the one that did it."""
        self.idempotency_key = ""
        """The same in all attempts of the step; hand it to the other side. Set inside the block."""
        self._link = link
        self._log = log
        self._lease = lease
        self._max_details = max_details
        self._on_lost = on_lost
        self._now = now
        self._holder = f"{link.step.namespace}:{link.step.step_run}:{key}"[:200] + f":{os.urandom(16).hex()}"
        self._claim: dict[str, Any] | None = None
        self._renewal: Renewal | None = None
        self._running = False

    def record(self, **details: Any) -> None:
        """Keeps values with the effect, at most 8 KiB of JSON: later attempts find them in `details`."""
        self.details |= json_value(details, what=f"details of effect {self.key}")

    def __enter__(self) -> Effect:
        if self._begin():
            return self
        skip_block(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> bool:
        if isinstance(error, Skipped):
            error.over()
            return True
        self._end(error)
        return False

    async def __aenter__(self) -> Effect:
        import asyncio

        if await asyncio.to_thread(self._begin):
            return self
        skip_block(self, asynchronous=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> bool:
        import asyncio

        if isinstance(error, Skipped):
            error.over()
            return True
        # A cancelled task may still tell the others that its claim is free.
        await asyncio.shield(asyncio.to_thread(self._end, error))
        return False

    # The two ends of the block.

    def _begin(self) -> bool:
        """Whether the block shall run. Raises EffectHeld, EffectFailed."""
        try:
            return self._entered()
        except BaseException:
            # Interrupted on the way in: nothing happened, and `__exit__` will not be called.
            claim = self._renewal.stop() if self._renewal is not None else self._claim
            if claim is not None and not self.happened:
                self._release(claim, in_doubt=False)
            raise

    def _entered(self) -> bool:
        try:
            with self._link.api() as api:
                step_run = api.get()
                of_step = _step_key(step_run, self._link)
                self.idempotency_key = _bounded(f"{of_step}/effect/{self.key}")
                recorded = _record_of(self.key, step_run)
                if recorded is not None:
                    self._remember(recorded.get("details") or recorded.get("metadata"))
                    return False
                self._claim = self._acquire(api, step_run, of_step)
                if self.happened:
                    self._write_record(required=False)  # the process that did it died before it could
                    return False
        except ApiError as error:
            raise EffectFailed(f"effect {self.key}: {error}", code="EFFECT_UNAVAILABLE") from error
        if self._claim is not None:
            self._renewal = Renewal(self._claim, self._link.connect, lease=self._lease, lost=self._lost)
            self._renewal.start()
        self._running = True
        return True

    def _end(self, error: BaseException | None) -> None:
        if not self._running:
            return  # an empty block, which there was no need to skip
        self._running = False
        claimed, claim = self._renewal is not None, self._renewal.stop() if self._renewal is not None else None
        if error is not None:
            if claim is not None:
                # The block failed by itself, or was interrupted wherever it stood.
                self._release(claim, in_doubt=not isinstance(error, Exception))
            return
        if claimed:
            if claim is None:
                raise EffectFailed(f"effect {self.key}: another process took its claim over", code="EFFECT_LOST")
            self._complete(claim)
        self.happened = True
        # A completed claim is the authority, and a later attempt writes the record; without one the record is all.
        self._write_record(required=not claimed)

    # The claim.

    def _acquire(self, api: ComponentApi, step_run: Mapping[str, Any], of_step: str) -> dict[str, Any] | None:
        """Our claim; None where the cluster has no claims, or when `happened` turned out true. Raises EffectHeld."""
        name = claim_name(self._link, self.key)
        new: dict[str, Any] = {
            "apiVersion": "runs.bubustack.io/v1alpha1",
            "kind": "EffectClaim",
            "metadata": {"name": name, "namespace": self._link.step.namespace, "ownerReferences": _owner(step_run)},
            "spec": {
                "stepRunRef": _without_empty(
                    name=self._link.step.step_run, uid=(step_run.get("metadata") or {}).get("uid")
                ),
                "effectKey": self.key,
                "idempotencyKey": of_step,
            },
        }
        for _ in range(_TRIES):
            try:
                found = api.get_claim(name)
            except Refused as error:
                if error.code != 404:
                    self._check_optional(error)
                    return None
                try:
                    return api.create_claim(new | {"spec": {**new["spec"], **self._held(transitions=0)}})
                except Refused as refusal:
                    if refusal.code != 409:
                        self._check_optional(refusal)
                        return None
                    continue
            spec = found.get("spec") or {}
            if spec.get("completionStatus") == "completed":
                self._remember(spec.get("details"))
                return None
            self._check_free(spec)
            taken = {**found, "spec": {**_vacated(spec), **self._held(int(spec.get("leaseTransitions") or 0) + 1)}}
            try:
                return api.update_claim(taken)
            except Refused as refusal:
                if refusal.code != 409:
                    raise
        raise EffectHeld(f"effect {self.key}: others kept changing its claim {name}", code="EFFECT_HELD", retry_after=1)

    def _check_free(self, spec: Mapping[str, Any]) -> None:
        """Raises EffectHeld while another process holds the claim."""
        holder, told = spec.get("holderIdentity"), spec.get("details") or {}
        self.in_doubt = bool(told.get(_IN_DOUBT))
        if not holder or spec.get("completionStatus"):
            return
        renewed = _moment(spec.get("renewTime") or spec.get("acquireTime"))
        left = (renewed + float(spec.get("leaseDurationSeconds") or LEASE) - self._now()) if renewed is not None else 0
        if left > 0:
            raise EffectHeld(
                f"effect {self.key} is held by {holder} for {left:.0f} s more",
                code="EFFECT_HELD",
                details={"holder": holder},
                retry_after=round(left + 0.5),
            )
        if told.get(_RELEASED):
            return
        self.in_doubt = True
        self._log.warning("effect in doubt: its process ended inside the block", effect=self.key, holder=holder)

    def _held(self, transitions: int) -> dict[str, Any]:
        now = micro_time(self._now())
        held = {
            "holderIdentity": self._holder,
            "acquireTime": now,
            "renewTime": now,
            "leaseDurationSeconds": max(1, round(self._lease)),
        }
        return held | ({"leaseTransitions": transitions} if transitions else {})

    def _check_optional(self, error: Refused) -> None:
        """Raises `error`, unless it says that this cluster has no claims, or none for us."""
        if error.code not in _NO_CLAIMS:
            raise error
        # Claims are optional (runs 23): the record alone still keeps later attempts from repeating the effect.
        self._log.warning("effect without a claim", effect=self.key, reason=str(error))

    def _lost(self) -> None:
        error = EffectLost(f"effect {self.key}: another process took its claim over")
        self._log.error("effect lost", effect=self.key)
        if self._on_lost is not None:
            self._on_lost(error)

    def _complete(self, claim: dict[str, Any]) -> None:
        # Rounded up: the Go operator refuses a claim that was completed before its renewal, to the microsecond.
        spec = {**claim["spec"], "completionStatus": "completed", "completedAt": timestamp(self._now() + 0.001)}
        if self.details:
            spec["details"] = self._bounded_details()
        self._update({**claim, "spec": spec}, "completed")

    def _release(self, claim: dict[str, Any], *, in_doubt: bool) -> None:
        told = {_RELEASED: True} | ({_IN_DOUBT: True} if in_doubt else {})
        try:
            try:
                spec = {**_vacated(claim["spec"]), "completionStatus": "released", "details": told}
                self._update({**claim, "spec": spec}, "released")
            except _ClaimRefused:
                # The Go operator admits no claim that is taken again after its release; a lease that ran out it does.
                spec = {**claim["spec"], "leaseDurationSeconds": 1, "details": told}
                self._update({**claim, "spec": spec}, "released")
        except EffectFailed as error:
            self._log.warning("claim not released: it is free when its lease is over", error=str(error))

    def _update(self, claim: dict[str, Any], what: str) -> None:
        """Repeats while the API server is away or busy: what happened must not be forgotten because it restarts.

        Raises EffectFailed, also when the claim is no longer ours.
        """
        deadline = time.monotonic() + self._link.budget
        delay = 0.1
        while True:
            try:
                with self._link.api() as api:
                    try:
                        api.update_claim(claim)
                        return
                    except Refused as error:
                        if error.code != 409:
                            raise
                        claim = self._reread(api, claim, what)
                        continue
            except ApiError as error:
                if isinstance(error, Refused) and error.code < 500 and error.code != 429:
                    raise _ClaimRefused(f"effect {self.key} could not be {what}: {error}") from error
                if time.monotonic() + delay >= deadline:
                    raise EffectFailed(f"effect {self.key} could not be {what}: {error}") from error
            time.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)

    def _reread(self, api: ComponentApi, claim: dict[str, Any], what: str) -> dict[str, Any]:
        """Our change on the newest version, when the claim is still ours: the controller writes it too."""
        newest = api.get_claim(claim["metadata"]["name"])
        if (newest.get("spec") or {}).get("holderIdentity") != self._holder:
            raise EffectFailed(f"effect {self.key} could not be {what}: another process took its claim over")
        return {**newest, "spec": claim["spec"]}

    # The record.

    def _remember(self, details: Any) -> None:
        self.happened = True
        self.details = dict(details) if isinstance(details, Mapping) else {}

    def _write_record(self, *, required: bool) -> None:
        def change(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
            effects: list[Entry] = status.get("effects") or []
            if any(entry.get("key") == self.key for entry in effects):
                return None
            entry: dict[str, Any] = {
                "seq": sequence(effects),
                "key": self.key,
                "status": "succeeded",
                "emittedAt": timestamp(self._now()),
            }
            if self.details:
                entry["details"] = self._bounded_details()
            return {"effects": appended(effects, entry)}

        try:
            self._link.amend(change)
        except (ReportError, ApiError) as error:
            if required:
                raise EffectFailed(f"effect {self.key} happened, but could not be recorded: {error}") from error
            self._log.warning("effect not recorded", effect=self.key, error=str(error))

    def _bounded_details(self) -> dict[str, Any]:
        if len(msgspec.json.encode(self.details)) <= self._max_details:
            return self.details
        self._log.warning("details of the effect are too large", effect=self.key, limit=self._max_details)
        return summary(self.details) | {"redacted": True}


def effect_key(name: str, key: str | None) -> str:
    """`name`, or `name:key`; what would not fit a claim is replaced by its digest."""
    if not name:
        raise EngramError("an effect needs a name", code="BAD_EFFECT")
    whole = name if key is None else f"{name}:{key}"
    return _bounded(whole)


def claim_name(link: Link, key: str) -> str:
    """The same for every component in every language: it is what makes the claim one."""
    step = link.step
    digest = hashlib.sha1(f"{step.namespace}/{step.step_run}/{key}".encode(), usedforsecurity=False).hexdigest()[:16]
    suffix = f"-effect-{digest}"
    return step.step_run[: 253 - len(suffix)].rstrip("-.") + suffix


def micro_time(now: float) -> str:
    """RFC 3339 with microseconds, as Kubernetes writes the times of leases."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


def _step_key(step_run: Mapping[str, Any], link: Link) -> str:
    """The step's own idempotency key; the default is the same that the operator would derive."""
    step = link.step
    own = (step_run.get("spec") or {}).get("idempotencyKey")
    return _bounded(str(own or f"ns/{step.namespace}/storyrun/{step.story_run}/step/{step.step or step.step_run}"))


def _bounded(key: str) -> str:
    return key if len(key) <= _KEY_LIMIT else f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def _record_of(key: str, step_run: Mapping[str, Any]) -> Entry | None:
    """An entry of status.effects; the older shape has name for key."""
    effects = (step_run.get("status") or {}).get("effects") or []
    return next((entry for entry in effects if key in (entry.get("key"), entry.get("name"))), None)


def _owner(step_run: Mapping[str, Any]) -> list[dict[str, Any]]:
    meta = step_run.get("metadata") or {}
    if not meta.get("uid"):
        return []
    return [
        {
            "apiVersion": step_run.get("apiVersion") or "runs.bubustack.io/v1alpha1",
            "kind": step_run.get("kind") or "StepRun",
            "name": meta["name"],
            "uid": meta["uid"],
        }
    ]


def _vacated(spec: Mapping[str, Any]) -> dict[str, Any]:
    gone = {"holderIdentity", "acquireTime", "renewTime", "completionStatus", "completedAt", "details"}
    return {name: value for name, value in spec.items() if name not in gone}


def _without_empty(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
