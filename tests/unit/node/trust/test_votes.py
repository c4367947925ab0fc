"""Unequal votes: by name, by peer id, and for oneself; who has more than half of them is told."""

from __future__ import annotations

import pytest
from peers import peer

from identity.errors import BadPeerId
from identity.keys import SigningKey, format_peer
from node.trust.votes import above_half, votes_of
from node.trust.vouches import EACH, FAR, NEAR, near_and_far

ME, BOB, CAROL = peer(1), peer(2), peer(3)


def test_a_vote_is_given_by_name_by_peer_id_or_to_oneself() -> None:
    other = SigningKey.generate().peer
    weights = {"bob": 2.0, "self": 0.5, format_peer(other): 3}
    assert votes_of(weights, {"bob": BOB}, ME) == {BOB: 2.0, ME: 0.5, other: 3}


def test_a_name_that_nobody_has_is_refused_in_a_sentence() -> None:
    with pytest.raises(BadPeerId, match="nobody is called 'dave' here: give the peer that name with"):
        votes_of({"dave": 2.0}, {"bob": BOB}, ME)


@pytest.mark.parametrize(
    ("votes", "known", "heavy"),
    [
        ({BOB: 2.0}, [BOB], BOB),
        ({BOB: 2.0}, [BOB, CAROL], None),  # half is not more than half
        ({ME: 3.0}, [BOB, CAROL], ME),
        ({BOB: 2.0, CAROL: 2.0}, [], None),
        ({}, [BOB], None),
        ({}, [], None),
    ],
)
def test_who_has_more_than_half_of_all_votes_is_told(
    votes: dict[bytes, float], known: list[bytes], heavy: bytes | None
) -> None:
    assert above_half(votes, ME, known) == heavy  # type: ignore[arg-type]


def test_standing_makes_near_and_far_and_a_name_with_any_standing_makes_far() -> None:
    dave, eve = peer(4), peer(5)
    standing = {ME: NEAR, BOB: FAR, CAROL: FAR / 2, dave: FAR / 2}
    assert near_and_far(standing, [(ME, BOB)], [CAROL, eve]) == ({ME}, {ME, BOB, CAROL})


def test_who_vouches_for_very_many_stands_lower_by_the_statement() -> None:
    many = [(ME, peer(100 + number)) for number in range(1 + int(NEAR / EACH))]
    assert near_and_far({ME: NEAR, BOB: FAR}, many, []) == ({ME}, {BOB})
