"""Relayed records: order of arrival never matters, the store is bounded, and the draw has the published odds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import peer, update

from node.trust.history import FARTHEST, PER_SENDER, History, Known

ME = peer(99)
RELAYS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(10, 16), st.integers(0, 3), st.integers(-3, 30), st.integers(0, 2)),
    max_size=16,
)


def filled(relays: list[tuple[int, int, int, int, int]], authors: int = 4) -> History:
    history = History(ME, seed=1, authors=authors, age=16)
    for sender, author, round, distance, ripe in relays:
        history.receive(update(peer(author), round), peer(sender), distance, ripe)
    return history


def few_each(relays: list[tuple[int, int, int, int, int]]) -> list[tuple[int, int, int, int, int]]:
    counts: Counter[int] = Counter()
    kept = []
    for relay in relays:
        counts[relay[0]] += 1
        if counts[relay[0]] <= PER_SENDER:
            kept.append(relay)
    return kept


def content(history: History) -> list[tuple[bytes, int, int, frozenset[bytes]]]:
    return [(k.author, k.round, k.distance, frozenset(k.senders)) for k in history.relayed(())]


@given(RELAYS, st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter(relays: list[tuple[int, int, int, int, int]], shuffler: object) -> None:
    relays = few_each(relays)
    shuffled = relays.copy()
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = filled(relays), filled(shuffled)
    for round in (0, 1, 2):
        for history in (one, other):
            history.settle(round, {peer(10)})
            history.validate()
        assert content(one) == content(other)


@given(RELAYS)
def test_the_store_is_bounded_and_distances_are_clamped(relays: list[tuple[int, int, int, int, int]]) -> None:
    history = filled(relays)
    history.settle(2, ())
    assert len(history) <= 4
    assert all(2 <= known.distance <= FARTHEST for known in history.relayed(()))


def test_newest_rounds_then_nearest_then_smallest_ids_are_kept() -> None:
    history = filled([(1, 10, 3, 9, 0), (2, 11, 2, 2, 0), (3, 12, 3, 2, 0), (4, 13, 2, 3, 0)], authors=3)
    history.settle(0, ())
    assert [known.author for known in history.relayed(())] == [peer(10), peer(11), peer(12)]


def test_a_newer_round_replaces_an_equal_one_merges() -> None:
    history = filled([(1, 10, 1, 5, 0), (2, 10, 2, 7, 0), (3, 10, 2, 4, 0)])
    history.settle(0, ())
    assert content(history) == [(peer(10), 2, 4, frozenset([peer(2), peer(3)]))]


def test_of_two_contradicting_updates_every_node_keeps_the_same() -> None:
    one, two = update(peer(10), 1, 0.0), update(peer(10), 1, 1.0)
    a, b = History(ME, 1, 4, 16), History(ME, 1, 4, 16)
    for history, order in ((a, (one, two)), (b, (two, one))):
        for sender, content_ in enumerate(order):
            history.receive(content_, peer(sender), 2, 0)
        history.settle(0, ())
    assert a.relayed(())[0].update.digest == b.relayed(())[0].update.digest


def test_own_records_and_more_than_a_few_of_one_sender_are_dropped() -> None:
    history = filled([(1, 99, 0, 2, 0), *((1, 10 + n, 0, 2, 0) for n in range(6))], authors=100)
    assert not history.room(peer(1))
    history.settle(0, ())
    assert len(history) == PER_SENDER
    history.keep(Known(ME, 0, update(ME, 0), 1, frozenset()))
    assert len(history) == PER_SENDER


def test_a_forgotten_author_is_gone_from_both_places() -> None:
    history = filled([(1, 10, 0, 2, 0), (1, 11, 0, 2, 0)])
    history.settle(0, ())
    history.receive(update(peer(10), 1), peer(1), 2, 5)
    history.receive(update(peer(10), 1), peer(2), 2, 5)
    history.receive(update(peer(11), 1), peer(2), 2, 5)
    history.forget(peer(10))
    history.settle(9, ())
    assert [known.author for known in history.relayed(())] == [peer(11)]


def test_nothing_goes_back_to_its_author_or_to_whom_it_came_from() -> None:
    history = History(ME, 1, 100, 16)
    known = Known(peer(10), 0, update(peer(10), 0), 2, frozenset([peer(1)]))
    assert history.choose(0, peer(1), [known]) is None
    assert history.choose(0, peer(10), [known]) is None
    assert history.choose(0, peer(2), [known]) == known
    assert history.choose(0, peer(2), []) is None


def test_relay_odds_fall_with_distance_as_published() -> None:
    history = History(ME, 1, 100, 16)
    candidates = [Known(peer(10 + d), 0, update(peer(10 + d), 0), d, frozenset()) for d in (1, 2, 3)]
    draws = Counter()
    for round in range(20000):
        chosen = history.choose(round, peer(2), candidates)
        assert chosen is not None
        draws[chosen.distance] += 1
    odds = np.exp(-0.8 * np.arange(3))
    for distance, share in enumerate(odds / odds.sum(), start=1):
        assert draws[distance] / 20000 == pytest.approx(share, abs=0.012)


def test_the_draw_does_not_depend_on_the_order_of_candidates() -> None:
    history = History(ME, 1, 100, 16)
    candidates = [Known(peer(10 + d), 0, update(peer(10 + d), 0), d, frozenset()) for d in range(1, 9)]
    for round in range(50):
        assert history.choose(round, peer(2), candidates) == history.choose(round, peer(2), candidates[::-1])


def test_a_record_counts_until_it_is_older_than_the_age() -> None:
    history = History(ME, 1, 100, 3)
    history.receive(update(peer(10), 5), peer(1), 2, 6)
    for round in (6, 7, 8):
        history.settle(round, ())
        assert len(history) == 1
    history.settle(9, ())
    assert len(history) == 0
