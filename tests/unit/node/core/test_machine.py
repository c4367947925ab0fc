"""The core, one situation at a time: events in, effects out, invariants checked after every step."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from peers import peer, update

from node.core.events import (
    Ahead,
    Announced,
    Arrived,
    Begin,
    Convicted,
    Effect,
    Event,
    Finish,
    Heard,
    Integrate,
    Integrated,
    Joined,
    Left,
    Overtaken,
    Phase,
    Publish,
    Published,
    Relay,
    Report,
    StopAsked,
    Timer,
    Train,
    Trained,
    Wake,
    Want,
    Woken,
)
from node.core.machine import NodeCore
from node.core.neighbour import Neighbour, deadline
from node.core.policy import RoundPolicy

ME = peer(50)
A, B, C, D, E, F = (peer(number) for number in (1, 2, 3, 60, 70, 80))


@dataclass
class Bench:
    """A core, a clock, and the invariants checked after every event."""

    policy: RoundPolicy = field(default_factory=RoundPolicy)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.core = NodeCore(ME, self.policy, seed=7)

    def tell(self, *events: Event) -> list[Effect]:
        effects: list[Effect] = []
        for event in events:
            effects = self.core.handle(event, self.now)
            self.core.validate()
        return effects

    def publish(self) -> list[Effect]:
        """Train and publish the present round."""
        self.tell(Trained(self.core.round))
        return self.tell(Published(self.core.round))

    def waiting(self, *peers: bytes, round: int = 0) -> list[Effect]:
        """Bring the core to wait for these neighbours in this round."""
        self.tell(Begin(round))
        for name in peers:
            self.tell(Joined(name))  # type: ignore[arg-type]
        return self.publish()

    def own_words(self, *peers: bytes) -> list[Effect]:
        """The neighbours' updates of the present round arrive."""
        effects: list[Effect] = []
        for name in peers:
            effects = self.tell(Arrived(update(name, self.core.round), name, 1))  # type: ignore[arg-type]
        return effects

    def whole_round(self, *peers: bytes, lag: float = 0.0) -> list[Effect]:
        """Publish, hear these neighbours after `lag` seconds, close (at the deadline if need be), integrate."""
        self.publish()
        self.now += lag
        if self.core.phase is Phase.WAITING:
            self.own_words(*peers)
        if self.core.phase is Phase.WAITING:
            self.now += 60
            self.tell(Woken(Timer.DEADLINE, self.core.round))
        return self.tell(Integrated(self.core.round))


def only(kind: type, effects: list[Effect]) -> Effect:
    found = [effect for effect in effects if isinstance(effect, kind)]
    assert len(found) == 1, effects
    return found[0]


def test_a_round_trains_publishes_waits_integrates_relays_and_goes_on() -> None:
    bench = Bench()
    assert bench.tell(Begin(0)) == [Train(0)]
    bench.tell(Joined(B), Joined(A))
    assert bench.tell(Trained(0)) == [Publish(0)]
    assert only(Wake, bench.tell(Published(0))) == Wake(Timer.DEADLINE, 0, bench.now + 60)
    assert bench.own_words(B) == [Wake(Timer.DEADLINE, 0, bench.now + 1)]
    assert bench.own_words(A) == [
        Integrate(0, (A, B), bench_updates(bench, A, B), ()),
    ]
    effects = bench.tell(Integrated(0))
    assert [(r.to, r.known.author, r.known.distance) for r in effects if isinstance(r, Relay)] == [(A, B, 1), (B, A, 1)]
    report = only(Report, effects)
    assert isinstance(report, Report)
    assert (report.heard, report.missing, report.closed_by, report.next_round) == ((A, B), (), "all", 1)
    assert effects[-1] == Train(1)


def bench_updates(bench: Bench, *peers: bytes) -> tuple[object, ...]:
    neighbours = {n.peer: n for n in bench.core.neighbours()}
    return tuple(neighbours[name].updates[bench.core.round] for name in peers)  # type: ignore[index]


def test_without_neighbours_it_trains_on_at_its_pace() -> None:
    bench = Bench(RoundPolicy(pace=3.0))
    bench.tell(Begin(0))
    assert bench.publish() == [Integrate(0, (), (), ())]
    effects = bench.tell(Integrated(0))
    assert effects[-1] == Wake(Timer.PACE, 1, 103.0)
    bench.now = 103.0
    assert bench.tell(Woken(Timer.PACE, 1)) == [Train(1)]
    report = only(Report, effects)
    assert isinstance(report, Report)
    assert report.closed_by == "alone"


