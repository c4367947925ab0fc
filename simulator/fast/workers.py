"""Threads over ranges of nodes: each with one torch thread, so that cuts and counts never change a bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import torch

Range = Callable[[int, int], None]


class Workers:
    """A pool that runs `work(lo, hi)` over cuts of a range of nodes.

    Law: a range's work writes only what belongs to its nodes, and what it writes for a node does not depend on the cut.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = max(1, threads if threads is not None else torch.get_num_threads())
        self._pool = ThreadPoolExecutor(self.threads, "fast") if self.threads > 1 else None

    def over(self, count: int, work: Range, *, most: int | None = None) -> None:
        """Run `work` over 0 .. count in ranges of at most `most` nodes; an error in one is raised here.

        Args:
            count: nodes.
            work: called with (lo, hi), lo < hi.
            most: nodes a range; None = two ranges a thread. Where there are several ranges, every thread gets equally
                many of about equal size.
        """
        if count == 0:
            return
        least = 2 * self.threads if most is None else -(-count // max(1, most))
        turns = -(-least // self.threads) if least > 1 else 0
        size = -(-count // max(1, turns * self.threads))
        cuts = range(0, count, size)
        if self._pool is None or len(cuts) == 1:
            for lo in cuts:
                work(lo, min(lo + size, count))
            return
        jobs = [self._pool.submit(_alone, work, lo, min(lo + size, count)) for lo in cuts]
        for job in jobs:
            job.result()

    @contextmanager
    def single_threaded(self) -> Iterator[None]:
        """torch itself uses one thread within this block; before and after, as many as it did."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def __enter__(self) -> Self:
        """Use as a context: closed at its end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the threads."""
        self.close()


def _alone(work: Range, lo: int, hi: int) -> None:
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    work(lo, hi)
