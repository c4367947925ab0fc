"""Token buckets: how often a connection or an author may make us work. Time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

ROUNDED = 1e-6  # seconds


@dataclass(slots=True)
class Bucket:
    """Holds at most `burst` tokens and gains `rate` a second; `at` is when `tokens` was right."""

    rate: float
    burst: float
    tokens: float
    at: float

    @classmethod
    def full(cls, rate: float, burst: float, now: float) -> Bucket:
        """A bucket that has not been used yet."""
        return cls(rate, burst, burst, now)

    def take(self, now: float, count: float = 1.0) -> bool:
        """Take one token, or so many; False if there are not as many. A clock that goes back adds nothing."""
        self._gain(now)
        if self.tokens < count:
            return False
        self.tokens -= count
        return True

    def owe(self, now: float, count: float) -> None:
        """Take so many tokens though there may not be as many: what is missing is owed."""
        self._gain(now)
        self.tokens -= count

    def due(self, now: float, count: float = 1.0) -> float:
        """Seconds after which there are so many tokens; 0 when there are.

        A microsecond more than the quotient: whoever waits exactly that long may find a token less some rounding, and
        would wait a time that no clock shows, again and again.
        """
        self._gain(now)
        if self.tokens >= count:
            return 0.0
        return (count - self.tokens) / self.rate + ROUNDED if self.rate else 3600.0

    def _gain(self, now: float) -> None:
        self.tokens = min(self.burst, self.tokens + self.rate * max(0.0, now - self.at))
        self.at = max(self.at, now)
