"""The parts `trio-known` and `trio-join` of the nightly: every attack against README's network of three."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import Any

from benchmarks.household import ROOT, Household, beside, command, end, three
from benchmarks.nightly_page import Figure

LIMIT = 5400.0  # seconds that all suites may take: ten times as long as on an idle machine
LOST = 0.2
_BUSY = "import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"

Rows = list[dict[str, Any]]


def known(times: int, busy: int, say: Callable[[str], None]) -> Iterator[Figure]:
    """All know each other: every row is to pass, idle and beside so many busy processes (0: not tried)."""
    rows = [attacked(True, 0, say) for _ in range(times)]
    if times:
        yield passes("all suites, idle", rows)
    if busy:
        yield passes("all suites, beside busy processes", [attacked(True, busy, say)])


def joined(say: Callable[[str], None]) -> Iterator[Figure]:
    """Nobody is known: accuracy is to stay, and what is broken on the wire is to be refused."""
    rows = attacked(False, 0, say)
    wire = [row for row in rows if row["suite"] == "wire"]
    yield passes("wire", [wire])
    losses = [(loss(row), _name(row)) for row in rows]
    worst, name = max(losses, default=(1.0, "no row"))
    more = [f"{other} {lost:.2f}" for lost, other in losses if lost > LOST]
    text = f"at most {worst:.2f} ({name}) in {len(rows)} rows" + (f"; above: {', '.join(more)}" if more else "")
    yield Figure("accuracy lost", text, f"<= {LOST}", bool(rows) and not more)


def attacked(known: bool, busy: int, say: Callable[[str], None]) -> Rows:
    """Rows of all suites against alice in a fresh network.

    Raises:
        RuntimeError: as `scorecard`.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        alice = running.enter_context(three(Path(folder), known))[0]
        for _ in range(busy):
            running.enter_context(beside("-c", _BUSY.format(seconds=LIMIT)))
        return scorecard(alice, "all", say)


def scorecard(node: Household, suite: str, say: Callable[[str], None]) -> Rows:
    """Rows of `hedgerow attack NODE --suite SUITE --json`.

    Raises:
        RuntimeError: it ended without rows.
    """
    answer = node.folder.with_suffix(".rows")
    with answer.open("w") as out:
        words = command("attack", str(node.folder), "--suite", suite, "--json")
        process = subprocess.Popen(words, cwd=ROOT, text=True, stdout=out, stderr=subprocess.PIPE)
        timer = Timer(LIMIT, process.kill)
        timer.start()
        try:
            assert process.stderr is not None
            for line in process.stderr:
                say(line.rstrip())
            process.wait()
        finally:
            timer.cancel()
            end(process)
    try:
        return list(json.loads(answer.read_text())["rows"])
    except ValueError:
        raise RuntimeError(f"`hedgerow attack` ended with {process.returncode} and no rows") from None


def loss(row: dict[str, Any]) -> float:
    """How much accuracy fell at worst; 1 if the node gave no answer, 0 if it was never measured."""
    before, worst = row["accuracy"]
    if worst is None:
        return 1.0 if row["note"] == "no answer" else 0.0
    return float(before - worst)


def passes(name: str, runs: list[Rows]) -> Figure:
    """Whether every row of every run passed, and which did not."""
    failed = [
        f"run {number}, {row['suite']}: {_name(row)}: {row['note']}"
        for number, rows in enumerate(runs, 1)
        for row in rows
        if not row["passed"]
    ]
    count = sum(map(len, runs))
    worst = max((loss(row) for rows in runs for row in rows), default=1.0)
    found = f"{count - len(failed)} of {count} rows in {len(runs)} runs; accuracy lost at most {worst:.2f}"
    return Figure(name, "; ".join([found, *failed]), "all rows pass", bool(count) and not failed)


def _name(row: dict[str, Any]) -> str:
    return f"{row['attack']} x {row['sybils']}" if row["sybils"] > 1 else str(row["attack"])
