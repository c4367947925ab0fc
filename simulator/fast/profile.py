"""Where the time of a run went: seconds by phase."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from time import perf_counter


class Profile:
    """Wall seconds by phase, summed over rounds.

    Attributes:
        seconds: phase -> seconds, in order of first use.
        rounds: rounds finished.
        threads: workers, for phases that they spend time in at once.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._lock = Lock()
        self.seconds: dict[str, float] = {}
        self.rounds = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of a `with` block under this name; blocks do not nest."""
        started = perf_counter()
        try:
            yield
        finally:
            self.add(name, perf_counter() - started)

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Count a worker's time under this name, a thread's share of it: phases within a phase, by threads at once."""
        started = perf_counter()
        try:
            yield
        finally:
            self.add(name, (perf_counter() - started) / self.threads)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        with self._lock:
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def table(self) -> list[tuple[str, float, float]]:
        """Rows (phase, seconds a round, share of all), the largest first."""
        total = sum(self.seconds.values()) or 1.0
        rounds = max(self.rounds, 1)
        rows = [(name, spent / rounds, spent / total) for name, spent in self.seconds.items()]
        return sorted(rows, key=lambda row: -row[1])
