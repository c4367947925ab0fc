"""`python -m benchmarks.slope [FILE]`: what a round costs from 100 to 10 000 nodes, as numbers and as a plot.

Rows, without a suffix torch alone, `_fast` with numba:
- `slope_<nodes>_ms`: milliseconds of a round of SybilWall, as in `softmax_round`.
- `slope`: the exponent, a straight line through these on logarithmic axes; 1 = equal time a node.
- `scale`: time a node at the largest size over that at 1 000 nodes; less is better.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from aggregation.registry import build_rule
from benchmarks.network import network
from benchmarks.simulation import kinds, settled_round
from simulator.fast.engine import FastEngine, Options

SIZES = (100, 300, 1_000, 3_000, 10_000)


def run(sizes: tuple[int, ...] = SIZES) -> dict[str, float]:
    """All rows."""
    spent: dict[str, list[float]] = {suffix: [] for suffix, _ in kinds()}
    for nodes in sizes:
        setup = network("softmax", nodes, 64)
        for suffix, compiled in kinds():
            engine = FastEngine(setup, build_rule("sybilwall"), Options(compiled=compiled))
            spent[suffix].append(settled_round(engine))
            engine.close()
    rows: dict[str, float] = {}
    for suffix, each in spent.items():
        rows |= {f"slope_{nodes}_ms{suffix}": 1e3 * found for nodes, found in zip(sizes, each, strict=True)}
        rows[f"slope{suffix}"] = float(np.polyfit(np.log(sizes), np.log(each), 1)[0])
        base = sizes.index(1_000)
        rows[f"scale{suffix}"] = each[-1] / sizes[-1] / (each[base] / sizes[base])
    return rows


def plot(rows: dict[str, float], path: Path, sizes: tuple[int, ...] = SIZES) -> None:
    """Nodes against milliseconds, both logarithmic, with lines of equal time a node (needs matplotlib)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for (suffix, _), name, mark in zip(kinds(), ("torch alone", "numba"), "os", strict=False):
        spent = [rows[f"slope_{nodes}_ms{suffix}"] for nodes in sizes]
        base = spent[sizes.index(1_000)] / 1_000
        axes.loglog(sizes, [base * nodes for nodes in sizes], "--", color="0.7", zorder=1)
        axes.loglog(sizes, spent, f"{mark}-", label=f"{name}: nodes to the power of {rows[f'slope{suffix}']:.2f}")
    axes.set_xlabel("nodes (dashed: equal time a node)")
    axes.set_ylabel("ms a round")
    axes.set_title("A round of SybilWall, softmax on 28 x 28 images, degree 8", fontsize=10)
    axes.grid(which="major", alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    found = run()
    for row, number in found.items():
        print(f"{row:32} {number:.4g}")
    if len(sys.argv) > 1:
        plot(found, Path(sys.argv[1]))
