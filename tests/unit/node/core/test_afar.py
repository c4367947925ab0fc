"""Known peers far and near in the core: who has a say, who leads, whom it wants linked, whom it asks for the others."""

from __future__ import annotations

from peers import peer, update

from identity.keys import PeerId
from node.core.events import (
    Acquainted,
    Announced,
    Arrived,
    Ask,
    Begin,
    Convicted,
    Effect,
    Event,
    Integrate,
    Integrated,
    Joined,
    Left,
    Phase,
    Publish,
    Published,
    Reach,
    Timer,
    Trained,
    Vouched,
    Wake,
    Want,
    Woken,
)
from node.core.machine import NodeCore
from node.core.policy import RoundPolicy
from node.trust.standing import Standing
from node.trust.strangers import Strangers

ME, BOB, CAROL, DAVE, EVE = (peer(number) for number in (50, 1, 2, 60, 70))
AFAR = frozenset(peer(number) for number in range(100, 120))
NOBODY: frozenset[PeerId] = frozenset()
SILENT = Strangers(seats=0, enough=0, company=0, probation=0)  # strangers have no say at all


class Bench:
    """A core that names Bob, with what vouches come to told at the start; checked after every event."""

    def __init__(
        self, near: frozenset[PeerId] = NOBODY, pool: frozenset[PeerId] = AFAR, far: int = 2, pace: float = 0.0
    ) -> None:
        self.now = 10.0
        self.standing = Standing(ME, SILENT, 7, [BOB], far=far)
        self.core = NodeCore(ME, RoundPolicy(least=1.0, most=5.0, relays=False, pace=pace), 7, self.standing)
        self.core.handle(Vouched(near, pool), self.now)
        self.first = self.tell(Begin(0))

    def tell(self, *events: Event) -> list[Effect]:
        effects: list[Effect] = []
        for event in events:
            effects = self.core.handle(event, self.now)
            self.core.validate()
        return effects

    def drawn(self, round: int) -> list[PeerId]:
        return sorted(self.standing.drawn({each.peer for each in self.core.neighbours()}, round))

    def publish(self) -> list[Effect]:
        self.tell(Trained(self.core.round))
        return self.tell(Published(self.core.round))

    def says(self, author: PeerId, via: PeerId | None = None, late: int = 0) -> list[Effect]:
        """An update of this round (or of `late` rounds before) is announced, and comes if it is wanted."""
        round, via = self.core.round - late, via or author
        if Want() not in self.tell(Announced(author, round, via)):
            return []
        return self.tell(Arrived(update(author, round), via, 1 if via == author else 2))

    def over(self) -> list[Effect]:
        return self.tell(Integrated(self.core.round))


def closed(effects: list[Effect]) -> Integrate:
    (found,) = [effect for effect in effects if isinstance(effect, Integrate)]
    return found


def closes(effects: list[Effect]) -> bool:
    return any(isinstance(effect, Integrate) for effect in effects)


def reached(effects: list[Effect]) -> frozenset[PeerId] | None:
    found = [effect.peers for effect in effects if isinstance(effect, Reach)]
    return found[0] if found else None


def test_links_are_wanted_for_this_round_and_the_next() -> None:
    bench = Bench()
    assert reached(bench.first) == {*bench.drawn(0), *bench.drawn(1)}
    bench.publish()
    assert reached(bench.over()) == {*bench.drawn(1), *bench.drawn(2)}


def test_nobody_is_reached_where_nobody_vouches() -> None:
    bench = Bench(pool=NOBODY)
    assert reached(bench.first) is None
    assert closed(bench.publish()).far == NOBODY


def test_far_peers_come_after_the_neighbours_and_are_known() -> None:
    bench = Bench()
    bench.tell(Joined(BOB), Joined(EVE), *(Joined(each, afar=True) for each in bench.drawn(0)))
    bench.publish()
    for each in bench.drawn(0):
        assert not closes(bench.says(each))
    rows = closed(bench.says(BOB))
    assert rows.neighbours == (BOB, EVE, *bench.drawn(0))
    assert [said is not None for said in rows.updates] == [True, False, True, True]
    assert rows.known == {BOB, *bench.drawn(0)}
    assert (rows.named, rows.strangers, rows.far) == ({BOB}, {EVE}, set(bench.drawn(0)))