def test_a_round_closes_at_the_deadline_without_the_dead_peer() -> None:
    bench = Bench()
    bench.waiting(A, B)
    wake = only(Wake, bench.own_words(A))
    assert isinstance(wake, Wake)
    bench.now = wake.at
    integrate = only(Integrate, bench.tell(Woken(Timer.DEADLINE, 0)))
    assert isinstance(integrate, Integrate)
    assert [u is None for u in integrate.updates] == [False, True]


def test_an_old_timer_does_nothing() -> None:
    bench = Bench()
    bench.waiting(A)
    assert (
        bench.tell(Woken(Timer.DEADLINE, 5), Woken(Timer.PACE, 0), Woken(Timer.GATHER, 0), Woken(Timer.LINGER, 0)) == []
    )


def test_an_update_of_the_next_round_is_kept_for_it() -> None:
    bench = Bench()
    bench.waiting(A)
    bench.tell(Arrived(update(A, 1), A, 1))
    assert only(Integrate, bench.own_words(A))
    bench.tell(Integrated(0), Trained(1))
    assert only(Integrate, bench.tell(Published(1)))


def test_the_deadline_follows_the_lags_and_is_bounded() -> None:
    bench = Bench(RoundPolicy(least=0.5, most=60))
    bench.waiting(A, B)
    bench.now += 2
    bench.own_words(A, B)
    bench.tell(Integrated(0), Trained(1))
    wake = only(Wake, bench.tell(Published(1)))
    assert wake == Wake(Timer.DEADLINE, 1, bench.now + 2 + 4 * 1)  # mean 2, deviation 1
    for _ in range(40):
        bench.now += 2
        bench.own_words(A, B)
        bench.tell(Integrated(bench.core.round))
        wake = only(Wake, bench.publish())
    assert isinstance(wake, Wake)
    assert 2.0 < wake.at - bench.now < 2.1
    for _ in range(60):
        bench.own_words(A, B)
        bench.tell(Integrated(bench.core.round))
        wake = only(Wake, bench.publish())
    assert isinstance(wake, Wake)
    assert wake.at - bench.now == 0.5


def test_one_slow_peer_stretches_no_round_beyond_twice_the_median_and_is_given_up_after_two() -> None:
    peers = [peer(number) for number in range(1, 16)]
    slow = peers[0]
    bench = Bench(RoundPolicy(least=0.1))
    bench.tell(Begin(0), *(Joined(p) for p in peers))
    waits = []
    for _ in range(12):
        opened = bench.now
        bench.publish()
        bench.now += 0.5
        bench.own_words(*peers[1:])
        if bench.core.phase is Phase.WAITING:
            bench.now += 59.5
            bench.tell(Woken(Timer.DEADLINE, bench.core.round))
        bench.tell(Integrated(bench.core.round))
        waits.append(bench.now - opened)
    assert waits[2:] == [0.5] * 10
    assert slow in {n.peer for n in bench.core.neighbours()}


def test_a_peer_that_was_given_up_is_waited_for_again_after_rounds_in_time() -> None:
    bench = Bench()
    bench.tell(Begin(0), *(Joined(p) for p in (A, B, C)))
    bench.whole_round(A, B, C)
    bench.whole_round(A, B)
    bench.whole_round(A, B)
    for _ in range(2):
        bench.publish()
        bench.own_words(C, A)
        assert only(Integrate, bench.own_words(B))
        bench.tell(Integrated(bench.core.round))
    bench.publish()
    assert bench.own_words(A, B) == []


def test_a_late_header_is_a_lag_but_no_trust() -> None:
    bench = Bench(RoundPolicy(least=30.0))
    bench.tell(Begin(0), *(Joined(p) for p in (A, B, C)))
    bench.whole_round(A, B)
    before = {n.peer: n for n in bench.core.neighbours()}[C].trust
    bench.now += 5
    assert bench.tell(Announced(C, 0, C)) == []
    late = {n.peer: n for n in bench.core.neighbours()}[C]
    assert late.trust == before < 1
    assert late.lag is not None
    assert late.lag >= 5


