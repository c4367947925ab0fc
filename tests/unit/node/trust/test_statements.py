"""What is held of statements: the newest that may still hold, of those to whom a chain leads, within bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import peer

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.vouching import Statement, number_of, sum_of
from identity.keys import PeerId
from node.trust.statements import Statements
from node.trust.vouches import standing_of

ME, BOB, CAROL, DAVE, EVE = (peer(number) for number in range(5))
TERM = Limits().term
SMALL = Limits(vouches=40, vouches_each=4, vouches_waiting=8)


def said(issuer: PeerId, subject: PeerId, sequence: int = 1, until: int = TERM, words: str = "") -> Statement:
    digest = hashlib.sha256(repr((issuer, subject, sequence, until, words)).encode()).digest()
    return Statement(issuer, subject, sequence, until, digest, digest)


def both(one: PeerId, other: PeerId) -> list[Statement]:
    return [said(one, other), said(other, one)]


def holding(*statements: Statement, limits: Limits = Limits(), round: int = 0) -> Statements:
    held = Statements(ME, limits)
    for statement in statements:
        held.admit(statement, round)
    held.settle(round)
    held.validate()
    return held


def refused(held: Statements, statement: Statement, round: int = 0) -> Drop:
    before = list(held)
    with pytest.raises(RemoteFault) as fault:
        held.admit(statement, round)
    held.validate()
    assert list(held) == before
    return fault.value.reason


def test_the_highest_sequence_counts_and_of_two_equal_ones_the_first() -> None:
    held = holding(said(ME, BOB, 5))
    assert refused(held, said(ME, BOB, 4)) is Drop.REPLAY
    assert refused(held, said(ME, BOB, 5, words="another")) is Drop.REPLAY
    newer = said(ME, BOB, 6)
    held.admit(newer, 0)
    assert list(held) == [newer]


def test_nobody_vouches_for_himself() -> None:
    assert refused(holding(said(ME, BOB)), said(BOB, BOB)) is Drop.VOUCH


@pytest.mark.parametrize(
    ("until", "reason"),
    [(1000, Drop.STALE), (1, Drop.STALE), (1001, None), (1000 + 4 * TERM, None), (1001 + 4 * TERM, Drop.EARLY)],
)
def test_a_statement_holds_from_now_to_at_most_four_terms_ahead(until: int, reason: Drop | None) -> None:
    held = holding()
    if reason is None:
        held.admit(said(ME, BOB, until=until), 1000)
        assert len(held) == 1
    else:
        assert refused(held, said(ME, BOB, until=until), 1000) is reason


def test_a_statement_is_forgotten_when_it_ends_and_standing_with_it() -> None:
    held = holding(*both(ME, BOB))
    assert held.standing
    held.settle(TERM - 1)
    assert len(held) == 2
    held.settle(TERM)
    held.validate()
    assert (len(held), dict(held.standing)) == (0, {})


def test_what_is_taken_back_is_remembered_as_long_as_it_could_be_shown_again() -> None:
    first = said(BOB, CAROL, 10, 10 + TERM)
    lasting = [replace(each, until=3 * TERM) for each in both(ME, BOB)]
    held = holding(*lasting, said(CAROL, BOB), first)
    assert CAROL in held.standing
    held.admit(said(BOB, CAROL, 500, 0), 500)
    held.settle(500)
    assert CAROL not in held.standing
    for round in (501, 500 + 256, 9 + TERM):  # long after everybody has forgotten the day
        held.settle(round)
        assert refused(held, first, round) is Drop.REPLAY
    held.settle(500 + TERM)
    assert refused(held, first, 500 + TERM) is Drop.STALE


def test_a_newcomer_hears_of_what_was_taken_back_and_not_of_what_was_forgotten() -> None:
    held = holding(said(ME, BOB, until=3 * TERM), round=TERM)
    held.admit(said(BOB, CAROL, 500, 0), TERM)
    assert refused(held, said(BOB, CAROL, 10, 10 + TERM), TERM) is Drop.REPLAY
    assert refused(held, said(BOB, DAVE, 500, 0), 500 + TERM) is Drop.STALE


def test_statements_of_those_to_whom_no_chain_leads_wait_and_cause_no_ranking() -> None:
    held = holding(said(ME, BOB))
    ranked = held.rankings
    held.admit(said(CAROL, DAVE), 0)
    held.settle(1)
    assert (len(held), held.rankings) == (1, ranked)
    assert held.knows(said(CAROL, DAVE).digest)  # it is not verified again
    held.admit(said(BOB, CAROL), 1)
    assert len(held) == 3
    held.settle(2)
    held.validate()
    assert held.rankings == ranked + 1


@given(st.permutations([*both(ME, BOB), *both(BOB, CAROL), *both(CAROL, DAVE), *both(DAVE, EVE)]))
def test_a_chain_is_held_in_whatever_order_it_comes(statements: list[Statement]) -> None:
    held = holding(*statements)
    assert len(held) == 8
    assert held.standing == standing_of((each.pair for each in statements), ME)


def test_who_is_reached_no_more_goes() -> None:
    held = holding(*both(ME, BOB), *both(BOB, CAROL), *both(CAROL, DAVE))
    held.changed.clear()
    held.admit(said(BOB, CAROL, 2, 0), 1)
    held.settle(1)
    held.validate()
    assert {each.pair for each in held} == {(ME, BOB), (BOB, ME), (BOB, CAROL)}
    assert {pair for pair, now in held.changed.items() if now is None} == {(CAROL, BOB), (CAROL, DAVE), (DAVE, CAROL)}


def test_standing_is_found_once_a_round_and_is_the_same_object_until_it_changes() -> None:
    held = holding(*both(ME, BOB), *both(BOB, CAROL))
    first, ranked = held.standing, held.rankings
    held.admit(said(BOB, ME, 2), 1)  # renewed
    held.settle(1)
    held.settle(2)
    assert (held.standing is first, held.rankings) == (True, ranked)
    for statement in (*both(ME, CAROL), *both(ME, DAVE)):
        held.admit(statement, 2)
    assert held.rankings == ranked
    held.settle(3)
    assert (held.standing is first, held.rankings) == (False, ranked + 1)
    held.admit(said(DAVE, EVE), 3)  # one-sided
    before = held.standing
    held.settle(4)
    assert held.standing is before


def test_no_trust_flows_over_whom_one_distrusts_and_his_statements_are_held_all_the_same() -> None:
    held = holding(*both(ME, BOB), *both(ME, CAROL), *both(CAROL, DAVE))
    held.settle(1, distrusted=frozenset({CAROL}))
    assert set(held.standing) == {BOB}
    assert len(held) == 6
    held.settle(2)
    assert set(held.standing) == {BOB, CAROL, DAVE}


def test_an_issuer_has_so_many_subjects_and_the_oldest_that_it_took_back_gives_way() -> None:
    held = holding(said(ME, BOB), *(said(BOB, peer(number), number) for number in range(10, 14)), limits=SMALL)
    assert refused(held, said(BOB, CAROL)) is Drop.VOUCH
    held.admit(said(BOB, peer(11), 50, 0), 0)
    held.admit(said(BOB, peer(12), 40, 0), 0)
    held.admit(said(BOB, CAROL), 0)
    held.settle(1)
    held.validate()
    assert held.get(BOB, peer(12)) is None
    assert held.get(BOB, CAROL) is not None


def test_where_there_is_no_room_the_least_standing_go_and_never_ones_own_or_the_named() -> None:
    near = [statement for friend in (BOB, CAROL) for statement in both(ME, friend)]
    far = [peer(number) for number in range(10, 60)]
    chain = [statement for one, other in zip([BOB, *far], far, strict=False) for statement in both(one, other)]
    held = holding(*near, *chain, limits=SMALL)
    assert len(held) == SMALL.vouches
    assert {each.issuer for each in held} == {ME, BOB, CAROL, *far[:18]}  # in the order in which they are reached
    held.admit(said(CAROL, DAVE), 0)  # it waits, and causes a ranking
    held.admit(said(DAVE, CAROL), 0)
    held.settle(1, named=[far[17]])
    held.settle(2, named=[far[17]])
    held.validate()
    assert held.get(CAROL, DAVE) is not None
    assert held.get(far[17], far[16]) is not None
    assert len(held) == SMALL.vouches


def test_a_flood_by_free_keys_is_level_and_costs_no_ranking() -> None:
    held = holding(*both(ME, BOB), limits=SMALL)
    ranked = held.rankings
    for number in range(10_000):
        held.admit(said(peer(100 + number), peer(100 + (number + 1) % 10_000)), 0)
        if not number % 100:
            held.settle(number // 100)
            held.validate()
    assert (len(held), held.rankings) == (2, ranked)


def test_a_flood_behind_one_fooled_peer_is_level_and_ranked_once_a_round() -> None:
    held = holding(*both(ME, BOB), *both(BOB, EVE), limits=SMALL)
    ranked = held.rankings
    for number in range(1000):
        one, other = peer(100 + number), peer(101 + number)
        for statement in (*both(EVE if not number else one, other), said(BOB, EVE, 2 + number)):
            held.admit(statement, 0)
        if not number % 100:
            held.settle(number // 100)
            held.validate()
            assert len(held) <= SMALL.vouches
    assert held.rankings <= ranked + 10
    assert held.get(ME, BOB) is not None
    assert held.get(BOB, ME) is not None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 4), st.booleans()), max_size=40))
def test_two_that_hear_the_same_hold_the_same_in_any_order(words: list[tuple[int, int, int, bool]]) -> None:
    def tell(order: Callable[[list[Statement]], list[Statement]]) -> Statements:
        held = holding(*(said(ME, peer(number)) for number in range(1, 6)))
        for statement in order(sayings):
            with suppress(RemoteFault):  # replayed, or of oneself
                held.admit(statement, 0)
        held.settle(1)
        held.validate()
        return held

    sayings = [said(peer(a), peer(b), sequence, TERM if lasts else 0) for a, b, sequence, lasts in words]
    unique = {(*each.pair, each.sequence) for each in sayings}
    if len(unique) < len(set(sayings)):
        return  # two statements with one sequence: the first stays, and who is first differs
    one, other = tell(list), tell(lambda every: every[::-1])
    assert one.sums() == other.sums()
    assert one.standing == other.standing


def test_sums_are_by_the_first_four_bits_of_the_issuer() -> None:
    issuers = [PeerId(bytes([16 * number + 1]) * 32) for number in (3, 3, 9)]
    issuers[1] = PeerId(bytes([0x3F]) * 32)
    held = holding(*(said(ME, issuer) for issuer in issuers), *(said(issuer, ME) for issuer in issuers))
    sums, none = held.sums(), sum_of(())
    assert sums[3] == sum_of([said(issuers[0], ME).digest, said(issuers[1], ME).digest])
    assert sums[9] == sum_of([said(issuers[2], ME).digest])
    assert sums[5] == none
    assert [number_of(issuer) for issuer in issuers] == [3, 3, 9]
    assert all(len(each) == 8 for each in sums)
    assert sum_of([b"b", b"a"]) == sum_of([b"a", b"b"]) == hashlib.sha256(b"ab").digest()[:8]


def test_what_oneself_has_to_say() -> None:
    held = holding()
    assert held.due([BOB, ME], 7) == [(BOB, 7, 7 + TERM)]
    assert held.due([BOB], 0) == [(BOB, 1, TERM)]
    held.admit(said(ME, BOB, 7, 7 + TERM), 7)
    half = 7 + TERM - TERM // 2
    assert held.due([BOB], half) == []
    assert held.due([BOB], half + 1) == [(BOB, half + 1, half + 1 + TERM)]  # less than half is left
    assert held.due([], 9) == [(BOB, 9, 0)]
    held.admit(said(ME, BOB, 900, 0), 9)
    assert held.due([], 10) == []
    assert held.due([BOB], 10) == [(BOB, 901, 10 + TERM)]  # never below what is known
    many = [peer(number) for number in range(10, 100)]
    assert [subject for subject, *_ in held.due(many, 10)] == many[:64]


def test_what_was_held_before_is_held_again_and_ranked_at_once() -> None:
    before = holding(*both(ME, BOB), *both(BOB, CAROL), said(CAROL, BOB, 3, 0))
    again = Statements(ME, held=list(before))
    again.settle(0)
    again.validate()
    assert again.sums() == before.sums()
    assert again.standing == before.standing
    assert not again.changed


def test_heaps_of_renewals_leave_memory_level() -> None:
    held = holding(said(ME, BOB, until=1000), limits=replace(SMALL, term=1000))
    for number in range(2, 2000):
        held.admit(said(ME, BOB, number, 10 + number), number)
    held.validate()
    assert len(held) == 1
