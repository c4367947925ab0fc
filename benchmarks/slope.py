"""`python -m benchmarks.slope [FILE]`: milliseconds a round from 100 to 10 000 nodes, as numbers and as a plot."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

from aggregation.rules import build_rule
from benchmarks.network import network
from benchmarks.timing import best
from simulator.fast.engine import FastEngine

SIZES = (100, 300, 1_000, 3_000, 10_000)


def run(sizes: tuple[int, ...] = SIZES, model: str = "softmax") -> dict[str, float]:
    """Milliseconds a round of SybilWall with 8 + 24 known histories at each size."""
    rows = {}
    for nodes in sizes:
        engine = FastEngine(network(model, nodes, 64), build_rule("sybilwall"))
        while engine.round < 6:
            engine.step()
        rows[f"slope_{model}_{nodes}_ms"] = 1e3 * best(engine.step, 2)
        engine.close()
    return rows


def plot(rows: dict[str, float], path: Path) -> None:
    """Nodes against milliseconds, both logarithmic, with the line of equal time a node."""
    mpl.use("Agg")
    from matplotlib import pyplot

    sizes = [int(name.split("_")[2]) for name in rows]
    spent = list(rows.values())
    figure, axes = pyplot.subplots(figsize=(6, 4))
    axes.loglog(sizes, spent, "o-", label="measured")
    axes.loglog(sizes, [spent[0] * size / sizes[0] for size in sizes], "--", label="equal time a node")
    axes.set_xlabel("nodes")
    axes.set_ylabel("ms a round")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    found = run()
    for row, number in found.items():
        print(f"{row:32} {number:.4g}")
    if len(sys.argv) > 1:
        plot(found, Path(sys.argv[1]))