def test_a_neighbour_that_connects_anew_is_trusted_again() -> None:
    bench = Bench()
    bench.tell(Begin(0), *(Joined(p) for p in (A, B, C)))
    for _ in range(4):
        bench.whole_round(A, B)
    bench.tell(Left(C), Joined(C))
    bench.publish()
    assert bench.own_words(A, B) == []


def test_lags_of_long_past_rounds_are_not_taken() -> None:
    bench = Bench()
    bench.tell(Begin(0), Joined(A), Joined(B))
    for _ in range(6):
        bench.whole_round(A)
    bench.tell(Announced(B, 0, B))
    assert {n.peer: n.lag for n in bench.core.neighbours()}[B] is None


@pytest.mark.parametrize("claims", [(90, 91), (90, 10**9), (3, 90, 91), (90, 90, 4, 10**9, 91)])
def test_a_late_joiner_jumps_to_the_lower_median(claims: tuple[int, ...]) -> None:
    bench = Bench(RoundPolicy(expect=len(claims)))
    bench.tell(Begin(0))
    for number, claim in enumerate(claims, start=1):
        bench.tell(Joined(peer(number)), Ahead(peer(number), claim))
    assert bench.tell(Trained(bench.core.round)) == [Publish(90)]


@pytest.mark.parametrize("claims", [(0, 10**9), (0, 0, 10**9), (1, 1), (0, 90, 0, 91)])
def test_one_liar_or_half_of_the_neighbours_move_nobody(claims: tuple[int, ...]) -> None:
    bench = Bench(RoundPolicy(expect=len(claims)))
    bench.tell(Begin(0))
    for number, claim in enumerate(claims, start=1):
        bench.tell(Joined(peer(number)), Ahead(peer(number), claim))
    assert bench.tell(Trained(0)) == [Publish(0)]


def test_a_node_that_falls_behind_while_training_publishes_the_others_round() -> None:
    bench = Bench()
    bench.tell(Begin(0), Joined(A), Joined(B), Ahead(A, 7), Ahead(B, 8), Ahead(D, 3))
    assert bench.tell(Trained(0)) == [Publish(7)]


def test_a_node_that_falls_behind_while_waiting_closes_at_once_and_jumps() -> None:
    bench = Bench()
    bench.waiting(A, B)
    bench.tell(Ahead(A, 7))
    assert only(Integrate, bench.tell(Ahead(B, 8)))
    effects = bench.tell(Integrated(0))
    report = only(Report, effects)
    assert isinstance(report, Report)
    assert (report.closed_by, report.next_round) == ("behind", 7)
    assert effects[-1] == Train(7)
    assert all(n.trust == 1 for n in bench.core.neighbours())


def test_a_restart_publishes_again_what_is_in_the_ledger() -> None:
    bench = Bench(RoundPolicy(expect=1))
    assert bench.tell(Begin(5, published=True)) == [Wake(Timer.GATHER, 5, 130.0)]
    assert bench.tell(Joined(A)) == [Publish(5)]
    assert only(Wake, bench.tell(Published(5)))
    assert only(Integrate, bench.own_words(A))
    assert bench.tell(Integrated(5))[-1] == Train(6)


def test_gathering_ends_without_the_neighbours_in_the_end() -> None:
    bench = Bench(RoundPolicy(expect=2, gather=9))
    assert bench.tell(Begin(0)) == [Wake(Timer.GATHER, 0, 109.0)]
    assert bench.tell(Joined(A)) == []
    assert bench.tell(Woken(Timer.GATHER, 0)) == [Train(0)]


def test_a_higher_own_head_moves_the_next_rounds_after_it() -> None:
    bench = Bench()
    bench.tell(Begin(0), Joined(A))
    assert bench.tell(Overtaken(4)) == []
    assert bench.tell(Trained(0)) == [Publish(5)]
    assert bench.tell(Overtaken(9)) == [Publish(10)]
    assert bench.tell(Overtaken(8)) == []
    assert only(Wake, bench.tell(Published(10)))


def test_the_last_round_lingers_for_the_neighbours_then_finishes() -> None:
    bench = Bench(RoundPolicy(rounds=1))
    bench.waiting(A)
    bench.own_words(A)
    effects = bench.tell(Integrated(0))
    wake = only(Wake, effects)
    assert isinstance(wake, Wake)
    assert (wake.timer, wake.round, wake.at) == (Timer.LINGER, 1, bench.now + 1)
    assert bench.tell(Woken(Timer.LINGER, 1)) == [Finish()]
    assert bench.tell(Joined(B), Woken(Timer.LINGER, 1)) == []


