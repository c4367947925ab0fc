"""Runs a matrix: every cell over worker processes, each kept on disk when it is done, then records, numbers and a page.

Laws:
- A finished cell is never run again: the same call after Ctrl-C goes on with what is missing, and a matrix that grew
  runs only what is new.
- Seeds are the outer loop: when a long run is stopped, whole seeds are there.
- What hears no attacker is run once for all attacks that poison and measure alike: `alone` and `oracle-mean`.
- What comes out does not depend on the number of workers, but for the seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from simulator.matrix.figures import Key, Outcome, outcome
from simulator.matrix.plan import PRESETS, Matrix, MatrixError
from simulator.matrix.report import MatrixReport
from simulator.study.records import RoundRecord
from simulator.work.cells import Cell, Finished, News, Restarted, Started, load, save
from simulator.work.nursery import cores
from simulator.work.pool import Here, Pool

__all__ = ["PRESETS", "Matrix", "MatrixError", "MatrixReport", "Progress", "run_matrix"]

_ENOUGH = 0.01
"""Share of the work after which a remaining time is more than a guess."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a matrix is.

    Attributes:
        cells: cells in all.
        done: cells that are done, kept ones included.
        kept: cells that an earlier run had finished.
        share: share of the work that is done, in [0, 1], counted in rounds of nodes.
        seconds: wall seconds of this run.
        remaining: wall seconds still to go at the pace so far; None while that would be a guess.
        what: the cell heard of last, in words.
    """

    cells: int
    done: int
    kept: int
    share: float
    seconds: float
    remaining: float | None
    what: str


def run_matrix(
    source: Matrix | Path | str,
    out: Path | str,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    *,
    pool: Pool | None = None,
) -> MatrixReport:
    """Run all cells and write `records.jsonl`, `summary.json`, `matrix.toml.json` and `matrix.html` into a folder.

    Args:
        source: a matrix, a TOML file, or the name of a preset (`smoke`, `core`, `full`).
        out: folder of the results and of finished cells (`out/cells`).
        workers: processes; None = one a core; 1 = this process.
        progress: is told how far it is, after every round of every cell.
        pool: where cells run, in place of `workers`.

    Raises:
        MatrixError: the matrix cannot be run.
        TaskError, TopologyError: its data is missing, or there is no such graph.
        simulator.work.sweep.CellLost: a worker could not finish its cell.
    """
    matrix = source if isinstance(source, Matrix) else Matrix.load(source)
    conditions = matrix.conditions()
    for scenario in {each.scenario.task: each.scenario for each in conditions}.values():
        scenario.check_task()
    places = [
        (Key(condition, str(rule), seed), Cell(condition.heard_by(rule), rule, seed))
        for seed in dict.fromkeys(seed for condition in conditions for seed in condition.scenario.seeds)
        for condition in conditions
        if seed in condition.scenario.seeds
        for rule in condition.scenario.rules
    ]
    folder = Path(out)
    found = _run(places, folder / "cells", pool, workers or cores(), progress)
    report = MatrixReport(matrix, conditions, found)
    report.write(folder)
    return report


def _run(
    places: Sequence[tuple[Key, Cell]],
    kept: Path,
    pool: Pool | None,
    workers: int,
    progress: Callable[[Progress], None] | None,
) -> dict[Key, Outcome]:
    found: dict[Key, Outcome] = {}
    shared: dict[str, list[Key]] = {}
    todo: list[tuple[Cell, Path]] = []
    for key, cell in places:
        name = cell.digest()
        if name in shared:
            shared[name].append(key)
            continue
        shared[name] = [key]
        path = kept / f"{name}.npz"
        records = load(path, cell)
        if records:
            found[key] = outcome(records, cell.scenario.nodes)
        else:
            todo.append((cell, path))
    pace = _Pace(len(shared), len(found), [cell.scenario.nodes * cell.scenario.rounds for cell, _ in todo])
    heard: list[list[RoundRecord]] = [[] for _ in todo]
    for position, news in _said(pool, workers, [cell for cell, _ in todo]):
        cell, path = todo[position]
        key = shared[path.stem][0]
        match news:
            case RoundRecord():
                heard[position].append(news)
                pace.advance(cell.scenario.nodes)
            case Started():
                pass
            case Restarted():
                pace.advance(-cell.scenario.nodes * len(heard[position]))
                heard[position].clear()
            case Finished():
                save(path, heard[position])
                found[key] = outcome(heard[position], cell.scenario.nodes)
                heard[position] = []
                pace.done += 1
        if progress is not None:
            progress(pace.now(str(key)))
    if progress is not None:
        progress(pace.now("done"))
    first = {key: keys[0] for keys in shared.values() for key in keys}
    return {key: found[first[key]] for key, _ in places}


def _said(pool: Pool | None, workers: int, cells: Sequence[Cell]) -> Iterator[tuple[int, News]]:
    if pool is None and (workers <= 1 or len(cells) <= 1):
        pool = Here()
    if pool is None:
        from simulator.work.processes import Processes

        pool = Processes(min(workers, len(cells)))
    return pool.run(cells)


class _Pace:
    """Work done and to come, in rounds of nodes."""

    def __init__(self, cells: int, kept: int, work: Sequence[int]) -> None:
        self.cells, self.kept, self.done = cells, kept, kept
        self._total, self._spent = sum(work), 0
        self._started = perf_counter()

    def advance(self, work: int) -> None:
        """Count so many rounds of nodes."""
        self._spent += work

    def now(self, what: str) -> Progress:
        """How far it is."""
        seconds = perf_counter() - self._started
        share = self._spent / self._total if self._total else 1.0
        left = seconds * (1 - share) / share if share >= _ENOUGH else None
        return Progress(self.cells, self.done, self.kept, share, seconds, left, what)
