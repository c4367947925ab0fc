"""A cell: one scenario, one rule, one seed; how it is run, what it says, and how its records are kept on disk.

Law: a file of a cell is whole or not there, holds arrays only, and is named by everything that its records depend on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.registry import build_rule
from node.learning.blame import reported
from node.learning.errors import TaskError
from node.learning.task import Task
from simulator.engines import build_engine, choose_engine, settled
from simulator.study.choice import Choice
from simulator.study.records import Edges, Influence, RoundRecord
from simulator.study.scenario import Scenario, ScenarioError
from simulator.study.setup import prepare
from simulator.study.topology import TopologyError

ASKED = (ScenarioError, TaskError, TopologyError)
"""Errors that say what was asked for and cannot be run: no cell would fare better."""


@dataclass(frozen=True, slots=True)
class Started:
    """A cell is ready for its first round; how it will be run.

    Attributes:
        about: engine, why it, and how it trains, in one line.
    """

    about: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """A cell begins anew in another worker: forget what it has said so far."""


@dataclass(frozen=True, slots=True)
class Found:
    """A finished cell was on disk: nothing was run."""

    rounds: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A cell is done.

    Attributes:
        rounds: rounds run.
        seconds: wall seconds by phase, `prepare` (data, graph, keys, choice of paths) first, `rest` (what no phase
            counts) last; phases do not overlap.
    """

    rounds: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """A cell raised in another process.

    Attributes:
        why: one sentence.
        asked: what was asked for cannot be run (data missing, no such graph), as against a bug or a broken machine.
    """

    why: str
    asked: bool


News = Started | RoundRecord | Restarted | Finished
"""What is heard of a cell: that it started, its records in order, that it is done; in between that it begins anew."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run.

    Attributes:
        scenario: what to run; of its rules and seeds, only those below.
        rule: the rule.
        seed: the seed.
        device: where the array engine's models live; it changes a result by rounding alone, so it names nothing.
        folder: where the traceback goes when the user's own code fails; None: into a temporary file.
    """

    scenario: Scenario
    rule: Choice
    seed: int
    device: str = "cpu"
    folder: Path | None = None

    def __str__(self) -> str:
        return f"{self.scenario.name}, rule {self.rule}, seed {self.seed}"

    def digest(self) -> str:
        """Names the cell by its inputs, whatever else the scenario lists; `auto` is the engine that it comes to."""
        one = self.scenario.but(name="cell", rules=(self.rule.model_dump(),), seeds=(self.seed,))
        return settled(one).digest()

    def run(self, task: Task | None = None) -> Iterator[News]:
        """Run the cell, round by round; a task of the caller's own takes the place of the scenario's.

        Raises:
            UsersError: code of the user's fails; the message says where.
        """
        began = perf_counter()
        setup = prepare(self.scenario, task, seed=self.seed)
        rule = build_rule(self.rule.name, **self.rule.parameters)
        spent = 0.0
        with reported(self.folder):
            engine = build_engine(setup, rule, name=str(self.rule), device=self.device)
            seconds = {"prepare": perf_counter() - began}
            yield Started(f"{choose_engine(self.scenario)}; {engine.description}")
            left = perf_counter()
            for record in engine.rounds():
                spent += perf_counter() - left
                yield record
                left = perf_counter()
        seconds |= engine.seconds()
        seconds["rest"] = max(0.0, seconds["prepare"] + spent - sum(seconds.values()))
        yield Finished(self.scenario.rounds, seconds)


def said(cell: Cell) -> Iterator[News | Failed]:
    """What a worker far away says of a cell: its news, or in their stead why it failed."""
    try:
        yield from cell.run()
    except ASKED as error:
        yield Failed(str(error), asked=True)
    except Exception as error:
        yield Failed(f"{type(error).__name__}: {error}", asked=False)


def cells_of(scenario: Scenario, device: str = "cpu", folder: Path | None = None) -> list[Cell]:
    """Every rule with every seed, rule by rule."""
    return [Cell(scenario, rule, seed, device, folder) for rule in scenario.rules for seed in scenario.seeds]


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
        "far": np.concatenate([np.empty(0, bool), *(each.away for each in kept)]),
        "diverged": np.array([(each.round, node) for each in records for node in each.diverged]).reshape(-1, 2),
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
    diverged = parts.get("diverged", np.empty((0, 2)))  # not in files of before there was such a thing
    for round, size in enumerate(parts["sizes"].tolist()):
        here = slice(at, at + max(0, size))
        at = here.stop
        measured = bool(parts["measured"][round])
        sybil, honest = parts["influence"][round].tolist()
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
                edges=None if size < 0 else _edges(parts, here),
                diverged=diverged[diverged[:, 0] == round, 1].astype(np.int32),
            )
        )
    return records


def _edges(parts: Mapping[str, NDArray[Any]], here: slice) -> Edges:
    away = parts["far"][here] if "far" in parts else np.empty(0, dtype=bool)  # not in older files
    said = parts["receivers"][here], parts["senders"][here], parts["weights"][here], parts["verdicts"][here]
    return Edges(*said, away if away.any() else None)
