"""What a stranger beyond the limit may do to a round: be connected, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from peers import peer, update

from identity.keys import PeerId
from node.core.events import (
    Ahead,
    Announced,
    Arrived,
    Begin,
    Effect,
    Event,
    Integrate,
    Integrated,
    Joined,
    Left,
    Named,
    Phase,
    Published,
    Timer,
    Trained,
    Wake,
    Want,
    Woken,
)
from node.core.machine import NodeCore
from node.core.neighbourhood import LEAP
from node.core.policy import RoundPolicy
from node.trust.standing import Standing
from node.trust.strangers import Strangers

ME = peer(50)
FRIENDS = [peer(number) for number in (1, 2, 3)]
CROWD = [peer(number) for number in range(100, 140)]


class Bench:
    """A core that knows three friends, a crowd of strangers, and the invariants checked after every event."""

    def __init__(
        self, limit: Strangers | None, named: Sequence[PeerId] = tuple(FRIENDS), crowd: Sequence[PeerId] = tuple(CROWD)
    ) -> None:
        self.now = 10.0
        self.woken_at = float("inf")  # when the round ends by itself
        self.core = NodeCore(ME, RoundPolicy(least=1.0, most=5.0), 7, Standing(ME, limit, 7, named))
        self.tell(Begin(0), *(Joined(each) for each in [*FRIENDS, *crowd]))

    def tell(self, *events: Event) -> list[Effect]:
        effects: list[Effect] = []
        for event in events:
            effects = self.core.handle(event, self.now)
            self.core.validate()
            for effect in effects:
                if isinstance(effect, Wake):
                    self.woken_at = effect.at
        return effects

    def after(self, seconds: float, *events: Event) -> list[Effect]:
        self.now += seconds
        return self.tell(*events)

    def publish(self) -> None:
        self.tell(Trained(self.core.round))
        self.tell(Published(self.core.round))

    def wanted(self, round: int = 0) -> set[PeerId]:
        return {each for each in [*FRIENDS, *CROWD] if Want() in self.tell(Announced(each, round, each))}

    def play(self, speakers: Sequence[PeerId]) -> Integrate:
        """One round in which these neighbours' updates arrive as soon as they are wanted."""
        round = self.core.round
        self.publish()
        effects: list[Effect] = []
        for each in speakers:
            if Want() in self.tell(Announced(each, round, each)):
                effects = self.tell(Arrived(update(each, round), each, 1))
        (closed,) = (effect for effect in effects if isinstance(effect, Integrate))
        weighed = (each for each, said in zip(closed.neighbours, closed.updates, strict=True) if said is not None)
        self.tell(Integrated(round, frozenset(weighed)))
        return closed


def test_of_a_crowd_one_model_is_fetched_and_all_the_others_have_no_say() -> None:
    bench = Bench(Strangers(seats=1))
    wanted = bench.wanted()
    assert set(FRIENDS) < wanted
    assert len(wanted) == len(FRIENDS) + 1
    closed = bench.play([*FRIENDS, *CROWD])
    assert closed.neighbours == tuple(sorted([*FRIENDS, *CROWD]))
    heard = {each for each, said in zip(closed.neighbours, closed.updates, strict=True) if said is not None}
    assert heard == wanted
    assert closed.strangers == set(CROWD) - wanted


def test_a_model_that_was_not_asked_for_is_not_weighed() -> None:
    bench = Bench(Strangers(seats=0))
    bench.publish()
    assert not any(bench.tell(Arrived(update(each, 0), each, 1)) for each in CROWD)  # nor does it hasten the round
    (closed,) = bench.tell(*(Arrived(update(each, 0), each, 1) for each in FRIENDS))
    assert isinstance(closed, Integrate)
    assert sum(said is not None for said in closed.updates) == len(FRIENDS)


def test_a_crowd_in_turn_each_round_another_and_everybody_once() -> None:
    bench = Bench(Strangers(seats=4, probation=0))
    heard: set[PeerId] = set()
    for _ in range(120):
        closed = bench.play([*FRIENDS, *CROWD])
        assert len(closed.neighbours) - len(closed.strangers) == len(FRIENDS) + 4
        heard |= set(CROWD) - closed.strangers
    assert heard == set(CROWD)


def test_nobody_waits_for_silent_strangers() -> None:
    bench = Bench(Strangers(seats=0))
    assert bench.play(FRIENDS).strangers == set(CROWD)


