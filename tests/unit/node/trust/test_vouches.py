"""Standing by vouches: against a naive loop, and what no structure among Sybils can change."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.keys import PeerId
from node.trust.vouches import NEAR, RESTART, STEPS, standing_of, walk

Pair = tuple[PeerId, PeerId]


def peer(number: int) -> PeerId:
    """A peer id that sorts by its number."""
    return PeerId(number.to_bytes(32, "big"))


def both(*pairs: tuple[int, int]) -> list[Pair]:
    """Mutual statements."""
    return [link for a, b in pairs for link in ((peer(a), peer(b)), (peer(b), peer(a)))]


def naive(statements: list[Pair], me: PeerId) -> dict[PeerId, float]:
    """The sum of the formula, walker by walker."""
    friends: dict[PeerId, list[PeerId]] = {}
    for one, other in set(statements):
        if one != other and (other, one) in statements:
            friends.setdefault(one, []).append(other)
    here, total = {me: 1.0}, {me: RESTART}
    for step in range(1, STEPS):
        there: dict[PeerId, float] = {}
        for at, mass in here.items():
            for friend in friends.get(at, ()):
                there[friend] = there.get(friend, 0.0) + mass / len(friends[at])
        here = there
        for at, mass in here.items():
            total[at] = total.get(at, 0.0) + RESTART * (1 - RESTART) ** step * mass
    return {at: mass for at, mass in total.items() if at != me}


graphs = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=60)


@given(graphs)
def test_it_is_the_sum_of_the_formula(pairs: list[tuple[int, int]]) -> None:
    statements = [(peer(a), peer(b)) for a, b in pairs]
    found, wanted = standing_of(statements, peer(0)), naive(statements, peer(0))
    assert found == pytest.approx(wanted)
    assert list(found) == sorted(found)


@given(graphs, st.randoms(use_true_random=False))
def test_neither_the_order_of_statements_nor_company_changes_a_bit(
    pairs: list[tuple[int, int]], luck: np.random.Generator
) -> None:
    statements = [(peer(a), peer(b)) for a, b in pairs]
    shuffled = list(statements)
    luck.shuffle(shuffled)
    assert standing_of(shuffled, peer(3)) == standing_of(statements, peer(3))
    links = np.array([(a, b) for a, b in combinations(range(12), 2) if (a, b) in pairs and (b, a) in pairs])
    links = links.reshape(-1, 2).astype(np.int64)
    together = walk(links, 12, np.arange(12))
    for source in range(12):
        assert (walk(links, 12, np.array([source]))[:, 0] == together[:, source]).all()


def test_one_sided_praise_counts_for_nothing() -> None:
    statements = [(peer(0), peer(1)), (peer(2), peer(0)), (peer(0), peer(0)), *both((0, 3))]
    assert set(standing_of(statements, peer(0))) == {peer(3)}


@pytest.mark.parametrize("structure", ["none", "ring", "clique", "star", "chain", "random"])
@pytest.mark.parametrize("threshold", [NEAR, 0.005, 0.001])
def test_sybils_that_are_known_are_bounded_by_the_mass_that_flows_to_them(structure: str, threshold: float) -> None:
    luck = np.random.default_rng(7)
    honest = [(a, b) for a, b in luck.integers(0, 30, (70, 2)).tolist() if a != b]
    sybils = range(100, 160)
    fooled = [(int(luck.integers(0, 30)), sybil) for sybil in sybils[:12]]
    among = {
        "none": [],
        "ring": [(s, 100 + (s - 99) % 60) for s in sybils],
        "clique": list(combinations(sybils, 2)),
        "star": [(100, s) for s in sybils[1:]],
        "chain": [(s, s + 1) for s in sybils[:-1]],
        "random": [(a, b) for a, b in luck.integers(100, 160, (200, 2)).tolist() if a != b],
    }[structure]
    links = {(min(pair), max(pair)) for pair in (*honest, *fooled, *among)}
    degree = Counter(end for pair in links for end in pair)
    for me in range(30):
        standing = standing_of(both(*links), peer(me))
        masses = [mass for who, mass in standing.items() if who >= peer(100)]
        at = {peer(me): 1 - sum(standing.values()), **standing}
        # a walker steps over at (1 - a) / d of its visits, and then spends at most all that is left of its way there
        entered = sum((1 - RESTART) / RESTART * at.get(peer(one), 0.0) / degree[one] for one, _ in fooled)
        assert sum(masses) <= entered
        assert sum(mass >= threshold for mass in masses) <= entered / threshold
