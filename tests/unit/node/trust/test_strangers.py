"""Who has a say: known peers always, of strangers a few, each in its turn, a crowd from one network like one peer."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import peer

from node.draws import address
from node.trust.standing import KEPT, Standing, origin_of
from node.trust.strangers import SETTLED, Bools, Strangers, turns

OWN = address(peer(0))


def drawn(limit: Strangers, known: list[bool], round: int, origins: list[int] | None = None) -> Bools:
    peers = np.array([address(peer(1 + n)) for n in range(len(known))], dtype=np.uint64)
    words = peers if origins is None else np.array(origins, dtype=np.uint64)
    return limit.voices(np.array(known, dtype=bool), turns(7, OWN, round, peers, words))


@pytest.mark.parametrize(
    ("known", "strangers", "heard"),
    [(0, 3, 3), (0, 12, 8), (1, 12, 7), (2, 12, 1), (2, 1, 1), (6, 2, 1), (0, 0, 0), (9, 0, 0)],
)
def test_how_many_strangers_are_heard(known: int, strangers: int, heard: int) -> None:
    voices = drawn(Strangers(seats=1, enough=2, company=8), [True] * known + [False] * strangers, 0)
    assert voices[:known].all()
    assert voices[known:].sum() == heard


@pytest.mark.parametrize(("afar", "heard"), [(0, 7), (1, 1), (4, 1)])
def test_known_peers_heard_from_afar_are_company_too(afar: int, heard: int) -> None:
    known, peers = np.array([True] + [False] * 12), np.arange(13, dtype=np.uint64)
    limit, draws = Strangers(seats=1, enough=2, company=8), turns(7, OWN, 0, peers, peers)
    alone = limit.voices(known, draws, afar=afar)
    assert alone.sum() == 1 + heard
    two = np.concatenate([known, known]), np.concatenate([draws, draws], axis=1), np.repeat([0, 1], 13)
    together = limit.voices(*two, np.array([afar, 0]))
    assert (together[:13] == alone).all()
    assert together[13:].sum() == 8


@given(
    st.lists(st.booleans(), max_size=20), st.integers(0, 4), st.integers(0, 4), st.integers(0, 9), st.integers(0, 99)
)
def test_known_peers_are_always_heard_and_strangers_never_beyond_the_limit(
    known: list[bool], seats: int, enough: int, company: int, round: int
) -> None:
    voices = drawn(Strangers(seats, enough, company), known, round)
    friends, strange = sum(known), len(known) - sum(known)
    assert voices[np.array(known, dtype=bool)].all()
    places = seats if friends >= enough else max(seats, company - friends)
    assert voices.sum() == friends + min(places, strange)


@given(st.permutations(range(8)), st.integers(0, 99))
def test_order_of_peers_is_nothing(order: list[int], round: int) -> None:
    limit, known = Strangers(seats=2, enough=0), np.array([True] * 2 + [False] * 6)
    peers = np.array([address(peer(1 + n)) for n in range(8)], dtype=np.uint64)
    origins = np.array([1, 2, 3, 3, 3, 4, 4, 5], dtype=np.uint64)
    straight = limit.voices(known, turns(7, OWN, round, peers, origins))
    shuffled = limit.voices(known[order], turns(7, OWN, round, peers[order], origins[order]))
    np.testing.assert_array_equal(shuffled, straight[order])


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(0, 3), st.integers(0, 999))
def test_many_nodes_at_once_hear_whom_each_hears_alone(degrees: list[int], probation: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    nodes = np.repeat(np.arange(len(degrees), dtype=np.int64), degrees)
    named, served = draw.random(len(nodes)) < 0.2, draw.integers(0, 5, len(nodes))
    origins = draw.integers(0, 6, len(nodes)).astype(np.uint64)
    draws = np.stack([draw.random(len(nodes)), origins / 6])
    limit = Strangers(seats=1, enough=2, company=4, probation=probation)
    known = limit.known(named, served, origins, nodes)
    voices = limit.voices(known, draws, nodes)
    for node in range(len(degrees)):
        mine = np.equal(nodes, node)
        alone = limit.known(named[mine], served[mine], origins[mine])
        assert (known[mine] == alone).all()
        assert (voices[mine] == limit.voices(alone, draws[:, mine])).all()


def test_every_stranger_gets_its_turn_equally_often() -> None:
    turns = sum(drawn(Strangers(seats=1, enough=0), [False] * 8, round).astype(int) for round in range(4000))
    assert turns.sum() == 4000
    assert 400 < turns.min() <= turns.max() < 600  # 500 +- 21


def test_a_crowd_from_one_network_has_the_turns_of_one_peer() -> None:
    origins = [1] * 60 + [2, 3, 4]
    turns = sum(drawn(Strangers(seats=1, enough=0), [False] * 63, round, origins).astype(int) for round in range(4000))
    assert 900 < turns[:60].sum() < 1100
    assert 900 < turns[60:].min() <= turns[60:].max() < 1100
    assert turns[:60].max() < 60  # and within it everybody has a turn, too


def test_an_empty_network_fills_all_seats_from_one_origin() -> None:
    assert drawn(Strangers(seats=3, enough=0), [False] * 9, 0, [1] * 9).sum() == 3


def test_age_makes_known_but_only_one_peer_of_a_network() -> None:
    limit = Strangers(probation=10)
    named = np.array([True, False, False, False, False])
    served = np.array([0, 10, 12, 9, 50])
    origins = np.array([1, 2, 2, 3, 4], dtype=np.uint64)
    assert limit.known(named, served, origins).tolist() == [True, False, True, False, True]
    assert Strangers(probation=0).known(named, served, origins).tolist() == named.tolist()


def standing(limit: Strangers | None, **known: object) -> Standing:
    made = Standing(peer(0), limit, 7, **known)  # type: ignore[arg-type]
    for number in range(1, 9):
        made.joined(peer(number), "")
    return made


def test_a_stranger_serves_its_probation_and_is_known_three_rounds_later() -> None:
    limit = Strangers(seats=1, enough=1, company=2, probation=4)
    here = standing(limit, named=[peer(1)])
    crowd = [peer(number) for number in range(1, 9)]
    since: dict[bytes, int] = {}
    counts: Counter[bytes] = Counter()
    for round in range(200):
        voices = here.voices(crowd, round)
        known = here.known(crowd, round)
        assert known <= voices
        assert len(voices - known) <= 1
        for each in known - {peer(1)}:
            since.setdefault(each, round)
        here.note(round, voices, voices)
        counts.update(voices - known)
        here.validate()
    assert set(since) == set(crowd[1:])
    assert min(since.values()) >= limit.probation + SETTLED - 1
    # one stranger a round grows older: seven of them take at least seven probations, less what is settled late
    assert max(since.values()) >= 7 * limit.probation


def test_a_vote_that_is_not_kept_takes_a_round_back() -> None:
    here = standing(Strangers(probation=4))
    for round in range(6):
        here.note(round, {peer(1), peer(2)}, {peer(1)} if round % 2 else {peer(1), peer(2)})
    assert here.served() == {peer(1): 6}


def test_who_has_a_say_in_a_round_is_settled_before_neighbours_lead() -> None:
    here = standing(Strangers(seats=1, enough=0, probation=1))
    crowd = [peer(number) for number in range(1, 9)]
    for round in range(20):
        early = [here.voices(crowd, round + lead) for lead in range(SETTLED)]
        here.note(round, crowd, crowd)
        assert [here.voices(crowd, round + lead) for lead in range(SETTLED)] == early


def test_what_the_operator_names_is_known_at_once_by_id_or_by_address() -> None:
    here = standing(Strangers(seats=0, enough=0, company=0), named=[peer(1)])
    crowd = [peer(1), peer(2), peer(3)]
    assert here.voices(crowd, 0) == {peer(1)}
    here.named(peer(2), "host:1")
    assert here.voices(crowd, 0) == {peer(1), peer(2)}
    here.named(peer(3), "host:1")  # somebody else answers there now
    assert here.voices(crowd, 0) == {peer(1), peer(3)}
    assert [here.describe(each, crowd, 0) for each in crowd] == ["named", "stranger, 0 of 256 rounds", "named"]


def test_a_guilty_peer_is_a_stranger_again_and_service_outlives_a_connection() -> None:
    here = standing(Strangers(probation=2), served={peer(1): 5, peer(2): 5})
    assert here.known([peer(1), peer(2)], 0) == {peer(1), peer(2)}
    here.left(peer(1))
    here.joined(peer(1), "")
    here.convicted(peer(2))
    assert here.known([peer(1), peer(2)], 0) == {peer(1)}


def test_memory_is_bounded_whoever_comes() -> None:
    here = Standing(peer(0), Strangers())
    here.note(0, [peer(1)], [peer(1)])
    for round in range(1, 40):
        crowd = [peer(1000 * round + number) for number in range(64)]
        here.note(round, [*crowd, peer(1)], [*crowd, peer(1)])
        here.validate()
    assert len(here.served()) == KEPT
    assert here.served()[peer(1)] == 40


def test_without_a_limit_everybody_has_a_say() -> None:
    here = standing(None)
    assert here.voices([peer(1), peer(2)], 0) == {peer(1), peer(2)}
    assert here.describe(peer(1), [peer(1)], 0) == "known"


def test_peers_of_one_public_network_share_a_word_and_others_have_their_own() -> None:
    assert origin_of("8.8.8.0/24", peer(1)) == origin_of("8.8.8.0/24", peer(2)) != origin_of("8.8.9.0/24", peer(1))
    assert origin_of("", peer(1)) == address(peer(1)) != origin_of("", peer(2))
