"""What a sweep will ask of this machine, from its counts alone, before anything is drawn: minutes, and memory.

Law: a forecast is coarse and errs by a factor of a few. So it speaks only of what is long or large, and refuses only
what is hopeless; it changes no result.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import log
from pathlib import Path

from aggregation.evidence import Need
from aggregation.registry import build_rule
from node.learning.learner import Learner
from node.learning.task import Task
from simulator.engines import choose_engine
from simulator.study.scenario import Scenario, ScenarioError
from simulator.study.setup import task_of

LONG = 60.0  # seconds from which on it is said
LARGE = 0.25  # share of the memory from which on it is said
HOPELESS = 1.5  # times the memory: a forecast that errs by less is refused wrongly by nobody
_SMALL = 100_000  # links x rounds x cells of digits below which nothing is worth a forecast, and
_CROWD = 2_000  # vertices
_FLOPS = 4e9  # a second that small products get of one core
_LIBRARIES = 4e8  # bytes of a process before it does anything
_HISTORIES = 24  # relayed ones that a node of degree eight comes to know, about
# measured on two cores: milliseconds of a node and round without a product, and of a link
_FAST, _FAST_LINK = 2e-4, 4e-6
_WORLD, _WORLD_LINK = 4e-3, 2.5e-3
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a sweep needs.

    Attributes:
        seconds: of all cells.
        bytes: of the cells that run at once.
        advice: what to change first where that is too much.
    """

    seconds: float
    bytes: float
    advice: str

    def warning(self, memory: float) -> str | None:
        """What to say beforehand on a machine of so many bytes; None: nothing."""
        if self.seconds < LONG and self.bytes < LARGE * memory:
            return None
        return (
            f"this takes about {_duration(self.seconds)} and {_size(self.bytes)} of {_size(memory)} memory, by estimate"
        )

    def check(self, memory: float) -> None:
        """Refuse what cannot fit.

        Raises:
            ScenarioError: it needs clearly more than so many bytes.
        """
        if self.bytes > HOPELESS * memory:
            raise ScenarioError(
                f"this needs about {_size(self.bytes)} of memory, and the machine has {_size(memory)}: {self.advice}"
            )


def foretell(scenario: Scenario, task: Task | None = None, workers: int = 1) -> Forecast | None:
    """What a sweep of this scenario needs; None where it is so small that nobody need know.

    Args:
        scenario: what is to be run.
        task: the caller's own, in place of the scenario's.
        workers: cells that run at once.

    Raises:
        TaskError: the data is missing or wrong.
    """
    cells = len(scenario.rules) * len(scenario.seeds)
    links = scenario.nodes * (1 + _degree(scenario)) + _edges(scenario)
    few = links * scenario.rounds * cells < _SMALL and scenario.nodes + _sybils(scenario) < _CROWD
    if few and task is None and scenario.task == "digits":
        return None
    task = task_of(scenario) if task is None else task
    return forecast(scenario, Learner(task).dimension, len(task.train), len(task.test), workers)


