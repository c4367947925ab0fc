"""Time that compiling takes is told apart: by the stopwatch, in phases, and in a round of the engine."""

from __future__ import annotations

from time import sleep

import pytest

from aggregation.kernels.rows import available
from simulator.fast.compiling import Stopwatch, compiling
from simulator.fast.profile import Profile


class Hand:
    """A clock that is turned by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_seconds_in_which_several_threads_compile_count_once() -> None:
    clock = Hand()
    watch = Stopwatch(clock)
    for at, turn in ((1, watch.start), (3, watch.start), (4, watch.stop), (6, watch.stop), (9, watch.start)):
        clock.now = at
        turn()
    assert watch.seconds == 5
    clock.now = 11
    assert watch.seconds == 7


def test_what_is_told_apart_counts_for_no_phase() -> None:
    told = [0.0]
    profile = Profile(apart=lambda: told[0])
    with profile.phase("outer"):
        with profile.phase("inner"):
            told[0] += 1e6  # more than the block took
        sleep(0)
    assert profile.seconds["inner"] == 0.0
    assert 0.0 < profile.seconds["outer"] < 1e5


def test_numba_is_heard_compiling() -> None:
    if not available():
        return
    import numba

    before = compiling().seconds
    assert numba.njit(lambda x: x + 1)(1) == 2
    after = compiling().seconds
    assert after > before
    assert compiling().seconds == pytest.approx(after)