def test_lingering_ends_with_the_last_neighbour() -> None:
    bench = Bench(RoundPolicy(rounds=1))
    bench.waiting(A)
    bench.own_words(A)
    bench.tell(Integrated(0))
    assert bench.tell(Left(A)) == [Finish()]


def test_alone_it_finishes_at_once() -> None:
    bench = Bench(RoundPolicy(rounds=1))
    bench.waiting()
    assert bench.tell(Integrated(0))[-1] == Finish()


def test_a_restart_after_the_last_round_finishes() -> None:
    assert Bench(RoundPolicy(rounds=3)).tell(Begin(3)) == [Finish()]


def test_who_falls_behind_at_the_end_publishes_the_last_round_and_no_later_one() -> None:
    bench = Bench(RoundPolicy(rounds=5))
    bench.tell(Begin(0), Joined(A), Ahead(A, 80))
    assert bench.tell(Trained(0)) == [Publish(4)]


def test_stop_finishes_and_later_events_do_nothing() -> None:
    bench = Bench()
    bench.waiting(A)
    assert bench.tell(StopAsked()) == [Finish()]
    assert bench.tell(Arrived(update(A, 0), A, 1), StopAsked()) == []


def test_a_neighbour_that_leaves_counts_to_the_end_of_the_round_and_then_as_history() -> None:
    bench = Bench()
    bench.waiting(A, B)
    bench.own_words(A)
    bench.tell(Left(A))
    integrate = only(Integrate, bench.own_words(B))
    assert isinstance(integrate, Integrate)
    assert integrate.neighbours == (A, B)
    assert bench.tell(Integrated(0))[-1] == Train(1)
    bench.publish()
    integrate = only(Integrate, bench.own_words(B))
    assert isinstance(integrate, Integrate)
    assert [(k.author, k.distance) for k in integrate.relayed] == [(A, 1)]


def test_when_the_last_missing_neighbour_leaves_the_round_closes() -> None:
    bench = Bench()
    bench.waiting(A, B)
    bench.own_words(A)
    assert only(Integrate, bench.tell(Left(B)))
    assert bench.tell(Left(B)) == []


def test_a_neighbour_that_comes_back_keeps_its_update() -> None:
    bench = Bench()
    bench.waiting(A, B)
    bench.own_words(A)
    bench.tell(Left(A), Joined(A))
    assert only(Integrate, bench.own_words(B))


def test_payloads_are_wanted_once_and_only_in_the_window() -> None:
    bench = Bench()
    bench.waiting(A, round=5)
    assert [bench.tell(Announced(A, round, A)) for round in (4, 5, 6)] == [[], [Want()], [Want()]]
    bench.tell(Arrived(update(A, 6), A, 1))
    assert bench.tell(Announced(A, 6, A)) == []
    closing = bench.tell(Announced(A, 7, A))  # two ahead: the node is behind
    assert closing == [Want(), Integrate(5, (A,), (None,), ())]
    assert bench.tell(Announced(A, 8, A)) == []


def test_nothing_is_wanted_from_strangers_or_about_oneself() -> None:
    bench = Bench()
    bench.waiting(A)
    assert bench.tell(Announced(B, 0, B)) == []
    assert bench.tell(Announced(ME, 0, A)) == []
    assert bench.tell(Arrived(update(ME, 0), A, 2)) == []
    assert bench.tell(Arrived(update(B, 0), B, 1)) == []
    assert bench.tell(Joined(ME)) == []


def test_relays_of_this_round_count_in_the_next_whoever_is_faster() -> None:
    bench = Bench()
    bench.waiting(A, B)
    assert bench.tell(Announced(A, 0, A)) == [Want()]
    assert bench.tell(Announced(D, 0, A)) == [Want()]  # A is in round 0 when it relays
    assert bench.tell(Announced(B, 0, A)) == []  # B speaks for itself
    bench.tell(Arrived(update(D, 0), A, 2))
    bench.own_words(A)
    first = only(Integrate, bench.own_words(B))
    assert isinstance(first, Integrate)
    assert first.relayed == ()
    bench.tell(Integrated(0))
    bench.publish()
    bench.own_words(A)
    second = only(Integrate, bench.own_words(B))
    assert isinstance(second, Integrate)
    assert [(k.author, k.distance, k.senders) for k in second.relayed] == [(D, 2, frozenset([A]))]


