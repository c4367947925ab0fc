"""`python -m benchmarks.scenarios [--quick]`: reference scenarios, our numbers beside the reference's, bounds checked.

Exit code 1 when a bound or an order is missed. `--quick` runs the first seed only, 30 rounds of SybilWall's cells and
one of Bristle's cells, and checks the orders only.
Definitions, conditions and what is missed: docs/scenarios.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from filelock import FileLock
from platformdirs import user_cache_path
from torch import Tensor

from aggregation.registry import build_rule
from node.learning.pretraining import pretrain, save_extractor
from node.learning.task import LocalUpdate, Task
from node.learning.tasks import make_task, pretraining_data
from simulator.fast.engine import FastEngine, Options
from simulator.study.metrics import Evaluator
from simulator.study.records import Trace
from simulator.study.scenario import Scenario
from simulator.study.setup import Setup, prepare

FOLDER = Path(__file__).parent.parent / "scenarios"
QUICK_ROUNDS = 30
WITHIN = 3.0  # points of accuracy in Bristle's scenario


@dataclass(frozen=True, slots=True)
class Row:
    """One rule in one cell of the reference: means over honest nodes after the last round.

    Attributes:
        rule: name.
        accuracy: share of test samples predicted right.
        success: attack success.
    """

    rule: str
    accuracy: float
    success: float


REFERENCE: Mapping[str, tuple[Row, ...]] = {
    "reference-alpha0.1-phi1": (
        Row("mean", 0.612, 0.688),
        Row("median", 0.649, 0.065),
        Row("krum", 0.476, 0.059),
        Row("foolsgold", 0.506, 0.784),
        Row("sybilwall", 0.680, 0.055),
    ),
    "reference-alpha0.1-phi4": (
        Row("mean", 0.498, 0.954),
        Row("median", 0.401, 0.915),
        Row("krum", 0.305, 0.962),
        Row("foolsgold", 0.728, 0.007),
        Row("sybilwall", 0.705, 0.018),
    ),
    "reference-alpha1-phi1": (
        Row("mean", 0.770, 0.229),
        Row("median", 0.815, 0.010),
        Row("krum", 0.752, 0.007),
        Row("foolsgold", 0.582, 0.901),
        Row("sybilwall", 0.792, 0.015),
    ),
}
"""An independent synchronous simulator, one seed a cell."""

BRISTLE_RULES = ("alone", "mean", "median", "trimmed-mean", "bristle")
BRISTLE: Mapping[str, tuple[float, ...]] = {
    "bristle-iid": (74.0, 78.7, 78.5, 78.5, 78.7),
    "bristle-iid-noise": (74.2, 12.3, 78.5, 78.5, 78.7),
    "bristle-iid-flip": (74.3, 1.2, 76.4, 76.0, 78.7),
    "bristle-ring4": (35.5, 73.0, 48.3, 48.3, 70.5),
    "bristle-ring4-noise": (35.5, 13.2, 70.9, 72.4, 70.9),
    "bristle-ring4-flip": (35.5, 1.0, 60.9, 60.9, 70.4),
}
"""Accuracy in percent by rule, in order of BRISTLE_RULES; three seeds."""
BRISTLE_QUICK = "bristle-ring4-flip"


@dataclass(frozen=True, slots=True)
class Found:
    """One rule in one cell, measured: means over seeds, extremes over all nodes of all seeds, seconds a seed."""

    accuracy: float
    worst: float
    success: float
    most: float
    sybil: float
    honest: float
    seconds: float


def cell(name: str, rules: Sequence[str], seeds: Sequence[int], options: Options, rounds: int) -> Iterator[Found]:
    """Run rules in one cell of the reference, each with every seed."""
    base = Scenario.load(FOLDER / f"{name}.toml").but(rounds=rounds, evaluate_every=rounds)
    setups = [prepare(base, seed=seed) for seed in seeds]
    for rule in rules:
        parts = [_run(setup, rule, options) for setup in setups]
        columns = np.array([(p.accuracy, p.success, p.sybil, p.honest, p.seconds) for p in parts])
        accuracy, success, sybil, honest, spent = columns.mean(axis=0).tolist()
        worst, most = min(p.worst for p in parts), max(p.most for p in parts)
        yield Found(accuracy, worst, success, most, sybil, honest, spent)


def orders(found: Mapping[str, Mapping[str, Found]]) -> Iterator[tuple[str, bool]]:
    """Statements about which rule resists where, and whether each holds."""
    hit = {name: {rule: each.success for rule, each in rows.items()} for name, rows in found.items()}
    one, four, even = (hit[name] for name in REFERENCE)
    skewed = found["reference-alpha0.1-phi1"]
    gain = skewed["sybilwall"].accuracy - skewed["mean"].accuracy
    yield "alpha .1, phi 1: attack(sybilwall) < .15", one["sybilwall"] < 0.15
    yield "alpha .1, phi 1: attack(mean) and attack(foolsgold) > .5", min(one["mean"], one["foolsgold"]) > 0.5
    yield "alpha .1, phi 1: accuracy(sybilwall) > accuracy(mean) + .03", gain > 0.03
    both = max(four["sybilwall"], four["foolsgold"])
    yield "alpha .1, phi 4: attack(sybilwall) and attack(foolsgold) < .1", both < 0.1
    yield "alpha .1, phi 4: attack(mean) and attack(median) > .8", min(four["mean"], four["median"]) > 0.8
    yield "alpha 1, phi 1: attack(sybilwall) < .05 < .1 < attack(mean)", even["sybilwall"] < 0.05 and even["mean"] > 0.1
    yield "alpha 1, phi 1: attack(foolsgold) > .7", even["foolsgold"] > 0.7


def off(row: Row, found: Found) -> str:
    """Which bounds a cell misses: "" for none, else one word a miss."""
    room = 0.08 if row.success < 0.15 or row.success > 0.85 else 0.15
    missed = []
    if abs(found.accuracy - row.accuracy) > 0.04:
        missed.append("accuracy")
    if abs(found.success - row.success) > room:
        missed.append("attack")
    return " ".join(missed)


def bristle(name: str, rule: str, seed: int, options: Options) -> float:
    """Accuracy in percent of honest models right after their local step, mean over nodes.

    Bristle trains by CWR*, the rules it is compared with train plainly; the trimmed mean cuts five on each side. The
    extractor is the seed's own.
    """
    base = Scenario.load(FOLDER / f"{name}.toml")
    if rule == "alone":  # nobody is heard: attackers would only cost time
        base = base.but(attack="none", sybils=None)
    base = base.but(evaluate_every=base.rounds)
    local_update: LocalUpdate = "cwr" if rule == "bristle" else "plain"
    setup = prepare(base, replace(_task(base.task, seed), local_update=local_update), seed=seed)
    return 100 * float(Evaluator(setup).measure(_last_step(setup, rule, options))[0].mean())


def bristle_orders(found: Mapping[str, float]) -> Iterator[tuple[str, bool]]:
    """Statements about the flipped labels of ring-4, from accuracy in percent by rule."""
    yield "ring4, flip: accuracy(mean) < 5", found["mean"] < 5
    yield "ring4, flip: accuracy(alone) < accuracy(median)", found["alone"] < found["median"]
    best = max(found["median"], found["trimmed-mean"])
    yield (
        "ring4, flip: accuracy(bristle) > accuracy(median) and accuracy(trimmed mean), + 3",
        found["bristle"] > best + 3,
    )


def _run(setup: Setup, rule: str, options: Options) -> Found:
    engine = FastEngine(setup, build_rule(rule), options)
    began = perf_counter()
    records = [engine.step() for _ in range(setup.scenario.rounds)]
    spent = perf_counter() - began
    engine.close()
    last = records[-1]
    assert last.accuracy is not None
    assert last.success is not None
    weights = np.array([(each.influence.sybil, each.influence.honest) for each in records]).mean(axis=0)
    return Found(
        accuracy=float(last.accuracy.mean()),
        worst=float(last.accuracy.min()),
        success=float(last.success.mean()),
        most=float(last.success.max()),
        sybil=float(weights[0]),
        honest=float(weights[1]),
        seconds=spent,
    )


@cache
def _task(name: str, seed: int) -> Task:
    """The task on this seed's extractor; features of all images are computed here, once."""
    path = user_cache_path("hedgerow") / "extractors" / f"{name.removesuffix('-head')}-seed{seed}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.is_file():
            save_extractor(pretrain(*pretraining_data(name), seed=seed), path)
    return make_task(name, extractor=path)


