"""Far peers are drawn anew each round, each as often as any other, and by an address that others do not know."""

from __future__ import annotations

import numpy as np

from node.trust.far import drawn

POOL = np.arange(1, 28, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def test_everybody_has_a_turn_and_nobody_more_than_others() -> None:
    rounds = 4000
    counts = np.zeros(len(POOL))
    for round in range(rounds):
        counts[drawn(3, 17, round, POOL, 4)] += 1
    fair = rounds * 4 / len(POOL)
    assert np.abs(counts - fair).max() < 5 * np.sqrt(fair)


def test_a_draw_is_the_same_whatever_the_order_of_the_pool() -> None:
    here = {int(POOL[place]) for place in drawn(3, 17, 5, POOL, 4)}
    back = POOL[::-1].copy()
    assert {int(back[place]) for place in drawn(3, 17, 5, back, 4)} == here
    assert {int(POOL[place]) for place in drawn(4, 17, 5, POOL, 4)} != here


def test_few_are_all_heard() -> None:
    assert drawn(3, 17, 5, POOL[:2], 4).tolist() == [0, 1]
    assert drawn(3, 17, 5, POOL[:0], 4).tolist() == []
    assert drawn(3, 17, 5, POOL, 0).tolist() == []


def test_many_nodes_draw_at_once_what_each_draws_alone() -> None:
    sizes, owns = [27, 0, 3, 9], np.array([17, 5, 99, 12], dtype=np.uint64)
    nodes = np.repeat(np.arange(4), sizes)
    pool = np.concatenate([POOL[:size] for size in sizes])
    starts = np.cumsum(sizes) - sizes
    alone = [start + drawn(3, own, 5, POOL[:size], 4) for start, own, size in zip(starts, owns, sizes, strict=True)]
    assert drawn(3, owns[nodes], 5, pool, 4, nodes).tolist() == np.concatenate(alone).tolist()