def test_a_link_that_was_made_for_another_round_has_no_say() -> None:
    bench = Bench()
    later = sorted(set(bench.drawn(1)) - set(bench.drawn(0)))
    bench.tell(Joined(BOB), *(Joined(each, afar=True) for each in later))
    bench.publish()
    assert bench.says(later[0]) == []
    rows = closed(bench.says(BOB))
    assert rows.neighbours == (BOB, *bench.drawn(0))


def test_whoever_dials_us_and_is_in_the_pool_is_a_stranger_until_it_is_drawn() -> None:
    bench = Bench(far=0)
    someone = min(AFAR)
    bench.tell(Joined(BOB), Joined(someone))
    bench.publish()
    rows = closed(bench.says(BOB))
    assert (rows.neighbours, rows.strangers, rows.known) == ((BOB, someone), {someone}, {BOB})


def test_a_near_peer_always_has_a_say_and_is_no_far_one() -> None:
    bench = Bench(near=frozenset([CAROL]), pool=AFAR | {CAROL})
    bench.tell(Joined(BOB), Joined(CAROL))
    for _ in range(8):
        bench.publish()
        bench.says(CAROL)
        rows = closed(bench.says(BOB))
        assert rows.neighbours[:2] == (BOB, CAROL)
        assert None not in rows.updates[:2]
        assert rows.known is not None
        assert CAROL in rows.known - rows.far
        bench.over()


def update_of(rows: Integrate, who: PeerId) -> object:
    return rows.updates[rows.neighbours.index(who)]


def test_vouches_move_no_clock() -> None:
    bench = Bench(near=frozenset([CAROL, DAVE]))
    bench.tell(Joined(BOB), Joined(CAROL), Joined(DAVE), *(Joined(each, afar=True) for each in bench.drawn(0)))
    bench.tell(Announced(CAROL, 900, CAROL), Announced(DAVE, 900, DAVE))
    bench.tell(*(Announced(each, 900, each) for each in bench.drawn(0)))
    assert bench.tell(Trained(0))[-1] == Publish(0)
    bench.tell(Published(0))
    assert bench.core.phase is Phase.WAITING
    bench.tell(Announced(BOB, 900, BOB))  # a name's word counts
    assert bench.core.phase is Phase.INTEGRATING


def test_far_peers_that_stay_silent_cost_no_deadline() -> None:
    bench = Bench()
    bench.tell(Joined(BOB), *(Joined(each, afar=True) for each in bench.drawn(0)))
    bench.now += 0.5  # training
    wake = [effect for effect in bench.publish() if isinstance(effect, Wake)]
    bench.now += 0.25
    grace = [effect for effect in bench.says(BOB) if isinstance(effect, Wake)]
    assert grace[-1].at == bench.now + 0.75 < wake[-1].at  # as long again as Bob took
    bench.now = grace[-1].at
    rows = closed(bench.tell(Woken(Timer.DEADLINE, 0)))
    assert [said is not None for said in rows.updates] == [True, False, False]


def test_known_peers_may_take_the_pace_that_passes_anyhow() -> None:
    bench = Bench(pace=2.0)
    bench.tell(Joined(BOB), *(Joined(each, afar=True) for each in bench.drawn(0)))
    opened = bench.now
    bench.publish()
    bench.now += 0.25
    assert [effect.at for effect in bench.says(BOB) if isinstance(effect, Wake)] == [opened + 1.0]  # the deadline
    bench = Bench(pace=0.75)
    bench.tell(Joined(BOB), *(Joined(each, afar=True) for each in bench.drawn(0)))
    bench.publish()
    bench.now += 0.25
    assert [effect.at for effect in bench.says(BOB) if isinstance(effect, Wake)] == [opened + 0.75]


def test_absent_far_peers_cost_nothing() -> None:
    bench = Bench()
    bench.tell(Joined(BOB))
    bench.publish()
    rows = closed(bench.says(BOB))
    assert rows.neighbours == (BOB, *bench.drawn(0))
    assert rows.updates[1:] == (None, None)


def test_a_neighbour_is_asked_for_who_is_not_linked_and_its_relay_is_that_ones_row() -> None:
    bench = Bench()
    absent, here = bench.drawn(0)
    bench.tell(Joined(BOB), Joined(here, afar=True))
    asked = [effect for effect in bench.publish() if isinstance(effect, Ask)]
    assert asked == [Ask(absent, BOB)]
    bench.says(absent, via=BOB)
    assert bench.says(absent, via=BOB) == []  # once is enough
    bench.says(here)
    rows = closed(bench.says(BOB))
    assert [said is not None for said in rows.updates] == [True, True, True]
    assert rows.known == {BOB, absent, here}


