"""Where the time of a run went: seconds by phase.

Law: a second counts for one phase only; a phase within a phase takes its time out of the outer one, and so does what
is told apart (compiling).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, local
from time import perf_counter


class Profile:
    """Seconds by phase, summed over rounds.

    Attributes:
        seconds: phase -> seconds, in order of first use.
        rounds: rounds finished.
        threads: workers; the time of phases inside workers counts by threads, so that sums are about wall seconds.
    """

    def __init__(self, threads: int = 1, apart: Callable[[], float] = lambda: 0.0) -> None:
        """Nothing is counted yet; `apart`: seconds so far that belong to no phase."""
        self.threads = threads
        self._apart = apart
        self.seconds: dict[str, float] = {}
        self.rounds = 0
        self._lock = Lock()
        self._here = local()  # seconds that inner phases took, and those apart in them, by thread

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the wall seconds of a `with` block under this name."""
        with self._counted(name, 1):
            yield

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Count a worker's seconds under this name, divided by the number of threads."""
        with self._counted(name, self.threads):
            yield

    def table(self) -> list[tuple[str, float, float]]:
        """Rows (phase, seconds a round, share of all), the largest first."""
        total = sum(self.seconds.values()) or 1.0
        rounds = max(self.rounds, 1)
        rows = [(name, spent / rounds, spent / total) for name, spent in self.seconds.items()]
        return sorted(rows, key=lambda row: -row[1])

    @contextmanager
    def _counted(self, name: str, share: int) -> Iterator[None]:
        outer, before = getattr(self._here, "inner", (0.0, 0.0)), self._apart()
        self._here.inner = 0.0, 0.0
        started = perf_counter()
        try:
            yield
        finally:
            spent, apart = perf_counter() - started, self._apart() - before
            inner, inner_apart = self._here.inner
            alone = max(0.0, spent - inner - (apart - inner_apart)) / share
            self._here.inner = outer[0] + spent, outer[1] + apart
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + alone
