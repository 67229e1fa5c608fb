"""Keeps the claim of a running effect: a thread with a connection of its own, which renews until it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

from bobrapet.sdk.step_run_api import ApiError, ComponentApi, Refused

_LONGEST_INTERVAL = 30.0


class Renewal:
    """Renews every third of the lease. `lost` is called once when somebody else holds the claim, or when the lease ran
    out before the API server could be reached."""

    def __init__(
        self, claim: dict[str, Any], connect: Callable[[], ComponentApi], *, lease: float, lost: Callable[[], None]
    ) -> None:
        self._claim = claim
        self._connect = connect
        self._lease = lease
        self._lost = lost
        self._stopped = Event()
        self._gone = False
        self._thread = Thread(target=self._run, name="effect-lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> dict[str, Any] | None:
        """Ends the renewals; returns the claim as it was written last, None when it is no longer ours."""
        self._stopped.set()
        if self._thread.ident is not None:  # an interruption may come before the start
            self._thread.join()
        return None if self._gone else self._claim

    def _run(self) -> None:
        interval = min(self._lease / 3, _LONGEST_INTERVAL)
        renewed_at = time.monotonic()
        api: ComponentApi | None = None
        while not self._stopped.wait(interval):
            try:
                api = api or self._connect()
                renewed = self._renew(api)
            except ApiError:
                renewed = time.monotonic() - renewed_at < self._lease
            else:
                renewed_at = time.monotonic()
            if not renewed:
                self._gone = True
                self._lost()
                break
        if api is not None:
            api.close()

    def _renew(self, api: ComponentApi) -> bool:
        """Whether the claim is still ours. Raises ApiError when that cannot be known."""
        holder = self._claim["spec"]["holderIdentity"]
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        try:
            self._claim = api.update_claim({**self._claim, "spec": {**self._claim["spec"], "renewTime": now}})
        except Refused as error:
            if error.code not in (404, 409):
                raise
            if error.code == 404:
                return False
            # The controller writes the claim too (owner reference, status): ours as long as we are its holder.
            self._claim = api.get_claim(self._claim["metadata"]["name"])
            if self._claim["spec"].get("holderIdentity") != holder:
                return False
            self._claim = api.update_claim({**self._claim, "spec": {**self._claim["spec"], "renewTime": now}})
        return True
