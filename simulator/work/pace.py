"""How far a sweep is, and an honest guess of what is left.

Laws:
- A rule's pace is what its own rounds took in this run; a rule that has not run yet is taken for the mean of those
  that have. Cells found on disk are done, and say nothing about speed.
- As many cells as ever ran at once share what is left; it takes at least as long as the longest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import assert_never

from simulator.study.records import RoundRecord
from simulator.work.cells import Cell, Finished, Found, News, Restarted, Started


class Pace:
    """Counts rounds and seconds by rule.

    Attributes:
        total: rounds of all cells.
        done: rounds run or found.
        cells: cells in all.
        finished: cells that are done.
    """

    def __init__(self, cells: Sequence[Cell], clock: Callable[[], float] = perf_counter) -> None:
        """Nothing is done yet.

        Args:
            cells: all cells of the sweep.
            clock: seconds, monotonic.
        """
        self._left = {str(cell): (str(cell.rule), cell.scenario.rounds) for cell in cells}
        self._abreast = 1
        self._running: set[str] = set()
        self._clock = clock
        self._since: dict[str, float] = {}
        self._measured: dict[str, tuple[int, float]] = {}
        self.total = sum(rounds for _, rounds in self._left.values())
        self.done = 0
        self.cells, self.finished = len(cells), 0

    def hear(self, cell: Cell, news: News | Found) -> None:
        """Take note of what was heard of a cell; see `tell` of simulator.work.sweep.sweep."""
        name, rule, now = str(cell), str(cell.rule), self._clock()
        match news:
            case Started():
                self._since[name] = now
                self._running.add(name)
                self._abreast = max(self._abreast, len(self._running))
            case RoundRecord():
                rounds, seconds = self._measured.get(rule, (0, 0.0))
                self._measured[rule] = rounds + 1, seconds + now - self._since.get(name, now)
                self._since[name] = now
                self._count(name, 1)
            case Restarted():
                self._running.discard(name)
                self._count(name, self._left[name][1] - cell.scenario.rounds)
            case Finished() | Found():
                self.finished += 1
                self._running.discard(name)
                self._count(name, self._left[name][1])
            case _:
                assert_never(news)

    def remaining(self) -> float | None:
        """Seconds still to go, or None as long as no round was measured."""
        rounds = sum(rounds for rounds, _ in self._measured.values())
        if not rounds:
            return None
        mean = sum(seconds for _, seconds in self._measured.values()) / rounds
        paces = {rule: seconds / count for rule, (count, seconds) in self._measured.items()}
        work = [left * paces.get(rule, mean) for rule, left in self._left.values()]
        return max(sum(work) / self._abreast, max(work, default=0.0))

    def _count(self, name: str, rounds: int) -> None:
        rule, left = self._left[name]
        self._left[name] = rule, left - rounds
        self.done += rounds
