"""A client-side limit on requests (spec runtime CLI-17)."""

from __future__ import annotations

from bobrapet.runtime.clock import REAL_CLOCK, Clock


class TokenBucket:
    """`qps` tokens a second flow into a bucket that holds `burst`; a request takes one, in order of asking."""

    def __init__(
        self,
        qps: float,
        burst: int = 0,
        clock: Clock = REAL_CLOCK,
    ) -> None:
        if qps <= 0:
            raise ValueError(f"qps must be above 0, not {qps}")
        self._qps = qps
        self._burst = max(1, burst or round(qps))
        self._clock = clock
        self._tokens = float(self._burst)
        self._at = clock.monotonic()

    def reserve(self) -> float:
        """Takes a token and says how many seconds to wait before it is there."""
        now = self._clock.monotonic()
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._qps)
        self._at = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self._qps)

    async def wait(self) -> float:
        """Takes a token, waits until it is there, and returns the seconds waited. A cancelled wait gives it back."""
        seconds = self.reserve()
        if seconds > 0:
            try:
                await self._clock.sleep(seconds)
            except BaseException:
                self._tokens += 1
                raise
        return seconds
