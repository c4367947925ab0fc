"""Tickets: what goes in comes out; a typo, a cut or another version is one sentence; a proof is for one link only."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gossip.protocol.codec import encode_ticket
from gossip.protocol.errors import BadTicket
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Ticket
from gossip.protocol.ticket import PREFIX, acceptance, format_ticket, mark, parse_ticket, redemption
from identity.keys import PeerId

LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
TICKET = Ticket("hedgerow", "digits", "", bytes(range(16)), ((PeerId(bytes(range(32))), "host.example:7700"),))

names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=40)
addresses = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=64)
peers = st.binary(min_size=32, max_size=32).map(PeerId)
tickets = st.builds(
    Ticket,
    network=names,
    task=names,
    model=st.one_of(st.just(""), names),
    invitation=st.one_of(st.just(b""), st.binary(min_size=16, max_size=16)),
    peers=st.lists(st.tuples(peers, addresses), max_size=4).map(tuple),
)


def line_of(body: bytes) -> str:
    whole = body + hashlib.sha256(body).digest()[:4]
    return PREFIX + base64.b32encode(whole).decode().rstrip("=").lower()


@given(tickets)
def test_a_ticket_comes_back_as_it_went(ticket: Ticket) -> None:
    assume(len(encode_ticket(ticket)) <= Limits().ticket)
    line = format_ticket(ticket)
    assert line.startswith(PREFIX)
    assert set(line.removeprefix(PREFIX)) <= set(LETTERS)
    assert parse_ticket(line) == parse_ticket(f"  {line.upper()}\n") == ticket


@given(tickets, st.data())
def test_one_wrong_letter_is_noticed(ticket: Ticket, data: st.DataObject) -> None:
    assume(len(encode_ticket(ticket)) <= Limits().ticket)
    line = format_ticket(ticket)
    at = data.draw(st.integers(0, len(line) - 1))
    letter = data.draw(st.sampled_from(LETTERS + "0189-é "))
    assume(letter != line[at])
    with pytest.raises(BadTicket, match="ticket"):
        parse_ticket(line[:at] + letter + line[at + 1 :])


@given(st.data())
def test_a_line_that_was_cut_or_swapped_is_noticed(data: st.DataObject) -> None:
    line = format_ticket(TICKET)
    at = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(BadTicket):
        parse_ticket(line[:at])
    swapped = line[:at] + line[at : at + 2][::-1] + line[at + 2 :]
    if swapped != line:
        with pytest.raises(BadTicket):
            parse_ticket(swapped)


@given(st.text(max_size=200))
def test_any_text_is_a_ticket_or_one_sentence(text: str) -> None:
    for line in (text, PREFIX + text):
        with pytest.raises(BadTicket) as error:
            parse_ticket(line)
        assert "\n" not in str(error.value)


@given(st.binary(max_size=300))
def test_whole_lines_around_garbage_are_one_sentence(body: bytes) -> None:
    with pytest.raises(BadTicket):
        parse_ticket(line_of(body))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "another version"),
        ({"encoding": "i8"}, "later version"),
        ({"secret": bytes(32)}, "later version"),
    ],
)
def test_what_a_later_version_writes_is_said_to_be_that(changes: dict[str, object], words: str) -> None:
    with pytest.raises(BadTicket, match=words):
        parse_ticket(line_of(encode_ticket(replace(TICKET, **changes))))  # type: ignore[arg-type]


@pytest.mark.parametrize("network", ["", "n" * 129, "a\nb", "\u202e", "\U0001f33f" * 128 + "x", "\ud800"])
def test_a_name_that_does_not_fit_is_one_sentence(network: str) -> None:
    with pytest.raises(BadTicket, match="does not fit"):
        format_ticket(replace(TICKET, network=network))


def test_a_line_longer_than_any_is_not_decoded() -> None:
    with pytest.raises(BadTicket, match="more than any"):
        parse_ticket(PREFIX + "a" * 100_000)


def test_a_proof_is_for_one_invitation_and_one_link_and_is_no_answer() -> None:
    marks = [mark(bytes([n]) * 16) for n in range(2)]
    sessions = [bytes([n]) * 32 for n in range(2)]
    made = [make(kept, session) for make in (redemption, acceptance) for kept in marks for session in sessions]
    assert len(set(made)) == 8
    assert not set(made) & set(marks)