def test_what_a_neighbour_relays_may_be_one_round_old_and_no_older() -> None:
    bench = Bench(pool=frozenset(sorted(AFAR)[:2]))
    bench.tell(Joined(BOB))
    for late in (0, 0, 1, 2):
        bench.publish()
        author = bench.drawn(bench.core.round)[0]
        bench.says(author, via=BOB, late=late)
        effects = bench.says(BOB)
        assert closes(effects) == (late < 2)
        rows = closed(effects if closes(effects) else bench.tell(Woken(Timer.DEADLINE, bench.core.round)))
        said = update_of(rows, author)
        assert (said is not None) == (late < 2)
        bench.over()


def test_who_answered_through_a_neighbour_is_waited_for_until_it_does_not() -> None:
    bench = Bench(pool=frozenset(sorted(AFAR)[:1]), far=1)
    (author,) = bench.drawn(0)
    bench.tell(Joined(BOB))
    bench.publish()
    assert closes(bench.says(BOB))  # nobody has answered yet
    bench.over()
    assert bench.says(author, via=BOB, late=2) == []  # too late to count, and an answer
    for answers in (True, False):
        bench.now += 0.5
        bench.publish()
        bench.now += 0.125
        assert not closes(bench.says(BOB))
        rows = closed(bench.says(author, via=BOB) if answers else bench.tell(Woken(Timer.DEADLINE, bench.core.round)))
        assert (update_of(rows, author) is not None) == answers
        bench.over()
        if answers:
            bench.publish()
            assert closes(bench.says(BOB))  # what came may be one round old
            bench.over()
    bench.publish()
    assert closes(bench.says(BOB))


def test_a_named_peer_that_was_not_heard_yet_is_not_waited_for_long_beside_others_who_are_known() -> None:
    def patience(bench: Bench) -> float:
        bench.tell(Joined(BOB))
        effects = bench.publish()
        effects += bench.says(CAROL)
        assert bench.core.phase is Phase.WAITING
        return min(effect.at for effect in effects if isinstance(effect, Wake)) - bench.now

    assert patience(Bench()) == 5.0
    bench = Bench(near=frozenset([CAROL]), pool=NOBODY)
    bench.tell(Joined(CAROL))
    bench.publish()
    bench.says(CAROL)
    bench.over()
    assert patience(bench) == 1.0


def test_who_is_torn_between_two_names_keeps_no_pace_until_it_is_with_the_one_ahead() -> None:
    bench = Bench(pool=NOBODY, pace=2.0)
    bench.tell(Acquainted(frozenset([BOB, CAROL]), NOBODY), Joined(BOB), Joined(CAROL), Announced(CAROL, 10, CAROL))
    for round in range(8):
        began = bench.now
        bench.publish()
        bench.says(BOB)
        bench.tell(Woken(Timer.DEADLINE, round))
        (pace,) = [effect.at for effect in bench.over() if isinstance(effect, Wake) and effect.timer is Timer.PACE]
        assert bench.core.phase is Phase.PACING
        assert pace == began
        bench.tell(Woken(Timer.PACE, bench.core.round))
    bench.publish()  # one round behind is not torn
    bench.says(BOB)
    bench.tell(Woken(Timer.DEADLINE, 8))
    assert [effect.at for effect in bench.over() if isinstance(effect, Wake)] == [bench.now + 2.0]


def test_who_is_ahead_of_most_that_it_knows_waits_for_them() -> None:
    bench = Bench(pool=NOBODY, pace=2.0)
    bench.tell(Joined(BOB), Announced(BOB, 0, BOB))
    paces = []
    for _ in range(4):
        began = bench.now
        bench.publish()
        bench.tell(Woken(Timer.DEADLINE, bench.core.round))
        paces += [effect.at - began for effect in bench.over() if isinstance(effect, Wake)]
        bench.now = began + paces[-1]
        bench.tell(Woken(Timer.PACE, bench.core.round))
    assert paces == [2.0, 2.0, 4.0, 4.0]
    bench = Bench(near=frozenset([CAROL, DAVE]), pool=NOBODY, pace=2.0)
    bench.tell(Joined(BOB), Joined(CAROL), Joined(DAVE), Announced(CAROL, 0, CAROL), Announced(DAVE, 0, DAVE))
    for pace in (2.0, 2.0, 4.0):  # of three only Bob, who is named, is with it
        began = bench.now
        bench.publish()
        bench.says(BOB)
        bench.tell(Woken(Timer.DEADLINE, bench.core.round))
        assert [effect.at - began for effect in bench.over() if isinstance(effect, Wake)] == [pace]
        bench.now += pace
        bench.tell(Woken(Timer.PACE, bench.core.round))


