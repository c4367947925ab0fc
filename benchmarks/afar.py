"""`python -m benchmarks.afar`: what far peers cost the array engine, and what a rule that asks who is known costs.

Rows, of 99 nodes with half of the links named, one stranger a round and structured noise at phi 2:
- `<rule>/far <n>`: milliseconds of processor time of a round, the least of several;
- `<rule>/far <n>/ratio`: the same relative to `hedgerow` with none far;
- `known/far <n>`: `hedgerow-known` relative to `hedgerow` with as many.

All of them play in turn, a round each, so that what else the machine does falls on all.
"""

from __future__ import annotations

import json
from time import process_time

from aggregation.registry import build_rule
from simulator.fast.engine import FastEngine
from simulator.study.scenario import Scenario
from simulator.study.setup import prepare

FAR = (0, 2, 4, 8)
RULES = ("hedgerow", "hedgerow-known")
TURNS = 12
WARM = 3  # rounds before: kernels are compiled, and whoever is drawn has been read once


def run() -> dict[str, float]:
    """All rows."""
    base = {"task": "fashion-mnist", "nodes": 99, "alpha": 0.1, "strangers": 1, "known": 0.5, "vouches": "low"}
    noise = {"phi": 2.0, "attack": {"name": "label-flip+structured-noise", "of": "update"}, "evaluate_every": 1_000_000}
    engines: dict[tuple[str, int], FastEngine] = {}
    for far in FAR:
        setup = prepare(Scenario.of(base | noise | {"far": far, "rounds": WARM + TURNS + 1}))  # the last is measured
        engines |= {(rule, far): FastEngine(setup, build_rule(rule)) for rule in RULES}
    least = dict.fromkeys(engines, float("inf"))
    for turn in range(WARM + TURNS):
        for key, engine in engines.items():
            began = process_time()
            engine.step()
            spent = process_time() - began
            if turn >= WARM:
                least[key] = min(least[key], spent)
    for engine in engines.values():
        engine.close()
    rows: dict[str, float] = {}
    for (rule, far), seconds in least.items():
        rows[f"{rule}/far {far}"] = 1e3 * seconds
        rows[f"{rule}/far {far}/ratio"] = seconds / least["hedgerow", 0]
    return rows | {f"known/far {far}": least["hedgerow-known", far] / least["hedgerow", far] for far in FAR}


if __name__ == "__main__":
    print(json.dumps({row: round(value, 2) for row, value in run().items()}, indent=1))