def test_a_relay_heard_again_from_another_neighbour_is_never_sent_back_to_either() -> None:
    bench = Bench()
    bench.waiting(A, B)
    far = update(D, 0)
    bench.tell(Arrived(far, A, 3), Heard(D, far.digest, B, 2), Heard(D, b"?", B, 2))
    bench.own_words(A, B)
    bench.tell(Integrated(0))
    bench.publish()
    bench.own_words(A)
    integrate = only(Integrate, bench.own_words(B))
    assert isinstance(integrate, Integrate)
    assert [(k.distance, k.senders) for k in integrate.relayed] == [(2, frozenset([A, B]))]
    relays = [e for e in bench.tell(Integrated(1)) if isinstance(e, Relay)]
    assert {(r.to, r.known.author) for r in relays} == {(A, B), (B, A)}


def test_a_neighbour_can_make_us_fetch_only_so_many_relays() -> None:
    bench = Bench()
    bench.waiting(A)
    answers = [bench.tell(Announced(peer(1000 + n), 0, A)) for n in range(10)]
    assert answers == [[Want()]] * 4 + [[]] * 6
    assert bench.tell(Announced(D, 9, A)) == []


def test_a_rule_without_relays_takes_and_sends_none() -> None:
    bench = Bench(RoundPolicy().without_relays())
    bench.waiting(A, B)
    assert bench.tell(Announced(D, 0, A)) == []
    bench.tell(Arrived(update(D, 0), A, 2))
    bench.own_words(A)
    bench.own_words(B)
    bench.tell(Left(A))
    assert not any(isinstance(effect, Relay) for effect in bench.tell(Integrated(0)))


def test_a_convicted_author_counts_no_more() -> None:
    bench = Bench()
    bench.waiting(A, B)
    bench.tell(Arrived(update(D, 0), B, 2))
    bench.own_words(A)
    bench.tell(Convicted(D), Convicted(A))
    integrate = only(Integrate, bench.own_words(B))
    assert isinstance(integrate, Integrate)
    assert integrate.updates[0] is None
    bench.tell(Integrated(0))
    bench.publish()
    last = only(Integrate, bench.own_words(B))
    assert isinstance(last, Integrate)
    assert last.relayed == ()


def test_a_convicted_author_that_has_left_is_gone() -> None:
    bench = Bench()
    bench.waiting(A, B)
    bench.own_words(A)
    integrate = only(Integrate, [*bench.tell(Left(A), Convicted(A)), *bench.own_words(B)])
    assert isinstance(integrate, Integrate)
    assert integrate.neighbours == (B,)


def test_departed_neighbours_are_bounded() -> None:
    bench = Bench(RoundPolicy(authors=3))
    bench.waiting(A, *(peer(number) for number in range(100, 120)))
    for number in range(100, 120):
        bench.own_words(peer(number))
        bench.tell(Left(peer(number)))
    integrate = only(Integrate, bench.own_words(A))
    assert isinstance(integrate, Integrate)
    assert len(integrate.neighbours) <= 4


def test_relays_whose_payload_never_came_are_forgotten() -> None:
    bench = Bench()
    bench.tell(Begin(0), Joined(A))
    for number in range(4):
        bench.tell(Announced(peer(1000 + number), 0, A))
    for _ in range(6):
        bench.whole_round(A)
    assert bench.tell(Announced(peer(2000), 5, A)) == [Want()]


def test_an_answer_to_another_question_is_a_bug_and_says_so() -> None:
    bench = Bench()
    bench.tell(Begin(0))
    with pytest.raises(RuntimeError, match="publishing of round 3 ended in training of round 0"):
        bench.core.handle(Published(3), bench.now)


def test_the_pace_is_kept_and_catching_up_is_not_forgotten_meanwhile() -> None:
    bench = Bench(RoundPolicy(pace=10))
    bench.waiting(A)
    bench.now += 1
    bench.own_words(A)
    effects = bench.tell(Integrated(0))
    assert effects[-1] == Wake(Timer.PACE, 1, 110.0)
    bench.tell(Ahead(A, 40))
    bench.now = 110
    assert bench.tell(Woken(Timer.PACE, 1)) == [Train(40)]


