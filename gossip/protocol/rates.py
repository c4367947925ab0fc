"""Token buckets: how often a connection or an author may make us work. Time is an argument."""

from __future__ import annotations

from dataclasses import dataclass


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

    def take(self, now: float) -> bool:
        """Take one token; False if there is none. A clock that goes back adds nothing."""
        self.tokens = min(self.burst, self.tokens + self.rate * max(0.0, now - self.at))
        self.at = max(self.at, now)
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
