"""Ctrl-C in the first seconds of a command, while it imports what it needs: one line, exit code 130, nobody left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

ROOT = Path(__file__).parents[2]
STARTED = """
import os, signal, sys

class Terminal:
    '''Sends Ctrl-C to the whole group of processes at the moment in which a module is being looked for.'''
    def find_spec(self, name, path=None, target=None):
        if name == moment:
            sys.meta_path.remove(self)
            os.killpg(0, signal.SIGINT)

moment = sys.argv.pop(1)
sys.argv[0] = "hedgerow"
sys.meta_path.insert(0, Terminal())
import hedgerow
hedgerow.main()
"""
SIMULATED = ": nothing was simulated yet, and nothing is kept"
SMALL = ("--nodes", "4", "--rounds", "2", "--rule", "mean", "--rule", "median", "--topology", "ring")


def interrupted(cwd: Path, moment: str, *words: str) -> str:
    """What a command says that gets Ctrl-C while it imports a module."""
    running = subprocess.Popen(
        [sys.executable, "-c", STARTED, moment, *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as a shell gives it
    )
    with running:
        stdout, stderr = running.communicate(timeout=120)
    assert (running.returncode, stdout) == (130, ""), stderr
    assert gone(running.pid, 60)
    return stderr


@pytest.mark.parametrize(
    ("moment", "words", "there"),
    [
        ("typer", ("rules",), ""),
        ("rich", ("rules",), ""),
        ("simulator.commands.rules", ("rules",), ""),
        ("simulator.commands.simulate", ("simulate",), ""),
        ("torch", ("simulate", *SMALL), SIMULATED),
        ("torch.nn", ("simulate", *SMALL), SIMULATED),
        ("networkx", ("simulate", *SMALL), SIMULATED),
        ("multiprocessing.forkserver", ("simulate", *SMALL, "--workers", "2"), SIMULATED),
        ("simulator.study.scenario", ("simulate", *SMALL, "--workers", "2"), SIMULATED),
        ("simulator.engines", ("simulate", *SMALL, "--workers", "2"), SIMULATED),
        ("simulator.matrix.run", ("matrix", "smoke"), ": nothing was run yet; what is kept of an earlier run stays"),
        ("node.learning.pretraining", ("pretrain", "x", "--task", "digits"), ""),
        ("simulator.live.suites", ("attack", "127.0.0.1:1"), ": nothing was attacked yet"),
        ("aiohttp", ("status", "127.0.0.1:1"), ""),
        ("node.daemon", ("init", "n"), ""),
    ],
)
def test_before_the_work_begins_it_is_one_line(tmp_path: Path, moment: str, words: tuple[str, ...], there: str) -> None:
    assert interrupted(tmp_path, moment, *words) == f"Stopped{there}\n"


@pytest.mark.parametrize("moment", ["node.daemon", "torch", "uvloop"])
def test_a_node_that_has_not_begun_says_so_and_where_it_is(tmp_path: Path, moment: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "hedgerow", "init", "n", "--listen", "127.0.0.1:0"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=120,
    )
    there = "the node had not begun, and its folder n is as it was; the same command starts it"
    assert interrupted(tmp_path, moment, "run", "n") == f"Stopped: {there}\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_import_in_the_middle_of_the_work_does_not_swallow_it(tmp_path: Path, workers: str) -> None:
    moment = "sklearn" if workers == "1" else "multiprocessing.popen_forkserver"
    said = interrupted(tmp_path, moment, "simulate", *SMALL, "--rounds", "100000", "--out", "x y", "--workers", workers)
    words = f"simulate {' '.join(SMALL)} --rounds 100000 --out 'x y' --workers {workers}"
    last = f"Stopped: 0 of 2 cells are finished and kept; go on with: hedgerow {words}"
    lines = said.splitlines()
    assert lines[-1] == last
    assert all(line.startswith("fast engine (") or "this takes about" in line for line in lines[:-1])
    assert len(lines) <= 3


def gone(group: int, seconds: float) -> bool:
    """Whether nobody is left in a process group."""
    until = monotonic() + seconds
    while monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        sleep(0.05)
    return False