def test_relays_of_others_are_not_wanted() -> None:
    bench = Bench()
    bench.tell(Joined(BOB))
    bench.publish()
    other = min(AFAR - {*bench.drawn(0), *bench.drawn(1)})
    assert Want() not in bench.tell(Announced(other, 0, BOB))


def test_distrust_and_proof_take_a_far_row_away() -> None:
    for event in (Convicted, lambda who: Acquainted(NOBODY, frozenset([who]))):
        bench = Bench()
        bench.tell(Joined(BOB))
        bench.publish()
        author = bench.drawn(0)[0]
        bench.says(author, via=BOB)
        bench.tell(event(author))
        rows = closed(bench.says(BOB))
        assert author not in rows.neighbours or update_of(rows, author) is None


def test_rounds_go_on_among_far_peers_when_every_neighbour_is_gone() -> None:
    bench = Bench()
    bench.tell(Joined(BOB), *(Joined(each, afar=True) for each in bench.drawn(0)), Left(BOB))
    bench.publish()
    effects: list[Effect] = []
    for each in bench.drawn(0):
        effects = bench.says(each)
    rows = closed(effects)
    assert rows.known == set(bench.drawn(0)) == set(rows.neighbours)
    assert None not in rows.updates


def test_a_far_peer_that_is_adopted_is_a_neighbour() -> None:
    bench = Bench(near=frozenset([CAROL]), pool=AFAR | {CAROL}, far=1)
    bench.tell(Joined(BOB), Joined(CAROL, afar=True))
    assert CAROL not in bench.drawn(0)
    bench.publish()
    assert CAROL not in closed(bench.says(BOB)).neighbours
    bench.over()
    bench.tell(Joined(CAROL))
    bench.publish()
    bench.says(CAROL)
    rows = closed(bench.says(BOB))
    assert rows.known == {BOB, CAROL, *rows.far}


def test_a_named_peer_that_is_reached_from_afar_has_a_say_in_every_round() -> None:
    standing = Standing(ME, SILENT, 7, [BOB], far=1)
    core = NodeCore(ME, RoundPolicy(relays=False), 7, standing)
    for event in (Vouched(NOBODY, frozenset([BOB])), Begin(0), Joined(BOB, afar=True)):
        core.handle(event, 0.0)
    for round in range(4):
        assert BOB in standing.voices([BOB], round)


def test_far_peers_that_are_linked_are_company() -> None:
    standing = Standing(ME, Strangers(seats=1, enough=3, company=6), 7, [BOB], far=2)
    core = NodeCore(ME, RoundPolicy(relays=False), 7, standing)
    strangers = [peer(number) for number in range(200, 210)]
    for event in (Vouched(NOBODY, AFAR), Begin(0), *(Joined(each) for each in (BOB, *strangers))):
        core.handle(event, 0.0)
    linked = {BOB, *strangers}
    assert len(standing.voices(linked, 0) & set(strangers)) == 5  # Bob and five are six
    linked |= standing.drawn(linked, 0)
    assert len(standing.voices(linked, 0) & set(strangers)) == 1  # three known ones are enough


def test_where_the_graph_is_given_others_are_heard_only_when_drawn() -> None:
    standing = Standing(ME, None, 7, [BOB], far=2, graph=[BOB, CAROL])
    core = NodeCore(ME, RoundPolicy(relays=False), 7, standing)
    for event in (Vouched(frozenset([BOB]), AFAR), Begin(0), Joined(BOB), Joined(CAROL)):
        core.handle(event, 0.0)
    for each in sorted(AFAR):
        core.handle(Joined(each, afar=True), 0.0)
    drawn = standing.drawn(AFAR, 0)
    assert len(drawn) == 2
    assert standing.voices([BOB, CAROL, *AFAR], 0) == {BOB, CAROL, *drawn}
