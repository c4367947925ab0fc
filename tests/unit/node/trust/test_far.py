"""Far peers are found by short walks over statements: everybody in turn, and a crowd of Sybils brings in no crowd."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.draws import Purpose, uniforms
from node.trust.far import LAPS, LONGER, Ints, Web, drawn

Links = list[tuple[int, int]]
ADDRESSES = np.arange(1, 400, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
ROUNDS = 2000


def web_of(links: Links, peers: int) -> Web:
    return Web.of(np.array(links, dtype=np.int64).reshape(-1, 2), ADDRESSES[:peers])


def one(web: Web, round: int, me: int, pool: list[int], count: int, seed: int = 3) -> list[int]:
    rows, peers = np.zeros(len(pool), dtype=np.int64), np.array(pool, dtype=np.int64)
    return [pool[place] for place in drawn(web, seed, round, np.array([me]), rows, peers, count)]


def naive(links: Links, round: int, me: int, pool: list[int], count: int, seed: int = 3) -> list[int]:
    """One walker after the other."""
    friends: dict[int, list[int]] = {}
    for a, b in links:
        friends.setdefault(a, []).append(b)
        friends.setdefault(b, []).append(a)

    def draw(*words: int) -> float:
        return float(uniforms(seed, Purpose.FAR, ADDRESSES[me], round, *words))

    found: list[int] = []
    for lap in range(1, LAPS + 1):
        for friend in sorted(friends.get(me, []), key=lambda peer: draw(lap, int(ADDRESSES[peer]), 0)):
            first = int(ADDRESSES[friend])
            before, at = me, friend
            for step in (2, 3)[: 1 + (draw(lap, first, 1) < LONGER)]:
                ways = [peer for peer in friends[at] if peer not in (me, before)]
                if not ways:
                    at = me
                    break
                before, at = at, min(ways, key=lambda peer: draw(lap, first, step, int(ADDRESSES[peer])))
            if at in pool and at not in found:
                found.append(at)
    rest = sorted((peer for peer in pool if peer not in found), key=lambda peer: draw(0, int(ADDRESSES[peer])))
    return sorted([*found, *rest][:count])


graphs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1]), unique=True)


@given(graphs, st.sets(st.integers(0, 9)), st.integers(0, 5), st.integers(0, 99))
def test_it_is_one_walk_after_the_other(links: Links, pool: set[int], count: int, round: int) -> None:
    for me in range(10):
        able = sorted(pool - {me})
        assert one(web_of(links, 10), round, me, able, count) == naive(links, round, me, able, count)


@given(graphs, st.lists(st.sets(st.integers(0, 9)), min_size=10, max_size=10), st.randoms(use_true_random=False))
def test_many_nodes_at_once_find_what_each_finds_alone_in_any_web(
    links: Links, pools: list[set[int]], luck: np.random.Generator
) -> None:
    able = [sorted(pool - {me}) for me, pool in enumerate(pools)]
    rows = np.repeat(np.arange(10), [len(pool) for pool in able])
    peers = np.array([peer for pool in able for peer in pool], dtype=np.int64)
    luck.shuffle(links)
    together = drawn(web_of(links, 10), 3, 7, np.arange(10), rows, peers, 3)
    larger = web_of([*links, (200, 201)], 300)  # others' statements are nothing
    for me, pool in enumerate(able):
        mine: Ints = peers[together[rows[together] == me]]
        assert mine.tolist() == one(larger, 7, me, pool, 3)


def test_everybody_who_may_be_heard_has_a_turn() -> None:
    links = [(0, 1), (0, 2), (0, 3), *((f, 10 + 4 * f + k) for f in (1, 2, 3) for k in range(4))]
    pool = sorted(b for a, b in links if a in (1, 2, 3))
    counts = Counter(peer for round in range(ROUNDS) for peer in one(web_of(links, 40), round, 0, pool, 3))
    assert set(counts) == set(pool)
    fair = ROUNDS * 3 / len(pool)
    assert all(abs(count - fair) < 5 * np.sqrt(fair) for count in counts.values())


@pytest.mark.parametrize("crowd", [3, 5, 60])
def test_whoever_vouches_for_a_node_brings_it_one_peer_in_a_lap_however_many_it_vouches_for(crowd: int) -> None:
    honest = [(f, 10 * f + child) for f in (1, 2) for child in range(2)]
    honest += [(child, 10 * child + grandchild) for _, child in honest for grandchild in range(2)]
    sybils = [(3, 300 + k) for k in range(crowd)] + [(300 + k, 300 + (k + 1) % crowd) for k in range(crowd)]
    links = [(0, 1), (0, 2), (0, 3), *honest, *((min(pair), max(pair)) for pair in sybils)]
    pool = sorted({end for pair in links for end in pair} - {0, 1, 2, 3})
    web = web_of(links, 399)
    assert all(sum(peer >= 300 for peer in one(web, round, 0, pool, 3)) == 1 for round in range(200))


def test_few_are_all_heard_and_where_no_walk_leads_to_them_too() -> None:
    web = web_of([(0, 1), (1, 2)], 10)
    assert one(web, 5, 0, [2, 8], 4) == [2, 8]
    assert one(web, 5, 0, [], 4) == []
    assert one(web, 5, 0, [2, 8], 0) == []
    assert one(web_of([], 10), 5, 0, [2, 3, 4], 2) == naive([], 5, 0, [2, 3, 4], 2)


def test_another_seed_and_another_round_find_others() -> None:
    links = [(0, f) for f in (1, 2, 3)] + [(f, 10 * f + k) for f in (1, 2, 3) for k in range(9)]
    web, pool = web_of(links, 60), [10 * f + k for f in (1, 2, 3) for k in range(9)]
    assert len({tuple(one(web, round, 0, pool, 3)) for round in range(50)}) > 40
    assert one(web, 0, 0, pool, 3, seed=3) != one(web, 0, 0, pool, 3, seed=4)
