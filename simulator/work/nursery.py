"""Where worker processes come from: one process that has imported what cells need, and does nothing but fork.

Laws:
- It only imports: no tensor is computed and no thread of torch's or numba's is started in it, so that a fork is safe.
- It is opened once a process, and best before anything heavy is imported here: the imports run side by side.
- Ctrl-C is the parent's: the nursery and its workers never see it, and end when the parent is gone.
- This module imports nothing heavy itself.
- Where processes cannot be forked (Windows) there is one process: this one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext


class NoFork(RuntimeError):
    """There can be no workers here; the message says why, in one sentence."""


PRELOADED = [
    "simulator.work.cells",
    "aggregation.kernels.compiled_pairs",
    "simulator.fast.kernels",
]
"""Modules; one that cannot be imported (numba is optional) is left to the workers."""

WORTH = {"fast": 1_500, "world": 200}
"""Rounds of nodes for which a second process pays, by engine: about two seconds of one core; workers import no sooner
than this process does, and one process gains little from threads where nodes are few."""


def foresee(raw: Mapping[str, object], workers: int | None) -> bool:
    """A guess whether several processes will share the cells, before the scenario is read in earnest.

    Args:
        raw: keys of a scenario as typed; what is absent is the demo's.
        workers: as asked for; None = nobody says.
    """

    def count(key: str, demo: int) -> int:
        value = raw.get(key)
        return len(value) if isinstance(value, list) else demo

    def number(key: str, demo: int) -> int:
        value = raw.get(key)
        return value if isinstance(value, int) else demo

    cells = count("rules", 5) * count("seeds", 1)
    if workers is not None or cells <= 1:
        return cells > 1 and several(workers)
    work = cells * number("nodes", 20) * number("rounds", 40)
    return cores() > 1 and work >= WORTH["world" if raw.get("engine") == "world" else "fast"]


def several(workers: int | None) -> bool:
    """Whether so many processes (None = one a core) are more than this one, and can be had."""
    return _forks() and (cores() if workers is None else workers) > 1


def cores() -> int:
    """Processors for this process and its workers: those that it may use; 1 where there can be no workers."""
    if not _forks():
        return 1
    if sys.platform == "linux" and hasattr(os, "sched_getaffinity"):  # other systems know no such limit
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _forks() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()


def open_nursery() -> ForkServerContext:
    """The context that starts workers; the first call starts the nursery and does not wait for it.

    Raises:
        NoFork: processes cannot be forked on this system.
    """
    if not _forks():
        raise NoFork("worker processes are forked, which this system cannot do: leave out --workers, or take Linux")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    from multiprocessing import forkserver

    with _deaf():
        forkserver.ensure_running()
    return context


@contextmanager
def _deaf() -> Iterator[None]:
    """Hold Ctrl-C back; who is started meanwhile inherits the mask, from its first instruction on."""
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # else it starts within, and takes the mask away when it has
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
