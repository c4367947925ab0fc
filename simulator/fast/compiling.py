"""Wall seconds that numba has spent compiling in this process: they say nothing about a rule or an engine.

Law: a second counts once, however many threads compile in it or wait for the compiler. Kernels that are found on disk
cost no second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from threading import Lock
from time import perf_counter

from aggregation.kernels.rows import available


class Stopwatch:
    """Runs while at least one compilation does.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        """Not running."""
        self._clock = clock
        self._lock = Lock()
        self._running = 0
        self._since = 0.0
        self._total = 0.0

    def start(self) -> None:
        """A compilation begins."""
        with self._lock:
            if self._running == 0:
                self._since = self._clock()
            self._running += 1

    def stop(self) -> None:
        """A compilation ends."""
        with self._lock:
            self._running -= 1
            if self._running == 0:
                self._total += self._clock() - self._since

    @property
    def seconds(self) -> float:
        """Seconds so far, those of a compilation that still goes on too."""
        with self._lock:
            return self._total + (self._clock() - self._since if self._running else 0.0)


@cache
def compiling() -> Stopwatch:
    """The process's stopwatch; from the first call on it hears of every compilation. Without numba it stands still."""
    watch = Stopwatch()
    if available():
        from numba.core import event

        class Ear(event.Listener):
            def on_start(self, event: object) -> None:
                watch.start()

            def on_end(self, event: object) -> None:
                watch.stop()

        event.register("numba:compile", Ear())  # type: ignore[no-untyped-call]
    return watch
