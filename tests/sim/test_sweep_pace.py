"""How far a sweep is and where its time went: rules differ in cost, cells on disk cost nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from simulator.study.records import Influence, RoundRecord
from simulator.study.scenario import Scenario
from simulator.work.cells import Cell, Finished, Found, Restarted, Started, cells_of
from simulator.work.pace import Pace
from simulator.work.timesheet import Timesheet

CELLS = cells_of(Scenario.of({"rules": ["mean", "krum", "median"], "seeds": [1, 2], "rounds": 10}))
MEAN, MEAN2, KRUM, KRUM2, MEDIAN, MEDIAN2 = CELLS


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record(cell: Cell) -> RoundRecord:
    return RoundRecord(str(cell.rule), cell.seed, 0, None, None, Influence(0, 0), np.zeros(1, np.int64), 0.0, None)


def play(pace: Pace, clock: Clock, cell: Cell, rounds: int, seconds: float, finish: bool = True) -> None:
    pace.hear(cell, Started("here"))
    for _ in range(rounds):
        clock.now += seconds
        pace.hear(cell, record(cell))
    if finish:
        pace.hear(cell, Finished(rounds))


def test_what_is_left_is_counted_at_each_rules_own_pace() -> None:
    clock = Clock()
    pace = Pace(CELLS, clock)
    assert pace.remaining() is None
    play(pace, clock, MEAN, 10, 0.1)
    assert pace.remaining() == pytest.approx(50 * 0.1)  # nothing else is known
    play(pace, clock, KRUM, 10, 1.0)
    # one cell of mean, one of krum, and two of a rule taken for the mean of both
    assert pace.remaining() == pytest.approx(1.0 + 10.0 + 20 * (1.0 + 10.0) / 20)
    assert (pace.done, pace.total, pace.finished, pace.cells) == (20, 60, 2, 6)


def test_cells_found_on_disk_are_done_and_say_nothing_about_speed() -> None:
    clock = Clock()
    pace = Pace(CELLS, clock)
    for cell in (MEAN, MEAN2, KRUM, KRUM2):
        pace.hear(cell, Found(10))
    assert pace.remaining() is None
    assert pace.done == 40
    play(pace, clock, MEDIAN, 5, 2.0, finish=False)
    assert pace.remaining() == pytest.approx(15 * 2.0)


def test_cells_side_by_side_share_the_work_but_none_is_shorter_than_itself() -> None:
    clock = Clock()
    pace = Pace([MEAN, MEAN2, KRUM], clock)
    pace.hear(MEAN, Started("there"))
    pace.hear(MEAN2, Started("there"))
    clock.now += 1
    pace.hear(MEAN, record(MEAN))
    pace.hear(MEAN2, record(MEAN2))
    assert pace.remaining() == pytest.approx(28 / 2)
    for cell in (MEAN, MEAN2):
        pace.hear(cell, Finished(10))
    assert pace.remaining() == pytest.approx(10.0)


def test_a_cell_that_begins_anew_is_not_done() -> None:
    clock = Clock()
    pace = Pace([MEAN, KRUM], clock)
    play(pace, clock, MEAN, 4, 1.0, finish=False)
    pace.hear(MEAN, Restarted())
    assert (pace.done, pace.remaining()) == (0, pytest.approx(20.0))
    play(pace, clock, MEAN, 10, 1.0)
    play(pace, clock, KRUM, 10, 1.0)
    assert (pace.done, pace.remaining(), pace.finished) == (20, 0.0, 2)


def test_phases_are_summed_by_rule_over_the_cells_that_ran(tmp_path: Path) -> None:
    sheet = Timesheet()
    sheet.hear(MEAN, Started("fast engine"))
    sheet.hear(MEAN, Finished(10, {"train": 1.0, "mix": 0.5}))
    sheet.hear(MEAN2, Started("fast engine"))
    sheet.hear(MEAN2, Finished(10, {"train": 2.0}))
    sheet.hear(KRUM, Finished(10, {"train": 1.0, "weights": 3.0}))
    sheet.hear(KRUM2, Found(10))
    found = json.loads(sheet.write(tmp_path).read_text())
    assert found == {
        "engines": ["fast engine"],
        "cells_found": 1,
        "rules": {
            "mean": {"rounds": 20, "seconds": {"train": 3.0, "mix": 0.5}},
            "krum": {"rounds": 10, "seconds": {"train": 1.0, "weights": 3.0}},
        },
    }
    out = io.StringIO()
    Console(width=100, file=out).print(sheet.table())
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["train", "3.00", "86%", "1.00", "25%"] in lines
    assert ["weights", "-", "3.00", "75%"] in lines
    assert ["total", "3.50", "100%", "4.00", "100%"] in lines
    assert ["ms", "a", "round", "175.0", "400.0"] in lines
    assert "(1 found on disk left out)" in " ".join(out.getvalue().split())
