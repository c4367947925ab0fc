"""Known peers far and near, cell by cell: `python -m benchmarks.trust CELL ... [--rules RULE ...] [--seeds N ...]`.

Each cell is a scenario by name (`--list` shows them); `--set KEY=VALUE` changes all of them. What is finished stands in
`--out`, a JSON line a run, and is not played again; a table of the cells that were asked for ends it: accuracy / attack
success (worst node), means over seeds, then what a round costs. `--mass` and `--each` say from which standing on a peer
may be heard from afar (node.trust.vouches), `--laps` and `--longer` how far peers are found (node.trust.far; 0 laps:
drawn evenly from all that may be heard). Runs with other numbers are other runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from aggregation.registry import build_rule
from node.trust import far, vouches
from simulator.fast import engine as fast
from simulator.study.hearing import Hearing
from simulator.study.scenario import Scenario
from simulator.study.setup import Setup, prepare

Cell = Mapping[str, object]
Run = dict[str, object]

FASHION = {"task": "fashion-mnist", "nodes": 99, "rounds": 40, "alpha": 0.1}
NAMES = FASHION | {"strangers": 1, "known": 0.5}
VOUCHES = NAMES | {"vouches": "low", "far": 4}
NOISE = {"phi": 2.0, "attack": {"name": "label-flip+structured-noise", "of": "update"}}
SOFT = {"phi": 2.0, "attack": {"name": "label-flip+structured-noise", "of": "update", "c": 0.5}}
CLONES = {"phi": 1.0, "attack": {"name": "label-flip+scaled-clones", "medians": 1.0}}
TWO = {"partition": "classes"}
LOW, RING, CLIQUE = ({"fooled": 0.1, "vouches": vouches} for vouches in ("low", "ring", "clique"))
SMALL = {
    "fooled": 0.1,
    "vouches": "cells",
    "crowd": 54,
}  # three or four further identities for each that fooled somebody
STARS = {"fooled": 0.1, "vouches": "low", "crowd": 90}  # five or six
TUNED = {"phi": 1.0, "attack": {"name": "label-flip+scaled-clones", "tune": True}}
MLP = {"model": "mlp", "nodes": 50, "rounds": 20}
LENET = {"model": "lenet", "nodes": 20, "rounds": 10, "epochs": 1}
DIGITS = {"task": "digits", "nodes": 30}
ELSEWHERE: dict[str, dict[str, object]] = {
    "mlp": MLP,
    "lenet": LENET,
    "digits": DIGITS,
    "erdos": {"topology": {"name": "erdos-renyi", "probability": 0.06}},
    "circle": {"topology": "ring"},
    "houses": {"clustered": True},
    "many": {"phi": 4.0},
}
"""One step away from the first place, each in peace and under structured noise; without vouches by `--set far=0
vouches=off`."""

CELLS: Mapping[str, Cell] = {
    "all-none": FASHION,
    "all-noise": FASHION | NOISE,
    "names-none": NAMES,
    "names-noise": NAMES | NOISE,
    "names-clones": NAMES | CLONES,
    "names-two": NAMES | TWO,
    "names-fooled": NAMES | NOISE | {"fooled": 0.1},
    "names-fooled-soft": NAMES | SOFT | {"fooled": 0.1},
    "none": VOUCHES,
    "noise": VOUCHES | NOISE,
    "clones": VOUCHES | CLONES,
    "two": VOUCHES | TWO,
    "low": VOUCHES | NOISE | LOW,
    "low-soft": VOUCHES | SOFT | LOW,
    "ring": VOUCHES | NOISE | RING,
    "clique": VOUCHES | NOISE | CLIQUE,
    "clique-soft": VOUCHES | SOFT | CLIQUE,
    "cells": VOUCHES | NOISE | SMALL,
    "cells-soft": VOUCHES | SOFT | SMALL,
    "cells-clones": VOUCHES | {"phi": 2.0, "attack": "label-flip"} | SMALL,
    "stars": VOUCHES | NOISE | STARS,
    "tuned": VOUCHES | TUNED,
    "tuned-noise": VOUCHES
    | {"phi": 2.0, "attack": {"name": "label-flip+structured-noise", "of": "update", "tune": True}},
    "backdoor": VOUCHES | {"phi": 2.0, "attack": {"name": "backdoor+structured-noise", "of": "update"}},
    "flip": VOUCHES | {"phi": 2.0, "attack": "sign-flip"},
    **{
        name: VOUCHES | {key: value for key, value in place.items() if key != "phi"}
        for name, place in ELSEWHERE.items()
    },
    **{f"{name}-noise": VOUCHES | NOISE | place for name, place in ELSEWHERE.items()},
}


def play(name: str, changes: Cell, rule: str, seed: int, threads: int | None) -> Run:
    """One run, and what came out."""
    scenario = Scenario.of({"evaluate_every": 1_000_000, **changes, "rules": [rule], "seeds": [seed]})
    setup = prepare(scenario)
    choice = scenario.rules[0]
    records = list(fast.run(setup, build_rule(choice.name, **choice.parameters), options=fast.Options(threads=threads)))
    last, knows = records[-1], np.array([bool(named) for named in setup.named])
    assert last.accuracy is not None
    assert last.success is not None
    return {
        "cell": name,
        "rule": rule,
        "seed": seed,
        "accuracy": float(last.accuracy.mean()),
        "success": float(last.success.mean()),
        "worst": float(last.success.max()),
        "above .2": int((last.success[knows] > 0.2).sum()),
        "nobody": int((last.success[~knows] > 0.2).sum()),
        "bytes": float(np.mean([record.bytes.mean() for record in records])),
        "ms": 1000 * float(np.mean([record.seconds for record in records])) / setup.honest,
        **society(setup),
    }


def society(setup: Setup) -> Run:
    """How many a node knows and may hear from afar, means over honest nodes; Sybils among them apart."""
    hear, honest = Hearing(setup).links, setup.honest

    def count(groups: Sequence[Sequence[int]]) -> tuple[float, float]:
        bad = sum(vertex >= honest for group in groups for vertex in group) / honest
        return sum(len(group) for group in groups) / honest - bad, bad

    near, near_sybils = count([sorted(each) for each in setup.near])
    pool, pool_sybils = count(setup.pool)
    found = {"near": near, "near Sybils": near_sybils, "pool": pool, "pool Sybils": pool_sybils}
    return {key: round(value, 3) for key, value in {**found, "far": float(hear.far.sum()) / honest}.items()}


def key_of(name: str, rule: str, seed: int, changes: Cell) -> str:
    """What a run is known by on disk."""
    drawn = {"mass": vouches.FAR, "each": vouches.EACH, "laps": far.LAPS, "longer": far.LONGER}
    return json.dumps([name, rule, seed, {**changes, **drawn}], sort_keys=True)


def runs(
    cells: Mapping[str, Cell], rules: Sequence[str], seeds: Sequence[int], out: Path, threads: int | None
) -> Iterator[Run]:
    """All runs, those from disk too; new ones are written as they end."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    done: dict[str, Run] = {said["key"]: said["run"] for said in map(json.loads, lines)}
    for name, changes in cells.items():
        for rule in rules:
            for seed in seeds:
                key = key_of(name, rule, seed, changes)
                if key not in done:
                    done[key] = play(name, changes, rule, seed, threads)
                    with out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({"key": key, "run": done[key]}) + "\n")
                yield done[key]


