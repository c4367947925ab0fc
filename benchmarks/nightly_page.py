"""docs/nightly.md: what the long runs found last, each line with its date, commit and conditions.

Law: a line is replaced by a newer one of the same part and figure, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NAME = "nightly.md"
_INTRODUCTION = """# Nightly

What `make nightly` (`python -m benchmarks.nightly`) found when it last ran: what a test suite of twenty minutes cannot
hold. `--only PART` runs one part; the lines of the others stay. A line that falls short says so, and the command ends
with 1. A commit with a + had changes that were not committed.

- `siege`: a node at its defaults with two known peers, strangers who mean well, and attackers of every kind, who have
  one core together. `benchmarks/siege.py` says how each figure is taken.
- `trio-known`: `hedgerow attack alice --suite all` against README's network of three, who know each other.
- `trio-join`: the same joined by address alone: nobody is known.
- `chain`: five nodes, each invited by the one before, and Sybils beside them; two are killed, a vouch is taken back.
- `reference`: `benchmarks.scenarios` and `benchmarks.last_line`, by their exit codes.
- `size`: 10 000 nodes of the array engine beside 99 that are dealt alike, under structured noise, with known peers near
  and far. `crowd`: 200 honest nodes and 800 Sybils of one attack edge each in the world engine. `benchmarks/size.py`.

"""
_HEAD = "| part | figure | found | aim | | date | commit | conditions |"
_CELLS = _HEAD.count("|") - 1


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured.

    Attributes:
        name: what, the same every night: it is the line's key.
        found: the figure, and what to know about it.
        aim: what it should be; "" if it is told only.
        met: whether it is so.
    """

    name: str
    found: str
    aim: str = ""
    met: bool = True


@dataclass(frozen=True, slots=True)
class Night:
    """When, of what and beside what was measured."""

    date: str
    commit: str
    conditions: str


def keep(folder: Path, night: Night, part: str, figures: Sequence[Figure], order: Sequence[str]) -> Path:
    """Put a part's lines into the page, which is made if it is not there; returns where it is.

    Args:
        folder: of the page; made if it is not there.
        night: stands beside every figure.
        part: whose lines these are.
        figures: its lines; its older lines of other figures stay.
        order: all parts, as they stand in the page.
    """
    path = folder / NAME
    lines = _lines(path)
    for figure in figures:
        verdict = "" if not figure.aim else "met" if figure.met else "**falls short**"
        cells = (part, figure.name, figure.found, figure.aim, verdict, night.date, night.commit, night.conditions)
        lines.pop((part, figure.name), None)  # what is new stands together, in the order in which it came
        lines[part, figure.name] = "| " + " | ".join(map(_cell, cells)) + " |"
    ranks = {name: rank for rank, name in enumerate(order)}
    rows = [line for key, line in sorted(lines.items(), key=lambda each: ranks.get(each[0][0], len(ranks)))]
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_INTRODUCTION + "\n".join([_HEAD, "|---" * _CELLS + "|", *rows]) + "\n", encoding="utf-8")
    return path


def _lines(path: Path) -> dict[tuple[str, str], str]:
    """Lines that stand there, by part and figure."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and line != _HEAD and len(cells) == _CELLS:
            found[cells[0], cells[1]] = line
    return found


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
