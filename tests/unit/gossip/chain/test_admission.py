"""Admission: once for ever, in any order, inside the round window."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_rig import Author, author

from gossip.chain.admission import ACCEPTED, Chains, Verdict, entry_of, judge
from gossip.chain.ledger import Entry, MemoryLedger
from gossip.protocol.codec import UPDATE, encode_header
from gossip.protocol.errors import Drop
from gossip.protocol.limits import Limits
from gossip.protocol.messages import UpdateHeader
from identity.envelope import digest_of

LIMITS = Limits(chain=6, window=8, ahead=2, authors=3)


def entry(who: Author, header: UpdateHeader) -> Entry:
    return entry_of(header, digest_of(UPDATE, encode_header(header)), who.seal(header))


def chain(who: Author, count: int, first_round: int = 0) -> list[UpdateHeader]:
    return [who.header(first_round + n) for n in range(count)]


def offer(chains: Chains, who: Author, header: UpdateHeader, round: int) -> Drop | None:
    made = entry(who, header)
    judgement = chains.judge(header, made.digest, round)
    if judgement == ACCEPTED:
        chains.accept(made)
    if judgement.against is not None:
        chains.convict(judgement.against, made)
    chains.validate()
    return judgement.reason


def test_all_720_orders_of_six_messages_end_in_one_state() -> None:
    who = author(1)
    headers = chain(who, 6)
    ends = set()
    for order in permutations(headers):
        ledger = MemoryLedger(LIMITS.chain)
        chains = Chains(ledger, LIMITS)
        assert [offer(chains, who, header, 5) for header in order] == [None] * 6
        ends.add((chains.recent(who.peer), tuple(ledger.recent(who.peer))))
    assert len(ends) == 1
    assert [kept.sequence for kept in next(iter(ends))[0]] == [1, 2, 3, 4, 5, 6]


def test_every_order_of_a_longer_chain_than_is_remembered_admits_nothing_twice() -> None:
    who = author(1)
    headers = chain(who, 8)
    limits = replace(LIMITS, chain=3)
    for order in list(permutations(headers[:6]))[::37]:
        chains = Chains(MemoryLedger(3), limits)
        first = [offer(chains, who, header, 5) for header in order]
        assert None in first
        again = [offer(chains, who, header, 5) for header in order * 2]
        assert set(again) == {Drop.REPLAY}


def test_a_header_is_admitted_once_also_after_a_restart() -> None:
    who, ledger = author(1), MemoryLedger(LIMITS.chain)
    headers = chain(who, 20)
    chains = Chains(ledger, LIMITS)
    for round, header in enumerate(headers):
        assert offer(chains, who, header, round) is None
    for again in (chains, Chains(ledger, LIMITS)):
        assert {offer(again, who, header, 19) for header in headers} == {Drop.REPLAY}


@pytest.mark.parametrize(
    ("round", "reason"),
    [(2, None), (1, Drop.STALE), (12, None), (13, Drop.EARLY), (10, None), (0, Drop.STALE)],
)
def test_the_round_window_is_local_minus_8_to_local_plus_2(round: int, reason: Drop | None) -> None:
    who = author(1)
    assert offer(Chains(MemoryLedger(), LIMITS), who, who.header(round), 10) is reason


def test_what_was_early_is_admitted_when_its_time_comes() -> None:
    who, chains = author(1), Chains(MemoryLedger(), LIMITS)
    header = who.header(5)
    assert offer(chains, who, header, 0) is Drop.EARLY
    assert offer(chains, who, header, 3) is None


def test_a_second_header_for_one_sequence_convicts_whichever_comes_first() -> None:
    for swap in (False, True):
        who, twin, ledger = author(1), author(1), MemoryLedger()
        pair = [who.header(0), twin.header(0, base=bytes([1]) * 32)]
        one, other = reversed(pair) if swap else pair
        chains = Chains(ledger, LIMITS)
        assert offer(chains, who, one, 0) is None
        assert offer(chains, who, other, 0) is Drop.EQUIVOCATION
        proof = ledger.proof(who.peer)
        assert proof is not None
        assert {proof.first, proof.second} == {who.seal(one), who.seal(other)}
        assert offer(chains, who, who.header(1), 1) is Drop.CONVICTED


def test_a_broken_link_is_noticed_from_both_sides() -> None:
    for order in ((0, 1), (1, 0)):
        who = author(1)
        pair = [who.header(0), who.header(1, previous=bytes([7]) * 32)]
        chains = Chains(MemoryLedger(), LIMITS)
        assert offer(chains, who, pair[order[0]], 0) is None
        assert offer(chains, who, pair[order[1]], 0) is Drop.BROKEN_CHAIN


def test_a_first_header_has_no_predecessor() -> None:
    who = author(1)
    header = who.header(0, previous=bytes([7]) * 32)
    judgement = judge(header, bytes(32), (), 0, LIMITS)
    assert (judgement.verdict, judgement.reason, judgement.against) == (
        Verdict.REJECT,
        Drop.BROKEN_CHAIN,
        None,
    )


@pytest.mark.parametrize("second_round", [3, 2])
def test_rounds_grow_along_the_chain_whichever_comes_first(second_round: int) -> None:
    for order in ((0, 1), (1, 0)):
        who = author(1)
        pair = [who.header(3), who.header(second_round)]
        chains = Chains(MemoryLedger(), LIMITS)
        assert offer(chains, who, pair[order[0]], 3) is None
        assert offer(chains, who, pair[order[1]], 3) is Drop.ROUND_ORDER


def test_the_memory_of_authors_is_bounded_and_the_ledger_remembers_the_rest() -> None:
    people = [author(n) for n in range(1, 6)]
    chains = Chains(MemoryLedger(), LIMITS)
    headers = [who.header(0) for who in people]
    for who, header in zip(people, headers, strict=True):
        assert offer(chains, who, header, 0) is None
    for who, header in zip(people, headers, strict=True):
        assert offer(chains, who, header, 0) is Drop.REPLAY


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 12)), max_size=40), st.booleans())
def test_no_order_of_offers_and_restarts_admits_an_honest_header_twice(
    offers: list[tuple[int, int]], restart: bool
) -> None:
    who, ledger = author(1), MemoryLedger(LIMITS.chain)
    headers = chain(who, 12)
    chains = Chains(ledger, LIMITS)
    admitted: list[int] = []
    round = 0
    for index, local in offers:
        round = max(round, local)
        reason = offer(chains, who, headers[index], round)
        assert reason in {None, Drop.REPLAY, Drop.STALE, Drop.EARLY}  # an honest author is never blamed
        if reason is None:
            admitted.append(index)
        if restart:
            chains = Chains(ledger, LIMITS)
    assert len(admitted) == len(set(admitted))
