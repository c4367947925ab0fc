"""Writes what each rule withstands into a document, between two markers: `python -m benchmarks.withstands`.

python -m benchmarks.withstands                          # README.md: handwritten digits, three seeds; a minute
python -m benchmarks.withstands core docs/core.md        # Fashion-MNIST, an hour
python -m benchmarks.withstands core docs/core.md --out runs/core   # no time where the cells lie in runs/core
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from simulator.matrix.figures import Figures
from simulator.matrix.run import run_matrix

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- withstands: begin -->", "<!-- withstands: end -->"
SUCCEEDS = 0.2  # of the attacked samples, mean over honest nodes: from here on an attack counts as a success
LOST = 0.2  # accuracy below the mean that knows who is honest: likewise


def section(figures: Sequence[Figures]) -> str:
    """A table for each place: a line for each attack, a column for each rule; then what succeeds against `hedgerow`."""
    rows: dict[tuple[str, str, str, str], dict[str, Figures]] = {}
    for each in figures:
        rows.setdefault((each.split, each.network, each.attack, each.attackers), {})[each.label] = each
    tables: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (split, network, attack, attackers), row in rows.items():
        name = "none" if attack == "none" else f"{attack}, {attackers}"
        cells = " | ".join(_cell(found) for found in row.values())
        tables.setdefault((split, network, tuple(row)), []).append(f"| {name} | {cells} |")
    several = len(tables) > 1
    lines: list[str] = []
    for (split, network, rules), found in tables.items():
        heading = [f"### {split}; {network}", ""] if several else []
        lines += [*heading, f"| attack | {' | '.join(rules)} |", "|---" * (len(rules) + 1) + "|", *found, ""]
    hit = {
        f"{attack} at {attackers}" + (f" ({split}; {network})" if several else ""): row
        for (split, network, attack, attackers), row in rows.items()
        if attack != "none" and "hedgerow" in row
    }
    fallen = [f"{name} ({_cell(row['hedgerow'])})" for name, row in hit.items() if _falls(row)]
    tails = [
        f"{name} ({_short(row['hedgerow'].worst_success)})"
        for name, row in hit.items()
        if not _falls(row) and row["hedgerow"].worst_success > SUCCEEDS
    ]
    still, single = ("; ".join(names) if names else "none of these" for names in (fallen, tails))
    return "\n".join([*lines, f"Still succeed against `hedgerow` here: {still}; at the worst node alone: {single}."])


def _cell(found: Figures) -> str:
    return f"{_short(found.accuracy.mean)} / {_short(found.success.mean)}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}".removeprefix("0")


def _falls(row: Mapping[str, Figures]) -> bool:
    success = row["hedgerow"].success.mean or 0.0
    ours, best = row["hedgerow"].accuracy.mean or 0.0, row["oracle-mean"].accuracy.mean or 0.0
    return success > SUCCEEDS or ours < best - LOST


def main() -> None:
    """Run, and rewrite the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", nargs="?", default="withstands", help="as for `hedgerow matrix`")
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "README.md", help="document with both markers")
    parser.add_argument("--out", type=Path, help="folder of the cells; absent = runs/PLAN")
    given = parser.parse_args()
    text = given.file.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        parser.error(f"{given.file} lacks the lines {BEGIN} and {END}: put them where the tables shall stand")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    found = section(run_matrix(given.plan, given.out or Path("runs") / given.plan).figures())
    given.file.write_text(f"{head}{BEGIN}\n{found}\n{END}{tail}", encoding="utf-8")
    print(found)


if __name__ == "__main__":
    main()
