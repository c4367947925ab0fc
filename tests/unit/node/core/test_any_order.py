"""The core under any order of events: invariants hold, own rounds grow strictly, something is always pending.

And a round that waits ends when it was said to, or sooner.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from peers import peer, update

from node.core.events import (
    Acquainted,
    Ahead,
    Announced,
    Arrived,
    Ask,
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
    Named,
    Overtaken,
    Phase,
    Publish,
    Published,
    Reach,
    Relay,
    Report,
    Timer,
    Train,
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

ME = peer(50)
LIMITS = st.builds(Strangers, st.integers(0, 2), st.integers(0, 2), st.integers(0, 4), st.integers(0, 2))
PEERS = st.integers(1, 6).map(peer)
ROUNDS = st.integers(0, 12)
SECONDS = st.floats(0, 5)
MOMENT = 1e-9  # what sums of times may be off by


class Machine(RuleBasedStateMachine):
    """Drives a core as gossip, executor and clock might."""

    @initialize(
        rounds=st.none() | st.integers(1, 8),
        pace=st.sampled_from([0.0, 2.0]),
        expect=st.integers(0, 2),
        relays=st.booleans(),
        published=st.booleans(),
        limit=st.none() | LIMITS,
        company=st.integers(0, 6),
        far=st.integers(0, 3),
        graph=st.none() | st.frozensets(PEERS, max_size=6),
    )
    def begin(
        self,
        rounds: int | None,
        pace: float,
        expect: int,
        relays: bool,
        published: bool,
        limit: Strangers | None,
        company: int,
        far: int,
        graph: frozenset[bytes] | None,
    ) -> None:
        policy = RoundPolicy(rounds=rounds, pace=pace, expect=expect, relays=relays, authors=3)
        self.policy = policy
        self.core = NodeCore(ME, policy, seed=1, standing=Standing(ME, limit, 1, [peer(1)], far=far, graph=graph))  # type: ignore[arg-type]
        self.now = 0.0
        self.work: list[Effect] = []
        self.wakes: dict[Timer, Wake] = {}
        self.published: list[int] = []
        self.reports: list[Report] = []
        self.far, self.reached = far, frozenset[bytes]()
        self.finished = False
        self.tell(Begin(0, published))
        for number in range(1, company + 1):
            self.tell(Joined(peer(number)))

    def tell(self, event: Event) -> None:
        for effect in self.core.handle(event, self.now):
            assert not self.finished
            match effect:
                case Integrate():
                    said = zip(effect.neighbours, effect.updates, strict=True)
                    heard = {peer for peer, content in said if content is not None}
                    assert self.core.standing.distrusted.isdisjoint({*heard, *effect.named, *(effect.known or ())})
                    self.check_rows(effect)
                    self.work.append(effect)
                case Train():
                    self.work.append(effect)
                case Reach(peers):
                    assert len(peers) <= 2 * self.far
                    assert peers != self.reached
                    assert ME not in peers
                    assert self.core.standing.distrusted.isdisjoint(peers)
                    self.reached = peers
                case Ask(author, to):
                    live = {neighbour.peer for neighbour in self.core.neighbours()}
                    assert author not in live
                    assert to in live & (self.core.standing.by_name | self.core.standing.near)
                case Want():
                    assert isinstance(event, Announced)
                    assert self.core.standing.distrusted.isdisjoint((event.author, event.via))
                case Publish():
                    self.work = [other for other in self.work if not isinstance(other, Publish)]
                    self.work.append(effect)
                case Wake():
                    before = self.wakes.get(effect.timer)
                    if effect.timer is Timer.DEADLINE and before is not None and before.round == effect.round:
                        assert effect.at < before.at + MOMENT
                    self.wakes[effect.timer] = effect
                    assert effect.at >= self.now
                case Report():
                    assert not self.reports or effect.round > self.reports[-1].round
                    assert effect.next_round > effect.round
                    assert not set(effect.heard) & set(effect.missing)
                    assert effect.waited <= effect.deadline + MOMENT
                    self.reports.append(effect)
                case Relay():
                    assert self.policy.relays
                    assert effect.to not in effect.known.senders
                    assert effect.known.author not in (ME, effect.to, *self.core.standing.distrusted)
                case Finish():
                    self.finished = True

    def check_rows(self, closed: Integrate) -> None:
        """Each row once, neighbours before far peers; only a person's word, or its turn from afar, makes one known."""
        near, standing = len(closed.neighbours) - len(closed.far), self.core.standing
        assert len(set(closed.neighbours)) == len(closed.neighbours)
        assert set(closed.neighbours[near:]) == closed.far
        assert len(closed.far) <= self.far
        assert closed.far <= standing.pool
        for part in (closed.neighbours[:near], closed.neighbours[near:]):
            assert list(part) == sorted(part)
        assert closed.far.isdisjoint(closed.strangers)
        assert (closed.known is None) == (not standing.vouches)
        if closed.known is not None:
            assert closed.far <= closed.known <= closed.far | standing.by_name | standing.near
            assert closed.named <= closed.known <= set(closed.neighbours)
        for who, said in zip(closed.neighbours, closed.updates, strict=True):
            assert said is None or said.header.author == who
            assert said is None or closed.round - (who in closed.far) <= said.header.round <= closed.round

    @rule(name=PEERS, afar=st.booleans(), group=st.sampled_from(["", "8.8.8.0/24"]))
    def join(self, name: bytes, afar: bool, group: str) -> None:
        self.tell(Joined(name, group, afar))  # type: ignore[arg-type]

    @rule(name=PEERS)
    def name(self, name: bytes) -> None:
        self.tell(Named(name, "host:1"))  # type: ignore[arg-type]

    @rule(known=st.frozensets(PEERS, max_size=3), distrusted=st.frozensets(PEERS, max_size=3))
    def acquaint(self, known: frozenset[bytes], distrusted: frozenset[bytes]) -> None:
        self.tell(Acquainted(known, distrusted))  # type: ignore[arg-type]

    @rule(near=st.frozensets(PEERS, max_size=3), pool=st.frozensets(PEERS, max_size=6))
    def vouch(self, near: frozenset[bytes], pool: frozenset[bytes]) -> None:
        self.tell(Vouched(near, pool))  # type: ignore[arg-type]

    @rule(name=PEERS)
    def leave(self, name: bytes) -> None:
        self.tell(Left(name))  # type: ignore[arg-type]

    @rule(name=PEERS, round=ROUNDS)
    def run_ahead(self, name: bytes, round: int) -> None:
        self.tell(Ahead(name, round))  # type: ignore[arg-type]

    @rule(author=PEERS, via=PEERS, round=ROUNDS, ahead=st.booleans())
    def announce(self, author: bytes, via: bytes, round: int, ahead: bool) -> None:
        round = self.core.round + round % 3 if ahead else round
        self.tell(Announced(author, round, via))  # type: ignore[arg-type]

    @rule(author=PEERS, via=PEERS, offset=st.integers(-1, 3), distance=st.integers(2, 40), heard=st.booleans())
    def arrive(self, author: bytes, via: bytes, offset: int, distance: int, heard: bool) -> None:
        round = max(0, self.core.round + offset)
        content = update(author, round)  # type: ignore[arg-type]
        self.tell(Arrived(content, via, 1 if author == via else distance))  # type: ignore[arg-type]
        if heard:
            self.tell(Heard(author, content.digest, peer(1), distance))  # type: ignore[arg-type]

    @rule(name=PEERS)
    def convict(self, name: bytes) -> None:
        self.tell(Convicted(name))  # type: ignore[arg-type]

    @rule(round=ROUNDS)
    def overtake(self, round: int) -> None:
        if self.published:
            round = max(round, self.published[-1] + 1)
        self.tell(Overtaken(round))

    @precondition(lambda self: self.work)
    @rule(seconds=SECONDS)
    def do_work(self, seconds: float) -> None:
        self.now += seconds
        effect = self.work.pop(0)
        match effect:
            case Train(round):
                self.tell(Trained(round))
            case Publish(round):
                assert not self.published or round > self.published[-1]
                self.published.append(round)
                self.tell(Published(round))
            case Integrate(round):
                said = zip(effect.neighbours, effect.updates, strict=True)
                assert not any(who in effect.strangers for who, update in said if update is not None)
                self.tell(Integrated(round, frozenset(effect.neighbours[:2])))

    @precondition(lambda self: self.wakes)
    @rule()
    def wait(self) -> None:
        wake = min(self.wakes.values(), key=lambda wake: wake.at)
        del self.wakes[wake.timer]
        self.now = max(self.now, wake.at)
        self.tell(Woken(wake.timer, wake.round))

    @precondition(lambda self: self.core.phase is Phase.WAITING)
    @rule(part=st.floats(0, 1), name=PEERS)
    def speak_after_a_while(self, part: float, name: bytes) -> None:
        self.now += part * max(0.0, self.wakes[Timer.DEADLINE].at - self.now)
        self.tell(Arrived(update(name, self.core.round), name, 1))  # type: ignore[arg-type]

    @invariant()
    def laws_hold(self) -> None:
        if hasattr(self, "core"):
            self.core.validate()

    @invariant()
    def something_is_always_pending(self) -> None:
        if not hasattr(self, "core") or self.finished:
            return
        if self.core.phase in (Phase.TRAINING, Phase.PUBLISHING, Phase.INTEGRATING):
            assert len(self.work) == 1
        else:
            timer = {
                Phase.GATHERING: Timer.GATHER,
                Phase.WAITING: Timer.DEADLINE,
                Phase.PACING: Timer.PACE,
                Phase.LINGERING: Timer.LINGER,
            }[self.core.phase]
            assert self.wakes[timer].round == self.core.round

    @invariant()
    def names_alone_move_a_round_where_there_are_any(self) -> None:
        if not hasattr(self, "core"):
            return
        round, standing, around = self.core.round, self.core.standing, self.core._neighbours
        guides = {guide.peer for guide in around.guides(round)}
        assert guides.isdisjoint(set(around.far(round)) - standing.by_name)
        named = {each.peer for each in around.heeded(round)} & standing.by_name
        assert standing.limit is None or not named or guides == named

    def teardown(self) -> None:
        self.laws_hold()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=60, suppress_health_check=list(HealthCheck))
