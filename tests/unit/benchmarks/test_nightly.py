"""The page of the long runs keeps what was not run again; a lag is read off two histograms."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.nightly_page import Figure, Night, keep
from benchmarks.siege import bound
from benchmarks.trio import loss

ORDER = ["siege", "trio-known"]


def rows(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith(("| siege", "| trio"))]


def test_a_part_that_was_not_run_keeps_its_line_and_a_newer_figure_replaces_an_older_one(tmp_path: Path) -> None:
    early, late = Night("2001-01-01", "abc", "idle"), Night("2002-02-02", "def", "busy")
    keep(tmp_path, early, "trio-known", [Figure("rows", "3 of 4", "all", False)], ORDER)
    keep(tmp_path, early, "siege", [Figure("process", "alive"), Figure("files", "9 | 9\nat most")], ORDER)
    page = keep(tmp_path, late, "siege", [Figure("process", "gone", "alive", False)], ORDER)
    assert rows(page) == [
        "| siege | files | 9 / 9 at most |  |  | 2001-01-01 | abc | idle |",
        "| siege | process | gone | alive | **falls short** | 2002-02-02 | def | busy |",
        "| trio-known | rows | 3 of 4 | all | **falls short** | 2001-01-01 | abc | idle |",
    ]


def test_a_percentile_of_what_came_between_two_histograms_is_the_bound_of_its_bucket() -> None:
    before = {0.01: 5.0, 0.1: 6.0, math.inf: 7.0}
    after = {0.01: 103.0, 0.1: 106.0, math.inf: 107.0}
    assert bound(before, after, 0.5) == 0.01
    assert bound(before, after, 0.99) == 0.1
    assert bound(before, after, 1.0) == 0.1
    assert bound(before, {**after, math.inf: 207.0}, 0.99) == math.inf
    assert bound(before, before, 0.99) == math.inf
    assert bound({}, {}, 0.99) == math.inf


def test_what_a_row_lost_is_all_where_the_node_gave_no_answer() -> None:
    assert loss({"accuracy": [0.9, 0.6], "note": ""}) == 0.9 - 0.6
    assert loss({"accuracy": [0.9, None], "note": "no answer"}) == 1.0
    assert loss({"accuracy": [None, None], "note": ""}) == 0.0
