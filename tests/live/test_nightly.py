"""`python -m benchmarks.nightly` runs, ends what it started, and writes its page where it is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from daemons import ROOT


def test_a_short_siege_runs_and_writes_its_page(tmp_path: Path) -> None:
    (tmp_path / "nightly.md").write_text("| trio-join | wire | 18 of 18 rows | a | met | 2001-01-01 | abc | idle |\n")
    words = ["--only", "siege", "--seconds", "5", "--strangers", "4", "--share", "0.1", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.nightly", *words, "--note", "a test"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    page = (tmp_path / "nightly.md").read_text()
    for part in (
        "| siege | known updates heard | ",
        "| siege | process | alive | alive | met |",
        "| trio-join | wire |",
    ):
        assert part in page, done.stdout + done.stderr
    assert "| siege | ran to its end | yes |" in page, done.stdout + done.stderr
    attackers = next(line for line in page.splitlines() if line.startswith("| siege | attackers | "))
    assert "silent holders: " in attackers
    assert "socket hoarders: " in attackers
    assert ("FALLS SHORT" in done.stdout) == (done.returncode == 1)
    assert "a test |" in attackers
