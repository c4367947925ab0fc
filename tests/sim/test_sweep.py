"""Sweeps: the same records here and in workers, kept on disk, resumed, and not lost with a worker."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulator.study.choice import Choice
from simulator.study.records import RoundRecord
from simulator.study.scenario import Scenario, ScenarioError
from simulator.work.cells import Cell, Failed, Finished, Found, News, Restarted, Started, cells_of, load, said, save
from simulator.work.nursery import cores, foresee
from simulator.work.pool import CellLost, Here, Losses
from simulator.work.processes import Processes
from simulator.work.sweep import default_workers, sweep

SCENARIO = Scenario.of(
    {"nodes": 4, "rounds": 3, "rules": ["mean", "median"], "sybils": 1, "evaluate_every": 2}
    | {"evaluate_samples": 50, "topology": "ring", "partition": "iid(per_class=10)"}
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
            if isinstance(news, Finished):
                self.ran.append(f"{cells[position].rule}/{cells[position].seed}")
                self._left = None if self._left is None else self._left - 1


def test_a_cell_says_how_it_runs_then_its_rounds_then_where_its_time_went() -> None:
    first, *records, last = cells_of(SCENARIO)[0].run()
    assert isinstance(first, Started)
    assert "fast engine (synchronous scenario)" in first.about
    assert [record.round for record in records if isinstance(record, RoundRecord)] == [0, 1, 2]
    assert isinstance(last, Finished)
    assert last.rounds == 3
    assert {"prepare", "train", "mix", "evaluate", "rest"} <= set(last.seconds)
    assert min(last.seconds.values()) >= 0


def test_cells_survive_the_disk(tmp_path: Path) -> None:
    cell = cells_of(SCENARIO)[0]
    records = [news for news in cell.run() if isinstance(news, RoundRecord)]
    assert {record.accuracy is None for record in records} == {True, False}
    records[1] = replace(records[1], diverged=np.array([0, 4], dtype=np.int32))
    save(tmp_path / "cells" / "one.npz", records)
    again = load(tmp_path / "cells" / "one.npz", cell)
    assert again is not None
    for kept, record in zip(again, records, strict=True):
        assert (kept.rule, kept.seed, kept.round) == (record.rule, record.seed, record.round)
        assert kept.influence == record.influence
        assert (kept.accuracy is None) == (record.accuracy is None)
        np.testing.assert_array_equal(kept.bytes, record.bytes)
        np.testing.assert_array_equal(kept.diverged, record.diverged)
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
    told: list[News | Found] = []
    again = sweep(SCENARIO, folder=tmp_path, pool=third, tell=lambda _, news: told.append(news))
    assert third.ran == []
    assert told == [Found(3), Found(3)]
    assert again.numbers(False) == report.numbers(False) == sweep(SCENARIO).numbers(False)


def test_another_scenario_does_not_find_the_cells_of_this_one(tmp_path: Path) -> None:
    sweep(SCENARIO.but(rules=["mean"], rounds=1), folder=tmp_path, pool=Watched())
    other = Watched()
    sweep(SCENARIO.but(rules=["mean"], rounds=1, alpha=0.3), folder=tmp_path, pool=other)
    assert other.ran == ["mean/1"]
    same = Watched()
    sweep(SCENARIO.but(rules=["mean"], rounds=1, seeds=[1, 2], name="other"), folder=tmp_path, pool=same)
    assert same.ran == ["mean/2"]


def test_a_lost_worker_costs_its_cell_one_attempt_and_no_bit() -> None:
    killed: list[Cell] = []
    restarted: list[Cell] = []

    def kill(cell: Cell, news: News | Found) -> None:
        if isinstance(news, Started) and not killed:
            killed.append(cell)
            multiprocessing.active_children()[0].kill()
        if isinstance(news, Restarted):
            restarted.append(cell)

    scenario = SCENARIO.but(rules=["mean"], seeds=[1, 2], engine="world", rounds=12)  # long enough to be killed in
    report = sweep(scenario, pool=Processes(1), tell=kill)
    assert [cell.seed for cell in killed] == [cell.seed for cell in restarted] == [1]
    assert [(row.seed, row.round) for row in report.records["mean"]] == [(s, r) for s in (1, 2) for r in range(12)]
    assert report.numbers(False) == sweep(scenario, workers=1).numbers(False)
    assert multiprocessing.active_children() == []


def test_a_cell_that_cannot_be_run_ends_the_sweep_in_one_sentence() -> None:
    broken = SCENARIO.but(rules=["mean"], task="fashion-mnist", data_dir="/nowhere", seeds=[7, 8])
    with pytest.raises(ScenarioError, match=r"^/nowhere lacks"):
        sweep(broken, pool=Processes(1))
    assert multiprocessing.active_children() == []


def finish(news: Iterator[tuple[int, News]], finished: set[int], victim: int = -1) -> None:
    """Hear all there is, note whose cells are done, and kill the worker of one whenever it starts."""
    for position, each in news:
        if isinstance(each, Started) and position == victim:
            multiprocessing.active_children()[0].kill()
        if isinstance(each, Finished):
            finished.add(position)


@pytest.mark.parametrize("pool", [Here(), Processes(2)])
def test_cells_that_fail_are_named_when_the_others_are_finished(pool: Here | Processes) -> None:
    good = cells_of(SCENARIO.but(rules=["mean"], seeds=[1, 2]))
    bad = replace(good[0], rule=Choice(name="mean", parameters={"speed": 1}))
    finished: set[int] = set()
    with pytest.raises(CellLost, match=r"mean\(speed=1\), seed 1: RuleError: .* \(and 1 more cells failed\)$"):
        finish(pool.run([bad, good[0], bad, good[1]]), finished)
    assert finished == {1, 3}
    assert multiprocessing.active_children() == []


def test_a_worker_that_is_always_lost_costs_only_its_cell() -> None:
    cells = cells_of(SCENARIO.but(rules=["mean"], seeds=[1, 2], engine="world", rounds=12))
    finished: set[int] = set()
    with pytest.raises(CellLost, match="seed 1: its worker was lost twice"):
        finish(Processes(1).run(cells), finished, victim=0)
    assert finished == {1}


def test_a_bug_in_a_cell_ends_the_sweep_with_its_name() -> None:
    cell = replace(cells_of(SCENARIO)[0], rule=Choice(name="mean", parameters={"speed": 1}))
    (failed,) = said(cell)
    assert isinstance(failed, Failed)
    assert not failed.asked
    losses = Losses()
    losses.settle()
    losses.note(cell, failed)
    with pytest.raises(
        CellLost, match=r"^digits-label-flip, rule mean\(speed=1\), seed 1: RuleError: unknown parameter"
    ):
        losses.settle()


def test_short_work_stays_in_one_process() -> None:
    assert default_workers(cells_of(SCENARIO)) == 1
    assert default_workers([]) == 1
    assert default_workers(cells_of(Scenario())) == min(5, cores())
    assert default_workers(cells_of(SCENARIO.but(rounds=100_000))) == min(2, cores())
    assert default_workers(cells_of(SCENARIO.but(rounds=100_000, rules=["mean"]))) == 1


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"nodes": 4, "rounds": 3},
        {"rules": ["mean"], "nodes": 1000},
        {"rules": ["mean"], "seeds": [1, 2], "nodes": 1000},
        {"nodes": 10, "rounds": 6, "engine": "world"},
        {"nodes": 10, "rounds": 6, "engine": "fast"},
    ],
)
def test_the_guess_before_the_imports_is_what_the_sweep_decides(raw: dict[str, object]) -> None:
    assert foresee(raw, None) == (default_workers(cells_of(Scenario.of({"name": "x"} | raw))) > 1)


def test_who_asks_for_workers_gets_them_for_more_than_one_cell() -> None:
    assert foresee({"nodes": 2, "rounds": 1}, 2)
    assert not foresee({"rules": ["mean"]}, 2)
    assert not foresee({}, 1)
    assert not foresee({"rules": "not a list", "nodes": "many", "rounds": 1}, None)


def test_the_nursery_only_imports() -> None:
    code = """if True:
        import importlib, os, sys
        import numpy
        threads = len(os.listdir("/proc/self/task"))  # of NumPy's BLAS, which minds forks itself
        from simulator.work.nursery import PRELOADED
        assert "torch" not in sys.modules
        for name in PRELOADED:
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as missing:
                assert missing.name == "numba"
        assert "simulator.fast.engine" in sys.modules
        assert "sklearn" not in sys.modules
        assert len(os.listdir("/proc/self/task")) == threads
    """
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, timeout=120)


def test_an_unknown_task_is_refused_before_any_cell_runs() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'digits'"):
        sweep(SCENARIO.but(task="digit"), pool=Watched())


def test_a_cell_is_named_by_its_inputs_alone() -> None:
    cell = cells_of(SCENARIO)[0]
    assert cell.digest() == replace(cell, scenario=SCENARIO.but(rules=["mean"], name="x")).digest()
    assert cell.digest() == replace(cell, scenario=SCENARIO.but(engine="fast")).digest()
    assert cell.digest() != replace(cell, scenario=SCENARIO.but(engine="world")).digest()
    assert cell.digest() != replace(cell, seed=2).digest()
