"""Runs every rule of a scenario with every seed, here or in worker processes, and puts the records together.

Laws:
- What comes out does not depend on the number of workers or on the order in which cells end.
- With a folder, a finished cell is on disk before the next one begins there: after Ctrl-C the same call goes on with
  the cells that are missing.
- A worker that is lost (killed, out of memory) costs its cell one more attempt; lost twice, or an
  error inside it, costs that cell: the others are finished and kept first, then the sweep ends with its name.
- What cannot be run as asked (data missing, no such graph) ends the sweep at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import assert_never

from node.learning.task import Task
from simulator.engines import settled
from simulator.show.report import Report, check_folder
from simulator.study.records import RoundRecord
from simulator.study.scenario import Scenario
from simulator.study.setup import links
from simulator.work.cells import Cell, Finished, Found, News, Restarted, Started, cells_of, load, save
from simulator.work.forecast import foretell, memory
from simulator.work.nursery import WORTH, cores
from simulator.work.pool import Here, Pool
from simulator.work.processes import Processes


def default_workers(cells: Sequence[Cell]) -> int:
    """Processes for these cells when nobody says: one for short work (see `nursery.WORTH`), else one a core."""
    scenarios = [settled(cell.scenario) for cell in cells]
    work = sum(each.nodes * each.rounds / WORTH[each.engine] for each in scenarios)
    return 1 if work < 1 else max(1, min(len(cells), cores()))


def sweep(
    scenario: Scenario,
    *,
    task: Task | None = None,
    workers: int | None = 1,
    folder: Path | str | None = None,
    tell: Callable[[Cell, News | Found], None] | None = None,
    pool: Pool | None = None,
    device: str = "cpu",
    warn: Callable[[str], None] | None = None,
) -> Report:
    """Run all cells of a scenario.

    Args:
        scenario: what to run.
        task: a task of the caller's own; it runs in this process, and its cells are not kept.
        workers: processes; 1 = this one; None = one for short work, else one a core (the caller's main module must
            bear being imported by them).
        folder: where finished cells are kept, and looked for; absent = nowhere.
        tell: is told what is heard of each cell, as it comes, once it is safe on disk.
        pool: where cells run, in place of `workers`.
        device: where the array engine's models live, "cpu" or "cuda".
        warn: is told beforehand of a sweep that is long or large, in one sentence.

    Returns:
        All records, rule by rule, seed by seed, round by round; its scenario names the engine that ran.

    Raises:
        ScenarioError, TaskError, TopologyError: the scenario cannot be run, or needs far more memory than there is; or
            the folder holds the report of another scenario.
        PoolError: a worker could not finish its cell, or there is nowhere to run it.
    """
    if task is None:
        scenario.check_task()
    scenario = settled(scenario)
    if folder is not None:
        check_folder(Path(folder), scenario)
    cells = cells_of(scenario, device, None if folder is None else Path(folder))
    kept = None if folder is None or task is not None or scenario.lent else Path(folder) / "cells"
    records: list[list[RoundRecord]] = [_before(kept, cell) for cell in cells]
    todo = [position for position, found in enumerate(records) if not found]
    for cell, found in zip(cells, records, strict=True):
        if found and tell is not None:
            tell(cell, Found(len(found)))
    missing = [cells[position] for position in todo]
    if missing and device == "cpu" and pool is None:
        _look_ahead(scenario, task, default_workers(missing) if workers is None else workers, warn)
    for index, news in _pool(pool, 1 if scenario.lent else workers, task, missing).run(missing):
        position = todo[index]
        match news:
            case Started():
                pass
            case RoundRecord():
                records[position].append(news)
            case Restarted():
                records[position].clear()
            case Finished():
                if kept is not None:
                    save(kept / f"{cells[position].digest()}.npz", records[position])
            case _:
                assert_never(news)
        if tell is not None:
            tell(cells[position], news)
    by_rule: dict[str, list[RoundRecord]] = {str(rule): [] for rule in scenario.rules}
    for cell, rows in zip(cells, records, strict=True):
        by_rule[str(cell.rule)].extend(rows)
    neighbours, _ = links(scenario, scenario.seeds[0])
    return Report(scenario=scenario, records=by_rule, neighbours=neighbours, honest=scenario.nodes)


def _look_ahead(scenario: Scenario, task: Task | None, workers: int, warn: Callable[[str], None] | None) -> None:
    ahead = foretell(scenario, task, 1 if task is not None else workers)
    if ahead is not None:
        here = memory()
        ahead.check(here)
        said = ahead.warning(here)
        if said and warn is not None:
            warn(said)


def _before(kept: Path | None, cell: Cell) -> list[RoundRecord]:
    return [] if kept is None else load(kept / f"{cell.digest()}.npz", cell) or []


def _pool(pool: Pool | None, workers: int | None, task: Task | None, cells: Sequence[Cell]) -> Pool:
    if pool is not None:
        return pool
    if task is not None or len(cells) <= 1:
        return Here(task)
    count = default_workers(cells) if workers is None else min(workers, len(cells))
    if count <= 1:
        return Here()
    return Processes(count)