def _last_step(setup: Setup, rule: str, options: Options) -> Tensor:
    parameters = {"f": 5} if rule == "trimmed-mean" else {}
    engine = FastEngine(setup, build_rule(rule, **parameters), options)
    seen: list[Tensor] = []

    def watch(trace: Trace) -> None:
        seen.append(trace.trained.clone())

    for number in range(setup.scenario.rounds):
        engine.step(watch if number + 1 == setup.scenario.rounds else None)
    engine.close()
    return seen[-1]


def _reference(seeds: Sequence[int], options: Options, quick: bool) -> bool:
    """Print the reference cells; whether all that is checked holds."""
    found: dict[str, dict[str, Found]] = {}
    fine = True
    print("| cell | rule | accuracy: ours / reference (worst) | attack: ours / reference (most) | weight S / h | s | |")
    print("|---|---|---|---|---|---|---|")
    for name, rows in REFERENCE.items():
        rounds = QUICK_ROUNDS if quick else Scenario.load(FOLDER / f"{name}.toml").rounds
        found[name] = {}
        for row, ours in zip(rows, cell(name, [row.rule for row in rows], seeds, options, rounds), strict=True):
            found[name][row.rule] = ours
            missed = "" if quick else off(row, ours)
            fine &= not missed
            print(
                f"| {name.removeprefix('reference-')} | {row.rule} | {ours.accuracy:.3f} / {row.accuracy:.3f} "
                f"({ours.worst:.3f}) | {ours.success:.3f} / {row.success:.3f} ({ours.most:.3f}) "
                f"| {ours.sybil:.3f} / {ours.honest:.3f} | {ours.seconds:.0f} | {missed} |",
                flush=True,
            )
    for text, holds in orders(found):
        fine &= holds
        print(f"{'holds ' if holds else 'MISSED'}  {text}")
    return fine


