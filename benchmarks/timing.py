"""Best of a few runs, two candidates in turn: on a shared machine only ratios of neighbouring runs mean anything."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    began = perf_counter()
    work()
    return perf_counter() - began


def best(work: Callable[[], object], repeats: int = 3) -> float:
    """Least wall seconds of a few calls, after one that is not counted."""
    work()
    return min(seconds(work) for _ in range(repeats))


def ratio(slow: Callable[[], object], fast: Callable[[], object], repeats: int = 3) -> float:
    """How many times faster: least seconds of `slow` over least seconds of `fast`, in turns."""
    fast()
    pairs = [(seconds(slow), seconds(fast)) for _ in range(repeats)]
    return min(pair[0] for pair in pairs) / min(pair[1] for pair in pairs)
