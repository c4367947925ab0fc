"""What the last line costs in peace and holds under attack: `python -m benchmarks.last_line [--quick]`.

Each row plays one scenario without the last line and with it, seed by seed: accuracy and attack success (mean over
honest nodes, then over seeds), the worst node's accuracy, and how often a node braked, per thousand rounds of nodes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np

from aggregation.evidence import Verdict
from aggregation.registry import build_rule
from simulator.fast import engine as fast
from simulator.study.scenario import Scenario
from simulator.study.setup import prepare

FASHION = {"task": "fashion-mnist", "nodes": 50, "rounds": 40, "alpha": 0.1}
DIGITS = {"nodes": 20, "rounds": 40}
KNOWN = {"known": 0.5, "strangers": 1}
PAIR = {"nodes": 3, "rounds": 40, "topology": "complete", "partition": "iid", "sybils": 5, "placement": "all"}
ROWS: tuple[tuple[str, Mapping[str, object]], ...] = (
    ("digits, alpha .5, no attack", {**DIGITS, **KNOWN, "attack": None}),
    ("digits, alpha .1, no attack", {**DIGITS, **KNOWN, "alpha": 0.1, "attack": None}),
    ("digits, two classes, no attack", {**DIGITS, **KNOWN, "partition": "classes(k=2)", "attack": None}),
    ("digits, all known, no attack", {**DIGITS, "known": 1.0, "strangers": 1, "attack": None}),
    ("digits, nobody known, no attack", {**DIGITS, "known": 0.0, "strangers": 1, "attack": None}),
    ("fashion, alpha .1, no attack", {**FASHION, **KNOWN, "attack": None}),
    ("fashion, two classes, no attack", {**FASHION, **KNOWN, "partition": "classes(k=2)", "attack": None}),
    ("digits, clones, phi 1", {**DIGITS, **KNOWN, "attack": "label-flip", "phi": 1.0}),
    ("digits, structured noise, phi 2", {**DIGITS, **KNOWN, "attack": "label-flip+structured-noise", "phi": 2.0}),
    ("digits, sign flip, phi 2", {**DIGITS, **KNOWN, "attack": "sign-flip", "phi": 2.0}),
    ("digits, nobody known, clones x 100, phi 2", {**DIGITS, "strangers": 1, "attack": "boosted", "phi": 2.0}),
    ("three known, five Sybils, boosted", {**PAIR, "known": 1.0, "strangers": 1, "attack": "boosted"}),
    (
        "three known, five Sybils, structured noise",
        {**PAIR, "known": 1.0, "strangers": 1, "attack": "structured-noise"},
    ),
    ("three strangers, five Sybils, boosted", {**PAIR, "strangers": 1, "attack": "boosted"}),
    ("three strangers, five Sybils, structured noise", {**PAIR, "strangers": 1, "attack": "structured-noise"}),
    ("three strangers, five Sybils, label flip", {**PAIR, "strangers": 1, "attack": "label-flip+structured-noise"}),
)


def play(changes: Mapping[str, object], seed: int, line: bool) -> tuple[float, float, float, float]:
    """One run: accuracy, attack success, the worst node's accuracy, brakes a thousand rounds of nodes."""
    scenario = Scenario.of({**changes, "rules": ["hedgerow"], "seeds": [seed], "last_line": line})
    records = list(fast.run(prepare(scenario, seed=seed), build_rule("hedgerow")))
    braked = sum(
        len(np.unique(record.edges.receivers[record.edges.verdicts == int(Verdict.BRAKED)]))
        for record in records
        if record.edges is not None
    )
    last = records[-1]
    assert last.accuracy is not None
    success = 0.0 if last.success is None else float(last.success.mean())
    share = 1000 * braked / (scenario.nodes * scenario.rounds)
    return float(last.accuracy.mean()), success, float(last.accuracy.min()), share


def main() -> None:
    """Print a row for each scenario."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.last_line", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, no Fashion-MNIST")
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    asked = parser.parse_args()
    seeds = (0,) if asked.quick else (0, 1, 2)
    print("| scenario | without: accuracy / success (worst node) | with | brakes, per thousand |")
    print("|---|---|---|---|")
    for name, changes in ROWS:
        if asked.only not in name or (asked.quick and "fashion" in name):
            continue
        off, on = (np.mean([play(changes, seed, line) for seed in seeds], axis=0) for line in (False, True))
        before, after = (f"{each[0]:.3f} / {each[1]:.3f} ({each[2]:.3f})" for each in (off, on))
        print(f"| {name} | {before} | {after} | {on[3]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
