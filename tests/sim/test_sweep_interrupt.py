"""Ctrl-C, as a terminal sends it: to the command and all its workers at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
LONG = 'nodes = 4\nrounds = 3\nsybils = 1\nrules = ["mean"]\ntopology = "ring"\npartition = "iid(per_class=10)"\n'


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_keeps_what_is_done_ends_every_worker_and_says_so_in_one_line(tmp_path: Path, workers: str) -> None:
    (tmp_path / "long.toml").write_text(LONG + f"seeds = {list(range(300))}\n")
    running = subprocess.Popen(
        [sys.executable, "-m", "hedgerow", "simulate", "long.toml", "--out", "x", "--workers", workers],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as a shell gives it
    )
    with running:
        until = monotonic() + 120
        while not any(tmp_path.glob("x/cells/*.npz")) and running.poll() is None and monotonic() < until:
            sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
    kept = list(tmp_path.glob("x/cells/*.npz"))
    engine, stopped = stderr.splitlines()
    assert (running.returncode, stdout) == (130, "")
    assert engine.startswith("fast engine (synchronous scenario); ")
    words = stopped.split(maxsplit=2)
    assert words[0] == "Stopped:"
    assert len(kept) - 1 <= int(words[1]) <= len(kept)  # a signal may fall between a file and its count
    assert words[2] == (
        f"of 300 cells are finished and kept; go on with: hedgerow simulate long.toml --out x --workers {workers}"
    )
    for path in kept:
        with np.load(path, allow_pickle=False) as whole:
            assert len(whole["seconds"]) == 3
    assert gone(running.pid, 30)


def gone(group: int, seconds: float) -> bool:
    """Whether nobody is left in a process group (Python's own resource tracker ends a moment after the command)."""
    until = monotonic() + seconds
    while monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        sleep(0.05)
    return False
