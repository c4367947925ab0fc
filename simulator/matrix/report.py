"""What came out of a matrix: an object to print, to turn into JSON, and to write into a folder.

Law: differences (tax, harm) are taken seed by seed before they are averaged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from simulator.matrix import page, tables
from simulator.matrix.figures import (
    ORACLE,
    Figures,
    Key,
    Outcome,
    ends_outside,
    estimate,
    lowest_tenth,
    mean,
    measured,
    place_of,
)
from simulator.matrix.plan import Condition, Matrix


@dataclass(frozen=True, slots=True)
class MatrixReport:
    """A finished matrix.

    Attributes:
        matrix: what was run.
        conditions: its places.
        outcomes: every cell.
    """

    matrix: Matrix
    conditions: tuple[Condition, ...]
    outcomes: Mapping[Key, Outcome]

    def figures(self) -> list[Figures]:
        """All places, and in each the rules in order: `alone`, those of the matrix, `oracle-mean`."""
        labels = self.matrix.labels()
        return [
            self._figures(condition, rule, labels[rule])
            for condition in self.conditions
            for rule in ends_outside([str(rule) for rule in condition.scenario.rules])
        ]

    def numbers(self) -> dict[str, object]:
        """The JSON object; same matrix, same object, milliseconds aside."""
        return {
            "matrix": self.matrix.name,
            "about": self.matrix.about,
            "cells": [_plain(asdict(figures)) for figures in self.figures()],
        }

    def show(self, console: Console) -> None:
        """Print the page's table "At a glance", its main columns."""
        console.print(tables.printed(self.figures()))

    def write(self, folder: Path | str) -> Path:
        """Write all files (each whole or not at all) and return the page's path.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _put(folder / "records.jsonl", "".join(f"{json.dumps(row)}\n" for row in self._rows()))
        _put(folder / "summary.json", json.dumps(self.numbers(), indent=1) + "\n")
        _put(folder / "matrix.json", self.matrix.model_dump_json(indent=1, exclude_none=True) + "\n")
        return _put(folder / "matrix.html", page.render(self.matrix, self.conditions, self.figures()))

    def _figures(self, condition: Condition, rule: str, label: str) -> Figures:
        seeds = [seed for seed in condition.scenario.seeds if Key(condition, rule, seed) in self.outcomes]
        cells = [self.outcomes[Key(condition, rule, seed)] for seed in seeds]
        calm = next(each for each in self.conditions if each.calm and each.panel[:2] == condition.panel[:2])
        ceiling = [self.outcomes.get(Key(calm, ORACLE, seed)) for seed in seeds]
        unhurt = [self.outcomes.get(Key(calm, rule, seed)) for seed in seeds]
        first = cells[0]
        curve = [
            (
                number,
                mean(cell.accuracy[at].mean() for cell in cells),
                mean(cell.success[at].mean() for cell in cells),
            )
            for at, number in enumerate(first.rounds)
        ]
        goal = 0.9 * mean(cell.accuracy[-1].mean() for cell in ceiling if cell is not None)
        harm = [
            (cell.success[-1].mean() - before.success[-1].mean()) * condition.scenario.nodes / cell.edges
            for cell, before in zip(cells, unhurt, strict=True)
            if before is not None and cell.edges
        ]
        tax = [
            best.accuracy[-1].mean() - cell.accuracy[-1].mean()
            for cell, best in zip(cells, ceiling, strict=True)
            if best is not None
        ]
        return Figures(
            *place_of(condition),
            rule=rule,
            label=label,
            accuracy=estimate([float(cell.accuracy[-1].mean()) for cell in cells]),
            worst_accuracy=min(float(cell.accuracy[-1].min()) for cell in cells),
            worst_decile=mean(lowest_tenth(cell.accuracy[-1]) for cell in cells),
            success=estimate([float(cell.success[-1].mean()) for cell in cells]),
            worst_success=max(float(cell.success[-1].max()) for cell in cells),
            tax=estimate(tax) if condition.calm else None,
            harm=None if condition.calm or not harm else mean(harm),
            sybil_share=None if condition.calm else measured(mean(cell.sybil_share for cell in cells)),
            excluded=measured(mean(cell.excluded for cell in cells)),
            bytes=mean(cell.bytes for cell in cells),
            milliseconds=mean(cell.milliseconds for cell in cells),
            rounds_to_90=next((number for number, accuracy, _ in curve if accuracy >= goal), None),
            curve=tuple(curve),
        )

    def _rows(self) -> Iterable[dict[str, object]]:
        for key, cell in self.outcomes.items():
            for at, number in enumerate(cell.rounds):
                yield {
                    "attack": key.condition.attack,
                    "split": key.condition.split,
                    "network": key.condition.network,
                    "attackers": key.condition.attackers,
                    "rule": key.rule,
                    "seed": key.seed,
                    "round": number,
                    "accuracy": cell.accuracy[at].round(5).tolist(),
                    "attack_success": cell.success[at].round(5).tolist(),
                    "sybil_share": measured(cell.sybil_share),
                    "honest_excluded": measured(cell.excluded),
                    "bytes": round(cell.bytes),
                }


def _plain(value: object) -> object:
    """Numbers rounded, NaN as null."""
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _put(path: Path, text: str) -> Path:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path
