"""`python -m benchmarks`: what is missing is said first, rows are kept as they come, and memory is a process's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import finished, keep, lacking
from benchmarks.memory import Network, weigh

ROOT = Path(__file__).parents[3]


def benchmarks(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_modules_that_are_done_are_found_again_and_torn_lines_are_not(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert finished(path) == {}
    keep(path, "wire", {"a": 1.0, "b": 2.5})
    keep(path, "memory", {})
    whole = path.read_text()
    path.write_text(whole + '{"module": "slope", "row": "c", "number": 3}\n{"module": "slope", "do')
    assert finished(path) == {"wire": {"a": 1.0, "b": 2.5}, "memory": {}}
    keep(None, "wire", {"a": 1.0})


def test_what_is_done_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    keep(path, "simulation", {"softmax_round": 31.0})
    done = benchmarks("--only", "simulation", "--json", "--resume", str(path))
    assert (done.returncode, done.stdout) == (0, '{\n "softmax_round": 31.0\n}\n')
    again = benchmarks("--only", "simulation", "--rows", str(path))
    assert again.returncode == 2
    assert "go on with it by --resume" in again.stderr


def test_a_data_set_that_is_missing_is_named_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.__main__.NEEDS", {"world": "idx", "daemon": "idx"})
    said = lacking(["wire", "daemon", "world"])
    assert said is not None
    assert said.startswith("module daemon needs idx: ")
    assert said.endswith("Or leave it out: --only wire")
    assert lacking(["wire", "memory"]) is None


def test_a_child_of_a_large_process_does_not_take_its_peak_for_its_own() -> None:
    if not Path("/proc/self/status").exists():
        return
    ballast = np.ones(125_000_000)  # a gigabyte
    held = weigh(Network("softmax", 50, 4, degree=4, age=1, rounds=2))
    assert 0 < held.peak < ballast.nbytes
