"""Writes the README's section on what each rule withstands: `python -m benchmarks.withstands [--out DIR]`.

Runs the matrix `withstands` (handwritten digits, three seeds; about two minutes on two cores, no time where its cells
lie in DIR) and puts its figures, and the attacks that still succeed, between the two markers in README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from simulator.matrix import run_matrix
from simulator.matrix_report import Figures

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- withstands: begin -->", "<!-- withstands: end -->"
SUCCEEDS = 0.2  # of the attacked samples, mean over honest nodes: from here on an attack counts as a success
LOST = 0.2  # accuracy below the mean that knows who is honest: likewise


def section(figures: Sequence[Figures]) -> str:
    """The section: a line for each attack, a column for each rule, then what still succeeds against `hedgerow`."""
    rules = list(dict.fromkeys(each.label for each in figures))
    places: dict[tuple[str, str], dict[str, Figures]] = {}
    for each in figures:
        places.setdefault((each.attack, each.attackers), {})[each.label] = each
    lines = [f"| attack | {' | '.join(rules)} |", "|---" * (len(rules) + 1) + "|"]
    for (attack, attackers), row in places.items():
        name = "none" if attack == "none" else f"{attack}, {attackers}"
        lines.append(f"| {name} | {' | '.join(_cell(row[rule]) for rule in rules)} |")
    hit = {f"{attack} at {attackers}": row for (attack, attackers), row in places.items() if attack != "none"}
    fallen = [f"{name} ({_cell(row['hedgerow'])})" for name, row in hit.items() if _falls(row)]
    tails = [
        f"{name} ({_short(row['hedgerow'].worst_success)})"
        for name, row in hit.items()
        if not _falls(row) and row["hedgerow"].worst_success > SUCCEEDS
    ]
    still, single = ("; ".join(names) if names else "none of these" for names in (fallen, tails))
    return "\n".join(
        [*lines, "", f"Still succeed against `hedgerow` here: {still}; at the worst node alone: {single}."]
    )


def _cell(found: Figures) -> str:
    return f"{_short(found.accuracy.mean)} / {_short(found.success.mean)}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}".removeprefix("0")


def _falls(row: Mapping[str, Figures]) -> bool:
    success = row["hedgerow"].success.mean or 0.0
    ours, best = row["hedgerow"].accuracy.mean or 0.0, row["oracle-mean"].accuracy.mean or 0.0
    return success > SUCCEEDS or ours < best - LOST


def main() -> None:
    """Run, and rewrite the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/withstands"))
    report = run_matrix("withstands", parser.parse_args().out)
    text = README.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    README.write_text(f"{head}{BEGIN}\n{section(report.figures())}\n{END}{tail}", encoding="utf-8")
    print(section(report.figures()))


if __name__ == "__main__":
    main()