def table(found: Sequence[Run]) -> str:
    """A line a cell and rule."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in found:
        groups.setdefault((str(run["cell"]), str(run["rule"])), []).append(run)
    lines = ["| cell | rule | accuracy / attack (worst) | above .2 | far | pool + Sybils | kB | ms |", "|" + "---|" * 8]
    for (cell, rule), mine in groups.items():
        each = "; ".join(f"{run['accuracy']:.3f} / {run['success']:.3f} ({run['worst']:.2f})" for run in mine)
        mean = {
            key: float(np.mean([float(str(run[key])) for run in mine]))
            for key in ("far", "pool", "pool Sybils", "bytes", "ms")
        }
        pool = f"{mean['pool']:.1f} + {mean['pool Sybils']:.1f}"
        over = " ".join(f"{run['above .2']}+{run['nobody']}" for run in mine)
        cost = f"{mean['bytes'] / 1000:.0f} | {mean['ms']:.2f}"
        lines.append(f"| {cell} | {rule} | {each} | {over} | {mean['far']:.1f} | {pool} | {cost} |")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, play, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trust", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cells", nargs="*", metavar="CELL", help="all where none is named")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--rules", nargs="+", default=["hedgerow-known"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="for example known=0.25 far=8")
    parser.add_argument("--mass", type=float, default=vouches.FAR)
    parser.add_argument("--each", type=float, default=vouches.EACH)
    parser.add_argument("--laps", type=int, default=far.LAPS)
    parser.add_argument("--longer", type=float, default=far.LONGER)
    parser.add_argument("--out", type=Path, default=Path("runs/trust.jsonl"))
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(words)
    if given.list:
        print("\n".join(CELLS))
        return
    unknown = sorted(set(given.cells) - set(CELLS))
    if unknown:
        parser.error(f"no cell {unknown[0]}: known are {', '.join(CELLS)}")
    vouches.FAR, vouches.EACH, far.LAPS, far.LONGER = given.mass, given.each, given.laps, given.longer
    changes = {key: _value(text) for key, _, text in (word.partition("=") for word in given.set)}
    cells = {name: dict(CELLS[name]) | changes for name in given.cells or CELLS}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    found = []
    for run in runs(cells, given.rules, given.seeds, given.out, given.threads):
        found.append(run)
        print(json.dumps(run), flush=True)
    print(table(found))


def _value(text: str) -> object:
    try:
        found: object = json.loads(text)
    except json.JSONDecodeError:
        return text
    return found


if __name__ == "__main__":
    main()
