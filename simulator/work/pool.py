"""Where cells run: what a pool promises, the pool that is this process, and what becomes of cells that fail.

Law: a cell that fails costs the others nothing; what cannot be run as asked ends all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from node.learning.task import Task
from simulator.study.scenario import ScenarioError
from simulator.work.cells import ASKED, Cell, Failed, News


class PoolError(RuntimeError):
    """Cells cannot be run where they were to run; the message says why, in one sentence."""


class CellLost(PoolError):
    """Cells cannot be finished: their workers were lost twice, or they raised; the message names the first."""


class Losses:
    """Cells that failed while the others went on.

    Attributes:
        sentences: what happened, one a cell.
    """

    def __init__(self) -> None:
        """None yet."""
        self.sentences: list[str] = []

    def note(self, cell: Cell, failed: Failed) -> None:
        """Remember a cell that failed by itself.

        Raises:
            ScenarioError: it was asked for what cannot be run; others would fare no better.
        """
        if failed.asked:
            raise ScenarioError(failed.why)
        self.sentences.append(f"{cell}: {failed.why}")

    def settle(self) -> None:
        """Say so, at the end.

        Raises:
            CellLost: there were some.
        """
        if self.sentences:
            more = f" (and {len(self.sentences) - 1} more cells failed)" if len(self.sentences) > 1 else ""
            raise CellLost(self.sentences[0] + more)


LOST_TWICE = Failed("its worker was lost twice (killed, or out of memory: fewer --workers need less)", asked=False)


class Pool(Protocol):
    """Where cells run."""

    def run(self, cells: Sequence[Cell]) -> Iterator[tuple[int, News]]:
        """What cells have to say, by their position, as it comes; of each its records in order, then Finished."""
        ...


@dataclass(frozen=True, slots=True)
class Here:
    """Cells run one after the other in this process."""

    task: Task | None = None

    def run(self, cells: Sequence[Cell]) -> Iterator[tuple[int, News]]:
        """See `Pool.run`.

        Raises:
            ScenarioError, TaskError, TopologyError: a cell cannot be run as asked.
            CellLost: a cell raised.
        """
        losses, first = Losses(), None
        for position, cell in enumerate(cells):
            try:
                for news in cell.run(self.task):
                    yield position, news
            except ASKED:
                raise
            except Exception as error:
                losses.note(cell, Failed(f"{type(error).__name__}: {error}", asked=False))
                first = first or error
        try:
            losses.settle()
        except CellLost as lost:
            raise lost from first
