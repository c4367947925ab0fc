"""A cell: one scenario, one rule, one seed; how it is run, and how its records are kept on disk.

Law: a file of a cell is whole or not there, holds arrays only, and is named by everything that its records depend on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregation.rules import build_rule
from node.learning.task import Task
from simulator import world
from simulator.fast import engine as fast
from simulator.records import Edges, Influence, RoundRecord
from simulator.scenario import Choice, Scenario
from simulator.setup import prepare


@dataclass(frozen=True, slots=True)
class Cell:
    """One run.

    Attributes:
        scenario: what to run; of its rules and seeds, only those below.
        rule: the rule.
        seed: the seed.
    """

    scenario: Scenario
    rule: Choice
    seed: int

    def digest(self) -> str:
        """Names the cell by its inputs, whatever else the scenario lists."""
        return self.scenario.but(name="cell", rules=(self.rule.model_dump(),), seeds=(self.seed,)).digest()

    def run(self, task: Task | None = None) -> Iterator[RoundRecord]:
        """Run the cell, round by round."""
        setup = prepare(self.scenario, task, seed=self.seed)
        rule = build_rule(self.rule.name, **self.rule.parameters)
        engine = world.run if self.scenario.engine == "world" else fast.run
        return iter(engine(setup, rule, name=str(self.rule)))


def cells_of(scenario: Scenario) -> list[Cell]:
    """Every rule with every seed, rule by rule."""
    return [Cell(scenario, rule, seed) for rule in scenario.rules for seed in scenario.seeds]


def save(path: Path, records: Sequence[RoundRecord]) -> None:
    """Keep the records of a finished cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    empty = np.full(len(records[0].bytes), np.nan)
    edges = [record.edges for record in records]
    sizes = [-1 if each is None else len(each.weights) for each in edges]
    kept = [each for each in edges if each is not None]
    parts: dict[str, NDArray[np.generic]] = {
        "accuracy": np.array([empty if each.accuracy is None else each.accuracy for each in records]),
        "success": np.array([empty if each.success is None else each.success for each in records]),
        "measured": np.array([each.accuracy is not None for each in records]),
        "influence": np.array([(each.influence.sybil, each.influence.honest) for each in records]),
        "bytes": np.array([each.bytes for each in records]),
        "seconds": np.array([each.seconds for each in records]),
        "sizes": np.array(sizes),
        "receivers": np.concatenate([np.empty(0, np.int32), *(each.receivers for each in kept)]),
        "senders": np.concatenate([np.empty(0, np.int32), *(each.senders for each in kept)]),
        "weights": np.concatenate([np.empty(0, np.float32), *(each.weights for each in kept)]),
        "verdicts": np.concatenate([np.empty(0, np.int8), *(each.verdicts for each in kept)]),
    }
    partial = path.with_suffix(f".{os.getpid()}.part")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **parts)
    os.replace(partial, path)


def load(path: Path, cell: Cell) -> list[RoundRecord] | None:
    """The records of a finished cell, or None when it is not there or not readable."""
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError):
        return None
    records, at = [], 0
    for round, size in enumerate(parts["sizes"].tolist()):
        here = slice(at, at + max(0, size))
        at = here.stop
        measured = bool(parts["measured"][round])
        sybil, honest = parts["influence"][round].tolist()
        names = ("receivers", "senders", "weights", "verdicts")
        records.append(
            RoundRecord(
                rule=str(cell.rule),
                seed=cell.seed,
                round=round,
                accuracy=parts["accuracy"][round] if measured else None,
                success=parts["success"][round] if measured else None,
                influence=Influence(sybil, honest),
                bytes=parts["bytes"][round],
                seconds=float(parts["seconds"][round]),
                edges=None if size < 0 else Edges(*(parts[name][here] for name in names)),
            )
        )
    return records
