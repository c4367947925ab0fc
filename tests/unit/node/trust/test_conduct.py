"""What a peer did, counted within bounds and said in words."""

from __future__ import annotations

from peers import peer

from gossip.protocol.errors import Drop
from node.trust.conduct import GUILT, LUCK, Conduct, Harm, remarks


def test_counts_are_kept_of_the_latest_peers_only() -> None:
    conduct = Conduct(peers=2)
    for number in (1, 2, 1, 3):
        conduct.note(peer(number), Drop.MALFORMED)
    assert conduct.of(peer(1)) == {Drop.MALFORMED: 2}
    assert conduct.of(peer(2)) == {}
    assert conduct.of(peer(3)) == {Drop.MALFORMED: 1}


def test_only_what_no_honest_node_sends_makes_guilty() -> None:
    conduct = Conduct()
    for reason in (*LUCK, Drop.DUPLICATE, Drop.UNWANTED, Drop.STALE, Drop.EARLY, Drop.REPLAY):
        conduct.note(peer(1), reason)
    assert conduct.guilty() == []
    for number, reason in enumerate(GUILT, start=2):
        conduct.note(peer(number), reason)
    assert set(conduct.guilty()) == {peer(number) for number in range(2, 2 + len(GUILT))}


def test_every_reason_has_its_words_and_the_worst_comes_first() -> None:
    assert remarks({}) == []
    assert remarks({Drop.DUPLICATE: 3}) == []
    said = remarks({Drop.TIMEOUT: 2, Drop.NOT_FINITE: 3, Drop.EQUIVOCATION: 1, Drop.CONVICTED: 4})
    assert said[0] == "signed two contradicting updates: refused for good"
    assert said[1:] == ["3 x update with NaN or infinity", "2 x payload that came too slowly"]
    assert all(len(remarks({reason: 1})) == 1 for reason in (*GUILT, *LUCK))


def test_harm_is_counted_and_said_and_makes_nobody_guilty() -> None:
    conduct = Conduct()
    for _ in range(7):
        conduct.note(peer(1), Harm.BRAKED)
    conduct.note(peer(1), Drop.TIMEOUT)
    assert conduct.guilty() == []
    assert conduct.of(peer(1)) == {Drop.TIMEOUT: 1}
    assert conduct.harm(peer(1)) == {Harm.BRAKED: 7}
    assert conduct.harm(peer(2)) == {}
    assert remarks(conduct.of(peer(1)), conduct.harm(peer(1))) == [
        "1 x payload that came too slowly",
        "7 x in a model that did much worse here, and left out of it",
    ]
