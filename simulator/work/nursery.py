"""Where worker processes come from: one process that has imported what cells need, and does nothing but fork.

Laws:
- It only imports: no tensor is computed and no thread of torch's or numba's is started in it, so that a fork is safe.
- It is opened once a process, and best before anything heavy is imported here: the imports run side by side.
- Ctrl-C is the parent's: the nursery and its workers never see it, and end when the parent is gone.
- This module imports nothing heavy itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext

PRELOADED = [
    "simulator.commands",
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
        return cells > 1 and workers != 1
    work = cells * number("nodes", 20) * number("rounds", 40)
    return cores() > 1 and work >= WORTH["world" if raw.get("engine") == "world" else "fast"]


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def open_nursery() -> ForkServerContext:
    """The context that starts workers; the first call starts the nursery and does not wait for it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with _deaf():
        forkserver.ensure_running()
    return context


@contextmanager
def _deaf() -> Iterator[None]:
    """Hold Ctrl-C back; who is started meanwhile inherits the mask, from its first instruction on."""
    resource_tracker.ensure_running()  # else it starts within, and takes the mask away when it has
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
