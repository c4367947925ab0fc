"""Cells on a real Ray on this machine: the same records, a killed worker costs one attempt, nothing is left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from simulator.study.scenario import Scenario
from simulator.work.cells import Cell, Found, News, Restarted, Started
from simulator.work.ray_pool import RayPool
from simulator.work.sweep import sweep

SCENARIO = Scenario.of(
    {"nodes": 4, "rounds": 12, "rules": ["mean", "median"], "sybils": 1, "evaluate_every": 4, "engine": "world"}
    | {"evaluate_samples": 50, "topology": "ring", "partition": "iid(per_class=10)"}
)


def descendants() -> dict[int, str]:
    """Processes that this one has started, directly or not: command lines by id."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                names[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # it has ended meanwhile
            if stat[0] != "Z":
                parents[int(entry.name)] = int(stat[1])
    mine = {os.getpid()}
    while grown := {each for each, parent in parents.items() if parent in mine} - mine:
        mine |= grown
    return {each: names[each] for each in mine - {os.getpid()}}


def listening() -> set[str]:
    """Addresses, as the kernel prints them, that processes started by this one listen on."""
    sockets = set()
    for process in descendants():
        try:
            links = [os.readlink(each) for each in Path(f"/proc/{process}/fd").iterdir()]
        except OSError:
            continue
        sockets |= {link[8:-1] for link in links if link.startswith("socket:[")}
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()]
    return {words[1].partition(":")[0] for words in lines if words[3] == "0A" and words[9] in sockets}


@pytest.mark.timeout(240)
def test_ray_runs_the_same_cells_survives_a_killed_worker_and_leaves_nothing_behind() -> None:
    expected = sweep(SCENARIO, workers=2).numbers(False)
    before = set(descendants())  # processes leave their tracker of shared resources behind
    heard: list[tuple[str, type]] = []
    addresses: set[str] = set()

    def tell(cell: Cell, news: News | Found) -> None:
        if isinstance(news, Started) and not addresses:
            addresses.update(listening())
            worker = next(each for each, name in descendants().items() if name.startswith("ray::_work"))
            os.kill(worker, signal.SIGKILL)
        if isinstance(news, Restarted):
            heard.append((str(cell.rule), type(news)))

    report = sweep(SCENARIO, pool=RayPool(workers=1), tell=tell)
    assert heard == [("mean", Restarted)]
    assert [[row.round for row in rows] for rows in report.records.values()] == [list(range(12))] * 2
    assert report.numbers(False) == expected
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert addresses
    assert set(descendants()) <= before