def _bristle(seeds: Sequence[int], options: Options, quick: bool) -> bool:
    """Print Bristle's cells; whether all that is checked holds."""
    fine = True
    found: dict[str, dict[str, list[float]]] = {}
    print("| setting | " + " | ".join(f"{rule}: ours / reference (by seed)" for rule in BRISTLE_RULES) + " |")
    print("|---|" + "---|" * len(BRISTLE_RULES))
    for name, numbers in BRISTLE.items():
        if quick and name != BRISTLE_QUICK:
            continue
        found[name] = {}
        shown = []
        for rule, number in zip(BRISTLE_RULES, numbers, strict=True):
            alike = [
                rows["alone"] for other, rows in found.items() if other != name and _layout(other) == _layout(name)
            ]
            each = alike[0] if rule == "alone" and alike else [bristle(name, rule, seed, options) for seed in seeds]
            found[name][rule] = each
            ours = sum(each) / len(each)
            near = quick or abs(ours - number) <= WITHIN
            fine &= near
            by_seed = " ".join(f"{value:.1f}" for value in each)
            shown.append(f"{ours:.1f} / {number:.1f} ({by_seed}){'' if near else ' MISSED'}")
        print(f"| {name.removeprefix('bristle-')} | " + " | ".join(shown) + " |", flush=True)
    means = {rule: sum(each) / len(each) for rule, each in found[BRISTLE_QUICK].items()}
    for text, holds in bristle_orders(means):
        fine &= holds
        print(f"{'holds ' if holds else 'MISSED'}  {text}")
    return fine


def _layout(name: str) -> str:
    return name.split("-")[1]


def main() -> int:
    """Run what was asked for; 0 when every bound and order holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scenarios", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, fewer rounds and cells, orders only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", choices=("reference", "bristle"))
    given = parser.parse_args()
    seeds, options = given.seeds[:1] if given.quick else given.seeds, Options(threads=given.threads)
    fine = True
    if given.only != "bristle":
        fine &= _reference(seeds, options, given.quick)
    if given.only != "reference":
        fine &= _bristle(seeds, options, given.quick)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