def forecast(scenario: Scenario, dimension: int, samples: int, tests: int, workers: int = 1) -> Forecast:
    """The same from numbers alone: parameters of the model, samples to train and to test on."""
    honest, sybils, rounds = scenario.nodes, _sybils(scenario), scenario.rounds
    degree = _degree(scenario) + _edges(scenario) / honest
    fast = choose_engine(scenario).engine == "fast"
    relays = any(Need.RELAYS in build_rule(each.name, **each.parameters).needs for each in scenario.rules)
    known = min(scenario.authors, _HISTORIES * max(1.0, degree / 8), honest + sybils) if relays else 0.0
    model, everybody, beside = 4.0 * dimension, honest + sybils, degree + 1 + known
    models = (honest * 3 + sybils * 2) * model
    if fast:
        models += everybody * model * (min(scenario.age + 1, rounds) if relays else 1)
    else:
        models += honest * degree * model  # what it heard, until the round is over
    pairs = 32.0 * beside * beside * (os.cpu_count() or 1) + (4.0 * honest * known * known if fast else 0.0)
    ties = honest * degree * (13.0 * rounds / scenario.evaluate_every + (0 if fast else 40_000))
    measured = rounds // scenario.evaluate_every + 1
    train = 6.0 * dimension * samples * (scenario.epochs or 1) / _FLOPS
    judge = 2.0 * dimension * honest * tests / _FLOPS
    compare = 6.0 * dimension * honest * beside * (beside if relays else 1 + degree) / _FLOPS
    toll = honest * (_FAST + _FAST_LINK * beside) if fast else honest * (_WORLD + _WORLD_LINK * degree)
    prepare = 2e-4 * everybody + 3e-7 * sybils * honest
    cell = prepare + rounds * (train + compare + toll) + measured * judge
    cells = len(scenario.rules) * len(scenario.seeds)
    abreast = max(1, min(workers, cells))
    parts = {
        "models": models * abreast,
        "pairs": pairs * abreast,
        "links": ties * cells,
        "graph": 200.0 * honest * degree + 2_000.0 * everybody,
    }
    advice = _advice(scenario, max(parts, key=lambda part: parts[part]))
    return Forecast(cells * cell / abreast, _LIBRARIES * abreast + sum(parts.values()), advice)


def memory() -> float:
    """Bytes of this machine, or of the container that this process may not leave."""
    found = [float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")]
    for path in _LIMITS:
        try:
            found.append(float(path.read_text()))
        except (OSError, ValueError):  # no such limit
            continue
    return min(found)


def _degree(scenario: Scenario) -> float:
    """Honest neighbours of a node, about."""
    name, given, others = scenario.topology.name, scenario.topology.parameters, scenario.nodes - 1
    if name == "complete":
        return float(others)
    if name == "erdos-renyi":
        chance = given.get("probability") or 0.0
        return others * float(chance) if float(chance) else 2 * log(others + 2)
    degree = given.get("degree", {"ring": 2, "torus": 4, "regular": 4, "small-world": 4, "two-worlds": 4}.get(name, 7))
    return float(min(others, degree)) if isinstance(degree, int | float) else float(min(others, 7))


def _edges(scenario: Scenario) -> float:
    """Attack edges."""
    if scenario.attack is None:
        return 0.0
    if scenario.sybils is None and scenario.phi is not None and scenario.placement != "all":
        return scenario.phi * scenario.nodes
    each = scenario.nodes if scenario.placement == "all" else min(scenario.sybil_degree, scenario.nodes)
    return float(_sybils(scenario) * each)


def _sybils(scenario: Scenario) -> int:
    if scenario.attack is None:
        return 0
    if scenario.sybils is not None:
        return scenario.sybils
    if scenario.phi is None:
        return (scenario.nodes + 1) // 2
    if scenario.placement == "all":
        return round(scenario.phi)
    return -(-round(scenario.phi * scenario.nodes) // min(scenario.sybil_degree, scenario.nodes))


def _advice(scenario: Scenario, most: str) -> str:
    crowd = "sybils" if _sybils(scenario) > scenario.nodes else "nodes"
    return {
        "models": f"take fewer {crowd}, a smaller model, or a smaller age of relayed records",
        "pairs": f"take fewer {crowd}, or a topology in which a node has fewer neighbours",
        "links": f"take fewer {crowd} or neighbours, or measure less often (evaluate_every)",
        "graph": f"take fewer {crowd}, or a topology in which a node has fewer neighbours",
    }[most]


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count:,} {unit}{'s' if count != 1 else ''}".replace(",", " ")
    return f"{max(1, round(seconds))} s"


def _size(amount: float) -> str:
    if amount >= 1e12:
        return f"{amount / 1e12:,.0f} TB".replace(",", " ")
    return f"{amount / 1e9:.1f} GB" if amount < 1e10 else f"{amount / 1e9:.0f} GB"
