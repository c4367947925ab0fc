"""Sweeps: the same records here and in workers, kept on disk, resumed, and not lost with a worker."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulator.cells import Cell, cells_of, load, save
from simulator.records import RoundRecord
from simulator.scenario import Scenario, ScenarioError
from simulator.sweep import Here, News, sweep

SCENARIO = Scenario.of(
    {"engine": "world", "nodes": 4, "rounds": 3, "rules": ["mean", "median"], "sybils": 1, "evaluate_every": 2}
    | {"evaluate_samples": 50, "topology": "ring"}
)


class Watched:
    """Runs cells here and remembers which."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.ran: list[str] = []
        self._left = stop_after

    def run(self, cells: Sequence[Cell]) -> Iterator[tuple[int, News]]:
        for position, news in Here().run(cells):
            if self._left == 0:
                raise KeyboardInterrupt
            yield position, news
            if not isinstance(news, RoundRecord):
                self.ran.append(f"{cells[position].rule}/{cells[position].seed}")
                self._left = None if self._left is None else self._left - 1


def test_cells_survive_the_disk(tmp_path: Path) -> None:
    cell = cells_of(SCENARIO)[0]
    records = list(cell.run())
    save(tmp_path / "cells" / "one.npz", records)
    again = load(tmp_path / "cells" / "one.npz", cell)
    assert again is not None
    for kept, record in zip(again, records, strict=True):
        assert (kept.rule, kept.seed, kept.round) == (record.rule, record.seed, record.round)
        assert kept.influence == record.influence
        assert (kept.accuracy is None) == (record.accuracy is None) == (record.round == 1)
        np.testing.assert_array_equal(kept.bytes, record.bytes)
        if record.accuracy is not None and record.edges is not None:
            assert kept.edges is not None
            np.testing.assert_array_equal(kept.accuracy, record.accuracy)
            np.testing.assert_array_equal(kept.edges.weights, record.edges.weights)
    (tmp_path / "cells" / "one.npz").write_bytes(b"PK torn")
    assert load(tmp_path / "cells" / "one.npz", cell) is None
    assert load(tmp_path / "none.npz", cell) is None


def test_what_was_finished_before_an_interrupt_is_not_run_again(tmp_path: Path) -> None:
    first, second, third = Watched(stop_after=1), Watched(), Watched()
    with pytest.raises(KeyboardInterrupt):
        sweep(SCENARIO, folder=tmp_path, pool=first)
    report = sweep(SCENARIO, folder=tmp_path, pool=second)
    assert (first.ran, second.ran) == (["mean/1"], ["median/1"])
    told: list[RoundRecord] = []
    again = sweep(SCENARIO, folder=tmp_path, pool=third, tell=told.append)
    assert third.ran == []
    assert len(told) == 6
    assert again.numbers(False) == report.numbers(False) == sweep(SCENARIO).numbers(False)


def test_another_scenario_does_not_find_the_cells_of_this_one(tmp_path: Path) -> None:
    sweep(SCENARIO.but(rules=["mean"], rounds=1), folder=tmp_path, pool=Watched())
    other = Watched()
    sweep(SCENARIO.but(rules=["mean"], rounds=1, alpha=0.3), folder=tmp_path, pool=other)
    assert other.ran == ["mean/1"]
    same = Watched()
    sweep(SCENARIO.but(rules=["mean"], rounds=1, seeds=[1, 2], name="other"), folder=tmp_path, pool=same)
    assert same.ran == ["mean/2"]


def test_a_lost_worker_costs_its_cell_one_attempt() -> None:
    killed: list[int] = []

    def kill(record: RoundRecord) -> None:
        if not killed:
            worker = multiprocessing.active_children()[0]
            killed.append(worker.pid or 0)
            worker.kill()

    scenario = SCENARIO.but(rounds=30, evaluate_every=30)
    report = sweep(scenario, workers=2, tell=kill)
    assert killed
    assert [len(rows) for rows in report.records.values()] == [30, 30]
    assert report.numbers(False) == sweep(scenario).numbers(False)
    assert multiprocessing.active_children() == []


def test_an_unknown_task_is_refused_before_any_cell_runs() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'digits'"):
        sweep(SCENARIO.but(task="digit"), pool=Watched())


def test_a_cell_is_named_by_its_inputs_alone() -> None:
    cell = cells_of(SCENARIO)[0]
    assert cell.digest() == replace(cell, scenario=SCENARIO.but(rules=["mean"], name="x")).digest()
    assert cell.digest() != replace(cell, seed=2).digest()
