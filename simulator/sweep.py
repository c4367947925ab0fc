"""Runs every rule of a scenario with every seed, here or in worker processes, and puts the records together.

Laws:
- What comes out does not depend on the number of workers or on the order in which cells end.
- With a folder, a finished cell is on disk before the next one begins there: after Ctrl-C the same call goes on with
  the cells that are missing.
- A worker that is lost (killed, out of memory) costs its cell one more attempt; lost twice, the sweep ends with that
  cell's name. An error inside a cell ends the sweep at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from node.learning.task import Task
from simulator.cells import Cell, cells_of, load, save
from simulator.records import RoundRecord
from simulator.report import Report
from simulator.scenario import Scenario
from simulator.setup import links


class CellLost(RuntimeError):
    """A cell cannot be finished: its worker was lost twice, or it raised; the message names it."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """A cell begins anew in another worker: forget what it has said so far."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A cell is done."""


News = RoundRecord | Restarted | Finished


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
        """See `Pool.run`."""
        for position, cell in enumerate(cells):
            for record in cell.run(self.task):
                yield position, record
            yield position, Finished()


def sweep(
    scenario: Scenario,
    *,
    task: Task | None = None,
    workers: int = 1,
    folder: Path | str | None = None,
    tell: Callable[[RoundRecord], None] | None = None,
    pool: Pool | None = None,
) -> Report:
    """Run all cells of a scenario.

    Args:
        scenario: what to run.
        task: a task of the caller's own; it runs in this process, and its cells are not kept.
        workers: processes; 1 = this one.
        folder: where finished cells are kept, and looked for; absent = nowhere.
        tell: is told every record as it comes (of a cell that is begun anew, again).
        pool: where cells run, in place of `workers`.

    Returns:
        All records, rule by rule, seed by seed, round by round.

    Raises:
        ScenarioError, TaskError, TopologyError: the scenario cannot be run.
        CellLost: a worker could not finish its cell.
    """
    if task is None:
        scenario.check_task()
    neighbours, _ = links(scenario, scenario.seeds[0])
    cells = cells_of(scenario)
    kept = None if folder is None or task is not None else Path(folder) / "cells"
    records: list[list[RoundRecord]] = [_before(kept, cell) for cell in cells]
    todo = [position for position, found in enumerate(records) if not found]
    for found in records:
        for record in found if tell is not None else ():
            tell(record)  # type: ignore[misc]
    for index, news in _pool(pool, workers, task, len(todo)).run([cells[position] for position in todo]):
        position = todo[index]
        match news:
            case RoundRecord():
                records[position].append(news)
                if tell is not None:
                    tell(news)
            case Restarted():
                records[position].clear()
            case Finished():
                if kept is not None:
                    save(kept / f"{cells[position].digest()}.npz", records[position])
    by_rule: dict[str, list[RoundRecord]] = {str(rule): [] for rule in scenario.rules}
    for cell, rows in zip(cells, records, strict=True):
        by_rule[str(cell.rule)].extend(rows)
    return Report(scenario=scenario, records=by_rule, neighbours=neighbours, honest=scenario.nodes)


def _before(kept: Path | None, cell: Cell) -> list[RoundRecord]:
    return [] if kept is None else load(kept / f"{cell.digest()}.npz", cell) or []


def _pool(pool: Pool | None, workers: int, task: Task | None, cells: int) -> Pool:
    if pool is not None:
        return pool
    if workers <= 1 or cells <= 1 or task is not None:
        return Here(task)
    from simulator.processes import Processes

    return Processes(min(workers, cells))