@pytest.mark.parametrize(("limit", "moved"), [(Strangers(seats=1), False), (None, True)])
def test_what_round_a_crowd_claims_moves_nobody(limit: Strangers | None, moved: bool) -> None:
    bench = Bench(limit)
    bench.tell(*(Ahead(each, 900) for each in CROWD))
    bench.tell(Trained(0))
    assert bench.core.round == (900 if moved else 0)


def test_whoever_answers_where_the_operator_said_is_heard() -> None:
    bench = Bench(Strangers(seats=0))
    bench.tell(Named(CROWD[5], "host:1"))
    assert bench.wanted() == {*FRIENDS, CROWD[5]}


def test_a_network_of_strangers_forms_and_is_then_closed_to_crowds() -> None:
    bench = Bench(Strangers(seats=1, enough=2, company=8, probation=5), named=(), crowd=())
    for _ in range(8):
        assert not bench.play(FRIENDS).strangers
    assert bench.core.standing.known(FRIENDS, bench.core.round) == set(FRIENDS)
    bench.tell(*(Joined(each) for each in CROWD))
    assert len(bench.play([*FRIENDS, *CROWD]).strangers) == len(CROWD) - 1


def test_only_what_a_known_peer_signed_is_followed_however_far() -> None:
    bench = Bench(Strangers(seats=1))
    bench.tell(*(Ahead(each, 10**9) for each in CROWD), Ahead(FRIENDS[0], 10**9))
    bench.tell(Trained(0))
    assert bench.core.round == 0  # one of three friends is no majority
    bench.tell(Published(0), Ahead(FRIENDS[1], 400))
    assert bench.core.phase is Phase.INTEGRATING
    bench.tell(Integrated(0))
    assert bench.core.round == 400


def test_strangers_that_claim_move_nobody_who_was_served_by_another_and_never_more_than_a_leap() -> None:
    bench = Bench(Strangers(seats=1, company=8), named=(), crowd=CROWD[:4])
    bench.tell(*(Left(each) for each in FRIENDS))
    core, honest, liars = bench.core, CROWD[0], CROWD[1:4]
    core.standing.note(-1, [honest], [honest])  # before a restart
    bench.tell(*(Ahead(each, 10**12) for each in liars))
    bench.publish()
    assert core.round == 0  # they claim, and have delivered nothing
    for each in (honest, *liars):
        bench.tell(Announced(each, 0, each), Arrived(update(each, 0), each, 1))
    assert core.phase is Phase.INTEGRATING
    bench.tell(Integrated(0, frozenset([honest, *liars])))
    assert core.round == LEAP  # they have paid, and are three of four
    bench.tell(Trained(LEAP), Published(LEAP))
    assert core.phase is Phase.WAITING  # nor do they hasten the round that they led to


def beside_a_crowd(bench: Bench, honest: Sequence[PeerId], rounds: int) -> list[float]:
    """Seconds of each round: training takes .1, honest updates .1 more; the crowd signs headers and delivers nothing.

    Only honest updates that the node asks for come, and those of the first round, in which everybody is new.
    """
    core, took = bench.core, []
    for _ in range(rounds):
        round, opened = core.round, bench.now
        bench.after(0.1, Trained(round))
        bench.tell(Published(core.round), *(Announced(each, core.round, each) for each in CROWD))
        bench.now += 0.1
        for each in honest:
            if Want() in bench.tell(Announced(each, core.round, each)) or round == 0:
                bench.tell(Arrived(update(each, core.round), each, 1))
        while core.phase is Phase.WAITING:
            bench.now = bench.woken_at
            bench.tell(Woken(Timer.DEADLINE, core.round))
        took.append(bench.now - opened)
        bench.tell(Integrated(core.round, frozenset(honest)))
    return took


def test_where_nobody_is_known_a_crowd_that_never_delivers_stretches_no_round_once_anybody_has_delivered() -> None:
    bench = Bench(Strangers(seats=1, company=8, probation=0), named=())
    first, *later = beside_a_crowd(bench, FRIENDS, 100)
    assert first > 1.0
    assert max(later) < 0.5  # twice as long as training and an honest update take
    assert bench.core.round == 100