def test_a_round_missed_by_a_moment_is_pardoned_once_and_a_slow_one_is_not() -> None:
    near, far = Neighbour(A, 0), Neighbour(B, 0)
    for neighbour in (near, far):
        neighbour.judge(3, in_time=False)
    near.pardon(3, lag=0.4, deadline=1.0)
    far.pardon(3, lag=1.1, deadline=1.0)
    assert near.trust == 1.0
    assert far.trust == 0.875
    near.judge(4, in_time=False)
    near.pardon(3, lag=0.0, deadline=1.0)  # another round's word
    assert near.trust == 0.875
    near.pardon(4, lag=0.0, deadline=1.0)
    near.pardon(4, lag=0.0, deadline=1.0)
    assert near.trust == 1.0


def test_a_silent_stranger_stretches_no_deadline_unless_nobody_was_ever_heard() -> None:
    policy = RoundPolicy(least=0.1, most=60.0)
    known, stranger = Neighbour(A, 0), Neighbour(B, 0)
    assert deadline([known, stranger], policy, silence=60.0) == 60.0
    assert deadline([known, stranger], policy, silence=-1.0) == 0.1
    known.late(0.5)
    alone = deadline([known], policy, silence=60.0)
    assert deadline([known, stranger], policy, silence=60.0) == alone < 60.0


def test_with_the_first_word_of_anybody_the_round_ends_by_what_is_known_of_those_who_speak() -> None:
    bench = Bench(RoundPolicy(least=0.5))
    opened = bench.now
    assert bench.waiting(A, B, C, D) == [Wake(Timer.DEADLINE, 0, opened + 60)]
    bench.now += 0.25
    wake = only(Wake, bench.own_words(A))
    assert wake == Wake(Timer.DEADLINE, 0, opened + 0.75)  # lag 0.25, deviation 0.125
    bench.now += 0.25
    assert bench.own_words(B) == []  # allowed 1.5 itself: never later than was said
    bench.now += 0.25
    assert only(Integrate, bench.tell(Woken(Timer.DEADLINE, 0)))
    report = only(Report, bench.tell(Integrated(0)))
    assert isinstance(report, Report)
    assert (report.waited, report.deadline, report.heard, report.missing) == (0.75, 0.75, (A, B), (C, D))


def test_a_first_word_of_one_who_is_ahead_ends_an_overlong_round_now_and_not_in_the_past() -> None:
    bench = Bench()
    bench.waiting(A, B)
    bench.now += 30
    wake = only(Wake, bench.tell(Arrived(update(A, 1), A, 1)))
    assert wake == Wake(Timer.DEADLINE, 0, bench.now)


def test_a_first_word_while_nobody_waits_sets_no_timer() -> None:
    bench = Bench()
    bench.tell(Begin(0), Joined(A), Joined(B))
    assert bench.own_words(A) == []
    assert only(Wake, bench.publish()) == Wake(Timer.DEADLINE, 0, bench.now + 1)


def test_silence_is_waited_for_as_long_as_the_longest_deadline_in_all_come_and_go_who_may() -> None:
    bench = Bench()
    bench.waiting(A, B)
    bench.now += 40
    bench.tell(Left(A))
    assert only(Integrate, bench.tell(Left(B)))
    bench.tell(Integrated(0), Joined(A), Joined(B))
    assert bench.publish() == [Wake(Timer.DEADLINE, 1, bench.now + 20)]
    bench.now += 20
    bench.tell(Woken(Timer.DEADLINE, 1), Integrated(1), Left(A), Joined(A))
    assert bench.publish() == [Wake(Timer.DEADLINE, 2, bench.now + 1)]
    bench.now += 1
    bench.tell(Woken(Timer.DEADLINE, 2), Integrated(2), Left(B))
    assert bench.publish() == [Wake(Timer.DEADLINE, 3, bench.now + 1)]
    bench.now += 1
    bench.tell(Woken(Timer.DEADLINE, 3), Integrated(3))
    assert only(Integrate, bench.publish())  # two misses: nobody waits for it


def test_a_word_of_anybody_makes_up_for_silence() -> None:
    bench = Bench()
    bench.waiting(A)
    bench.now += 60
    bench.tell(Woken(Timer.DEADLINE, 0), Integrated(0))
    bench.publish()
    bench.own_words(A)
    bench.tell(Integrated(1), Left(A), Joined(B))
    assert bench.publish() == [Wake(Timer.DEADLINE, 2, bench.now + 60)]
