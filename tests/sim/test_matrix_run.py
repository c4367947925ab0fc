"""A small matrix from file to page: resumed, extended, the same on any number of workers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from simulator.matrix.figures import outcome
from simulator.matrix.run import Matrix, Progress, run_matrix
from simulator.study.choice import Choice
from simulator.study.records import RoundRecord
from simulator.work.cells import Cell, News, Restarted
from simulator.work.pool import Here

TINY: dict[str, object] = {
    "rules": ["mean", "hedgerow"],
    "attacks": ["label-flip"],
    "networks": [{"topology": "ring", "nodes": 5}],
    "attackers": [{"phi": 1.0}],
    "scenario": {"task": "digits", "rounds": 3, "evaluate_samples": 100},
}


class Counting:
    """Runs cells here, counts them, and may stop before the end or lose a worker."""

    def __init__(self, most: int = 1000, lose: int = -1) -> None:
        self.cells, self._most, self._lose = 0, most, lose

    def run(self, cells: Sequence[Cell]) -> Iterator[tuple[int, News]]:
        for position, cell in enumerate(cells):
            if self.cells == self._most:
                raise KeyboardInterrupt
            if position == self._lose:
                yield position, next(iter(cell.run()))
                yield position, Restarted()
            for _, news in Here().run([cell]):
                yield position, news
            self.cells += 1


def numbers(folder: Path) -> object:
    found = json.loads((folder / "summary.json").read_text())
    for cell in found["cells"]:
        del cell["milliseconds"]
    return found


def test_matrix_runs_is_resumed_and_grows(tmp_path: Path) -> None:
    whole, told = tmp_path / "whole", list[Progress]()
    report = run_matrix(Matrix.of(TINY), whole, 1, told.append)
    assert len(report.outcomes) == 2 * 4
    assert {each.name for each in whole.iterdir()} == {
        "cells", "records.jsonl", "summary.json", "matrix.json", "matrix.html",
    }  # fmt: skip
    assert told[-1].done == told[-1].cells == 8
    assert told[-1].share == 1
    assert [each.share for each in told] == sorted(each.share for each in told)
    assert all(each.remaining is not None and each.remaining >= 0 for each in told if each.share > 0.5)

    stopped, first = tmp_path / "stopped", Counting(most=5)
    with pytest.raises(KeyboardInterrupt):
        run_matrix(Matrix.of(TINY), stopped, pool=first)
    second = Counting()
    run_matrix(Matrix.of(TINY), stopped, pool=second)
    assert second.cells == 8 - 5
    assert numbers(stopped) == numbers(whole)

    third = Counting()
    run_matrix(Matrix.of(TINY | {"rules": ["mean", "hedgerow", "median"]}), stopped, pool=third)
    assert third.cells == 2  # the new rule, with and without attack


def test_lost_worker_changes_nothing(tmp_path: Path) -> None:
    small = Matrix.of(TINY | {"rules": ["mean"]})
    told = list[Progress]()
    run_matrix(small, tmp_path / "calm", pool=Counting())
    run_matrix(small, tmp_path / "lost", None, told.append, pool=Counting(lose=1))
    assert numbers(tmp_path / "calm") == numbers(tmp_path / "lost")
    assert told[-1].share == 1


def test_seeds_are_the_outer_loop(tmp_path: Path) -> None:
    order: list[int] = []

    class Watching(Counting):
        def run(self, cells: Sequence[Cell]) -> Iterator[tuple[int, News]]:
            order.extend(cell.seed for cell in cells)
            return super().run(cells)

    run_matrix(Matrix.of(TINY | {"rules": ["mean"], "seeds": [2, 1]}), tmp_path, pool=Watching())
    assert order == [2] * 6 + [1] * 6


def test_records_hold_every_node(tmp_path: Path) -> None:
    run_matrix(Matrix.of(TINY | {"rules": ["mean"]}), tmp_path, pool=Counting())
    rows = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert len(rows) == 6 * 3
    assert all(len(row["accuracy"]) == len(row["attack_success"]) == 5 for row in rows)


def test_ends_are_run_once_for_attacks_that_poison_alike_and_come_out_as_if_run_for_each(tmp_path: Path) -> None:
    attacks = [
        "label-flip",
        {"name": "label-flip+boosted", "label-flip.second": 1, "factor": 9.0},
        "label-flip+scaled-clones",
        "backdoor",
    ]
    matrix = Matrix.of(TINY | {"rules": ["mean"], "attacks": attacks})
    told, counting = list[Progress](), Counting()
    report = run_matrix(matrix, tmp_path, None, told.append, pool=counting)
    assert len(report.outcomes) == 5 * 3
    assert counting.cells == told[-1].cells == 5 * 3 - 2 * 1  # boosted spells a parameter out, so it runs by itself
    for key, found in report.outcomes.items():
        if key.rule == "mean":
            continue
        cell = Cell(key.condition.scenario, Choice(name=key.rule), key.seed)
        records = [news for news in cell.run() if isinstance(news, RoundRecord)]
        wanted = outcome(records, key.condition.scenario.nodes)
        assert (found.accuracy == wanted.accuracy).all()
        assert (found.success == wanted.success).all()
        assert (found.edges, found.sybil_share, found.bytes) == (wanted.edges, wanted.sybil_share, wanted.bytes)