def test_where_nobody_is_known_a_crowd_that_never_delivers_moves_nobody_once_anybody_has_delivered() -> None:
    bench = Bench(Strangers(seats=1, company=8, probation=0), named=())
    beside_a_crowd(bench, FRIENDS, 1)
    bench.tell(*(Ahead(each, 10**9) for each in CROWD))
    beside_a_crowd(bench, FRIENDS, 100)
    assert bench.core.round == 101


def test_where_nobody_is_known_a_crowd_that_delivered_once_is_waited_for_twice_in_all() -> None:
    crowd = CROWD[:8]
    bench = Bench(Strangers(seats=1, company=11, probation=0), named=(), crowd=crowd)
    bench.play([*FRIENDS, *crowd])
    assert [seconds > 0.5 for seconds in beside_a_crowd(bench, FRIENDS, 20)] == [True, True, *[False] * 18]


def test_where_nobody_is_known_one_that_is_late_is_waited_for_while_nobody_better_is_here() -> None:
    bench = Bench(Strangers(seats=1, company=8, probation=0), named=(), crowd=())
    bench.play(FRIENDS)
    beside_a_crowd(bench, (), 4)
    bench.publish()
    assert bench.core.phase is Phase.WAITING
    bench.tell(*(Arrived(update(each, bench.core.round), each, 1) for each in FRIENDS))
    assert bench.core.phase is Phase.INTEGRATING


def test_where_only_silent_ones_are_left_who_has_a_say_is_believed_again() -> None:
    """New keys of a whole network that is ahead: nobody who delivered is here any more."""
    bench = Bench(Strangers(seats=1, company=8, probation=0), named=(), crowd=CROWD[:2])
    bench.tell(*(Ahead(each, 57) for each in CROWD[:2]))
    bench.core.standing.note(-1, FRIENDS, FRIENDS)
    bench.tell(Trained(0))
    assert bench.core.round == 0
    bench.tell(Published(0), *(Left(each) for each in FRIENDS), Woken(Timer.DEADLINE, 0), Integrated(0))
    assert bench.core.round == 57


def test_a_node_that_was_served_before_a_restart_catches_up_with_who_served_it() -> None:
    bench = Bench(Strangers(seats=1, company=8), named=(), crowd=CROWD[:1])
    bench.tell(*(Left(each) for each in FRIENDS))
    bench.core.standing.note(-1, [CROWD[0]], [CROWD[0]])
    bench.tell(Ahead(CROWD[0], 57))
    bench.publish()
    assert bench.core.round == 57


def test_a_stranger_beside_known_peers_may_take_as_long_again_as_they_took_and_no_longer() -> None:
    bench = Bench(Strangers(seats=1), crowd=CROWD[:1])
    core, stranger = bench.core, CROWD[0]
    core.handle(Trained(0), 11.0)
    core.handle(Published(0), 11.0)
    effects: list[Effect] = []
    for each in FRIENDS:
        core.handle(Announced(each, 0, each), 12.0)
        effects = core.handle(Arrived(update(each, 0), each, 1), 12.0)
    assert effects == [Wake(Timer.DEADLINE, 0, 14.0)]  # the round began at 10: two seconds more
    assert core.handle(Announced(stranger, 0, stranger), 13.0) == [Want()]
    (closed,) = core.handle(Woken(Timer.DEADLINE, 0), 14.0)
    assert isinstance(closed, Integrate)
    core.validate()


def test_a_stranger_that_leaves_and_comes_back_gets_no_new_patience() -> None:
    bench = Bench(Strangers(seats=1), crowd=CROWD[:1])
    stranger = CROWD[0]
    for round in range(2):  # it is silent, and indulged
        bench.publish()
        bench.tell(*(Arrived(update(each, round), each, 1) for each in FRIENDS))
        assert bench.core.phase is Phase.WAITING
        bench.tell(Woken(Timer.DEADLINE, round), Integrated(round), Left(stranger), Joined(stranger))
    bench.publish()
    bench.tell(*(Arrived(update(each, 2), each, 1) for each in FRIENDS))
    assert bench.core.phase is Phase.INTEGRATING
    bench.tell(Integrated(2), Left(stranger), Joined(stranger))
    (neighbour,) = (each for each in bench.core.neighbours() if each.peer == stranger)
    assert neighbour.trust < 0.8
    (friend,) = (each for each in bench.core.neighbours() if each.peer == FRIENDS[0])
    assert friend.trust == 1.0
