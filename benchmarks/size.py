"""Known peers at size: `python -m benchmarks.size NODES PHI ROUNDS`, or `crowd`; two parts of `benchmarks.nightly`.

- `size`: 10 000 nodes in the array engine beside a twin of 99 that is dealt alike: 600 samples a node by Dirichlet(.1),
  six neighbours each (a random geometric graph of 10 000 nodes is never connected: `simulator.study.topology`), half of
  the links named, vouches, four far peers, structured noise. Accuracy after as many rounds as fit a night; `ROUNDS` can
  be raised to the 40 of other tables.
- `crowd`: 200 honest nodes and 800 Sybils of one attack edge each in the world engine, twenty rounds of digits.

Each run is a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from threading import Timer
from time import perf_counter, process_time

import numpy as np

from aggregation.registry import build_rule
from benchmarks.household import ROOT, end
from benchmarks.nightly_page import Figure
from simulator.fast import engine as fast
from simulator.study.scenario import Scenario
from simulator.study.setup import prepare
from simulator.world import engine as world

Say = Callable[[str], None]
Found = Mapping[str, float]

NODES, TWIN = 10_000, 99
ROUNDS = {2.0: 10, 4.0: 5}
"""By phi: Sybils' noise is made orthonormal each round, which takes four times as long for twice as many."""
APART = 0.02
LIMIT = 3600.0  # seconds of one run
RULE = "hedgerow-known"

_KNOWN = {"strangers": 1, "known": 0.5, "vouches": "low", "far": 4, "rules": [RULE], "evaluate_every": 1_000_000}
_NOISE = {"attack": {"name": "label-flip+structured-noise", "of": "update"}}
_DEALT = {
    "task": "fashion-mnist",
    "alpha": 0.1,
    "partition": {"name": "drawn", "samples": 600},
    "topology": {"name": "regular", "degree": 6},
}
_CROWD = {"task": "digits", "nodes": 200, "sybils": 800, "sybil_degree": 1, "rounds": 20, "engine": "world"}


def sizes(say: Say) -> Iterator[Figure]:
    """A figure for each phi: accuracy of many nodes beside that of few, and what the many cost."""
    for phi, rounds in ROUNDS.items():
        few, many = (_apart(say, str(nodes), str(phi), str(rounds)) for nodes in (TWIN, NODES))
        gap = many["accuracy"] - few["accuracy"]
        found = f"{NODES} nodes {_outcome(many)}; {TWIN} nodes {_outcome(few)}; {rounds} rounds"
        yield Figure(f"accuracy, phi {phi:g}", found, f"at least that of {TWIN} nodes - {APART}", gap >= -APART)
        yield Figure(f"cost, phi {phi:g}", _cost(many))


def crowd(say: Say) -> Iterator[Figure]:
    """What a crowd of Sybils does to nodes of the world engine, and what it costs to play."""
    found = _apart(say, "crowd")
    yield Figure("200 honest nodes, 800 Sybils of one edge", f"{_outcome(found)}; {_CROWD['rounds']} rounds")
    yield Figure("cost", _cost(found))


def play(scenario: Scenario) -> Iterator[dict[str, float]]:
    """One run: what is known after its setup, after each round, and last of all what came out."""
    began, worked = perf_counter(), process_time()
    setup = prepare(scenario)
    yield {"setup": perf_counter() - began}
    engine = world.run if scenario.engine == "world" else fast.run
    spent = []
    for record in engine(setup, build_rule(RULE)):
        spent.append(record.seconds)
        yield {"round": float(record.round), "seconds": record.seconds}
    assert record.accuracy is not None
    assert record.success is not None
    yield {
        "accuracy": float(record.accuracy.mean()),
        "success": float(record.success.mean()),
        "worst": float(record.success.max()),
        "above": float((record.success > 0.2).mean()),
        "round": float(np.median(spent)),
        "whole": perf_counter() - began,
        "worked": process_time() - worked,
        "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9,
    }


def _apart(say: Say, *words: str) -> dict[str, float]:
    """The last line of such a run in a process of its own.

    Raises:
        RuntimeError: it did not come to its end.
    """
    command = [sys.executable, "-m", "benchmarks.size", *words]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    timer = Timer(LIMIT, process.kill)
    timer.start()
    last: dict[str, float] = {}
    try:
        assert process.stdout is not None
        for line in process.stdout:
            say(f"{' '.join(words)}: {line.rstrip()}")
            last = json.loads(line)
        code = process.wait()
    finally:
        timer.cancel()
        end(process)
    if code or "accuracy" not in last:
        raise RuntimeError(f"{' '.join(words)} ended with exit code {code}")
    return last


def _outcome(found: Found) -> str:
    return (
        f"{found['accuracy']:.3f} / {found['success']:.3f} (worst {found['worst']:.2f}, "
        f"{100 * found['above']:.1f} % of nodes above .2)"
    )


def _cost(found: Found) -> str:
    return (
        f"{found['round']:.1f} s a round, {found['whole']:.0f} s in all, {found['worked']:.0f} s of processor time, "
        f"{found['gb']:.2f} GB at most"
    )


def main(words: list[str]) -> None:
    """Play one run; a JSON line a round, and the last one says what came out."""
    if words == ["crowd"]:
        scenario = Scenario.of(_KNOWN | _NOISE | _CROWD)
    elif len(words) == 3:
        nodes, phi, rounds = int(words[0]), float(words[1]), int(words[2])
        scenario = Scenario.of(_KNOWN | _NOISE | _DEALT | {"nodes": nodes, "phi": phi, "rounds": rounds})
    else:
        sys.exit("python -m benchmarks.size NODES PHI ROUNDS, or: python -m benchmarks.size crowd")
    for said in play(scenario):
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
