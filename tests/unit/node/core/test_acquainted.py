"""What a person says of peers while the node runs: known ones back rounds, distrusted ones have no say at all."""

from __future__ import annotations

import pytest
from peers import peer, update

from identity.keys import PeerId
from node.core.events import (
    Acquainted,
    Announced,
    Arrived,
    Begin,
    Effect,
    Event,
    Integrate,
    Integrated,
    Joined,
    Named,
    Published,
    Trained,
    Want,
)
from node.core.machine import NodeCore
from node.core.policy import RoundPolicy
from node.trust.standing import Standing
from node.trust.strangers import SETTLED, Strangers

ME, BOB, CAROL, DAVE = peer(50), peer(1), peer(2), peer(3)
NOBODY: frozenset[PeerId] = frozenset()


class Bench:
    """A core with three neighbours, checked after every event."""

    def __init__(self, standing: Standing, relays: bool = False) -> None:
        self.core = NodeCore(ME, RoundPolicy(least=1.0, most=5.0, relays=relays), 7, standing)
        self.tell(Begin(0), *(Joined(each) for each in (BOB, CAROL, DAVE)))

    def tell(self, *events: Event) -> list[Effect]:
        effects: list[Effect] = []
        for event in events:
            effects = self.core.handle(event, 10.0)
            self.core.validate()
        return effects

    def wants(self, author: PeerId, via: PeerId | None = None) -> bool:
        return Want() in self.tell(Announced(author, self.core.round, via or author))

    def play(self, *speakers: PeerId) -> Integrate:
        round = self.core.round
        self.tell(Trained(round), Published(round))
        effects: list[Effect] = []
        for each in speakers:
            if self.wants(each):
                effects = self.tell(Arrived(update(each, round), each, 1)) or effects
        (closed,) = [effect for effect in effects if isinstance(effect, Integrate)]
        heard = [each for each, said in zip(closed.neighbours, closed.updates, strict=True) if said is not None]
        self.tell(Integrated(round, frozenset(heard)))
        return closed


def test_whoever_the_operator_comes_to_know_is_heard_and_backs_rounds() -> None:
    bench = Bench(Standing(ME, Strangers(seats=0, enough=0), 7))
    assert not bench.wants(BOB)
    bench.tell(Acquainted(frozenset({BOB}), NOBODY))
    assert bench.wants(BOB)
    assert bench.core.standing.by_name == {BOB}
    bench.tell(Acquainted(NOBODY, NOBODY))  # forgotten
    assert not bench.wants(BOB)


@pytest.mark.parametrize("limit", [None, Strangers(), Strangers(seats=64, enough=0)])
def test_whom_the_operator_distrusts_is_not_fetched_from_nobody_and_not_by_him(limit: Strangers | None) -> None:
    bench = Bench(Standing(ME, limit, 7, [BOB], {BOB: 10_000}), relays=True)
    bench.tell(Named(BOB, "host:1"))
    bench.tell(Acquainted(frozenset({CAROL}), frozenset({BOB})))
    assert not bench.wants(BOB)
    assert not bench.wants(BOB, via=CAROL)
    assert not bench.wants(peer(9), via=BOB)
    assert bench.wants(peer(9), via=CAROL)
    assert BOB not in bench.core.standing.by_name
    assert BOB not in bench.core.standing.known([BOB, CAROL], 0)
    assert BOB not in bench.core.standing.voices([BOB, CAROL, DAVE], 0)
    assert bench.core.standing.describe(BOB, [BOB, CAROL], 0) == "distrusted"


def test_what_is_here_of_whom_the_operator_distrusts_goes() -> None:
    bench = Bench(Standing(ME, None, 7))
    bench.tell(Trained(0), Published(0))
    bench.tell(Arrived(update(BOB, 0), BOB, 1), Arrived(update(CAROL, 0), CAROL, 1))
    bench.tell(Acquainted(NOBODY, frozenset({BOB})))
    effects = bench.tell(Arrived(update(BOB, 0), BOB, 1)) or bench.tell(Arrived(update(DAVE, 0), DAVE, 1))
    (closed,) = [effect for effect in effects if isinstance(effect, Integrate)]
    said = dict(zip(closed.neighbours, closed.updates, strict=True))
    assert said[BOB] is None
    assert said[CAROL] is not None
    assert BOB in closed.strangers


def test_a_word_that_closes_a_round_closes_it() -> None:
    bench = Bench(Standing(ME, None, 7))
    bench.tell(Trained(0), Published(0))
    bench.tell(Arrived(update(BOB, 0), BOB, 1), Arrived(update(CAROL, 0), CAROL, 1))
    effects = bench.tell(Acquainted(NOBODY, frozenset({DAVE})))  # the one that was waited for
    assert [type(effect) for effect in effects] == [Integrate]


def test_whoever_is_trusted_again_begins_anew() -> None:
    bench = Bench(Standing(ME, Strangers(probation=4), 7, [CAROL, DAVE], {BOB: 10}))
    assert BOB in bench.core.standing.known([BOB, CAROL], 0)
    bench.tell(Acquainted(NOBODY, frozenset({BOB})))
    bench.tell(Acquainted(NOBODY, NOBODY))
    assert bench.core.standing.describe(BOB, [BOB, CAROL], 0) == "stranger, 0 of 4 rounds"


def test_service_lifts_the_limit_on_turns_and_nothing_else() -> None:
    served = Bench(Standing(ME, Strangers(seats=0, enough=1, probation=5), 7, [CAROL], {BOB: 5 + SETTLED}))
    assert served.wants(BOB)  # no turns: it is heard in every round
    assert not served.wants(DAVE)
    standing = served.core.standing
    assert BOB in standing.known([BOB, CAROL, DAVE], 0)
    assert standing.by_name == {CAROL}
    assert standing.backing([BOB, CAROL]) == {CAROL}  # who leads, and whom a round waits for
    closed = served.play(BOB, CAROL)
    assert closed.named == {CAROL}  # the brake decides with these
    assert closed.knows
    alone = Bench(Standing(ME, Strangers(seats=0, enough=0, probation=5), 7, (), {BOB: 5 + SETTLED}))
    assert alone.core.standing.by_name == frozenset()  # whoever only served makes no quorum
    alone.tell(Acquainted(frozenset({DAVE}), NOBODY))
    assert alone.core.standing.backing([BOB, DAVE]) == {DAVE}
