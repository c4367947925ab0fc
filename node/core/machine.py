"""The whole behaviour of a node, without I/O: events and the time go in, effects come out.

One round: train; publish; wait for the neighbours' updates of this round, until all are here or the deadline; let the
rule decide; relay one known record to each neighbour; next round. Everything that changes this course lives here:

- A neighbour is whoever is connected. One that leaves during a round counts to its end if its update is here.
- Only what a peer signed moves a round. Who leads, and for whom a round waits, are its guides
  (`node.core.neighbourhood`): neighbours known by name, or strangers that delivered before where none of these is here.
- Others with a say may take as long again as the guides took: then the round closes without them.
- Of strangers only a few have a say in a round (`node.trust.strangers`): the others' models are not fetched, nobody
  waits for them, and what round they claim to be in moves nobody.
- The deadline adapts to the neighbours' lags (`node.core.policy`), within a round to an earlier one only; late, slow
  and dead peers cost their weight, never the round.
- Of peers that are no neighbours a few are heard from afar, drawn anew each round (`node.core.afar`). They lead no
  round and stretch no deadline; those who are linked may take as long again as the guides took, like others beside.
- Whom the operator distrusts has no say at all: what it signed is not fetched, from nobody, and what is here goes.
- Without neighbours a node trains on alone, at its pace. Where most neighbours have published the next round, half a
  pace will do: else a node that is a step behind, after a restart for example, would be late in every round. Where half
  of the guides are ahead by more than one round it keeps no pace at all until it is with them; where most of
  those whom it knows, also by vouches, are behind by more than one it takes twice its pace: they do not hear it.
- When more than half of the guides are ahead by more than one round, the node goes on in the lower median of the rounds
  that they signed (`node.core.neighbour.overtaken`): before it publishes, or after it closes its round
  at once.
- Rounds of own updates grow strictly. A restart resumes with the update that is in the ledger, or after it.
- Relays of the present round count in the next one (`node.trust.history`).
"""

from __future__ import annotations

from typing import assert_never

from gossip.protocol.messages import Update
from identity.keys import PeerId
from node.core import events as ev
from node.core.afar import Afar
from node.core.events import Effect, Event, Phase, Timer
from node.core.neighbour import Neighbour
from node.core.neighbourhood import Neighbourhood
from node.core.policy import RoundPolicy
from node.trust.history import PER_SENDER, History, Known
from node.trust.standing import Standing

AHEAD = 2  # rounds that a neighbour's update may lead (as gossip admits)
MEMORY = 4  # own publication times kept, to tell how late an update was


class NodeCore:
    """One node.

    Attributes:
        phase: where in its life it is.
        round: the round it is in.
        standing: who is known; read it, do not change it.

    Args:
        own: own peer id.
        policy: rounds, pace, deadlines, bounds.
        seed: of relay draws.
        standing: who is known, and how far strangers are heard; None: everybody has a say.
    """

    def __init__(self, own: PeerId, policy: RoundPolicy, seed: int, standing: Standing | None = None) -> None:
        self.phase = Phase.NEW
        self.round = 0
        self.standing = standing or Standing(own)
        self._own = own
        self._policy = policy
        self._history = History(own, seed, policy.authors, policy.age)
        self._neighbours = Neighbourhood(self.standing)
        self._afar = Afar(self._neighbours, policy)
        self._resumed = False
        self._began = 0
        self._floor = 0  # own rounds below are spent
        self._played = 0
        self._opened = 0.0
        self._deadline = 0.0
        self._sent: dict[int, float] = {}  # round -> when the own update was out
        self._grace = float("inf")  # until when strangers beside known peers are waited for; inf: not yet
        self._waited, self._closed_by = 0.0, ""
        self._weighed: frozenset[PeerId] = frozenset()  # neighbours whose update the rule was shown

    def handle(self, event: Event, now: float) -> list[Effect]:
        """What this event makes the node want done.

        Args:
            event: what happened.
            now: monotonic seconds; never goes back.
        """
        if self.phase is Phase.STOPPED:
            return []
        effects = self._handle(event, now)
        idle = self.phase in (Phase.NEW, Phase.STOPPED)
        return effects if idle else [*self._afar.reach(self.round), *effects]

    def neighbours(self) -> tuple[Neighbour, ...]:
        """Live neighbours in order of peer id: for status pages; not to be changed."""
        return tuple(self._neighbours.live())

    def validate(self) -> None:
        """Raise AssertionError when an invariant is broken; tests call it after every step."""
        assert self._own not in self._neighbours
        closed = self.phase in (Phase.INTEGRATING, Phase.PACING, Phase.LINGERING, Phase.STOPPED)
        if self.phase is Phase.WAITING:
            reason = self._why_close()
            assert reason is None or (reason == "all" and self._grace < float("inf"))
            assert self._policy.least <= self._deadline <= max(self._policy.least, self._policy.most)
        if self.phase is Phase.LINGERING:
            assert self._over(self.round)
        if not closed and self._policy.rounds is not None and self.phase is not Phase.NEW:
            assert self.round < self._policy.rounds
        assert len(self._sent) <= MEMORY
        assert all(round <= self.round for round in self._sent)
        self._afar.validate()
        self._history.validate()
        self._neighbours.validate(self.round, AHEAD, PER_SENDER)

    def _handle(self, event: Event, now: float) -> list[Effect]:
        match event:
            case ev.Begin(round, published):
                return self._begin(round, published, now)
            case ev.Joined(peer, group, afar):
                return self._joined(peer, group, afar, now)
            case ev.Named(peer, address):
                self.standing.named(peer, address)
                return self._perhaps_close(now)
            case ev.Acquainted(known, distrusted):
                return self._acquainted(known, distrusted, now)
            case ev.Vouched(near, pool, mutual):
                self.standing.vouched(near, pool, mutual)
                return self._perhaps_close(now)
            case ev.Left(peer):
                return self._left(peer, now)
            case ev.Ahead(peer, round):
                return self._ahead(peer, round, now)
            case ev.Announced(author, round, via):
                return self._announced(author, round, via, now)
            case ev.Arrived(update, via, distance):
                return self._arrived(update, via, distance, now)
            case ev.Heard(author, digest, via, distance):
                return self._heard(author, digest, via, distance, now)
            case ev.Convicted(author):
                return self._convicted(author, now)
            case ev.Trained(round):
                return self._trained(round, now)
            case ev.Published(round):
                return self._published(round, now)
            case ev.Integrated(round, kept):
                return self._integrated(round, kept, now)
            case ev.Overtaken(round):
                return self._overtaken(round, now)
            case ev.Woken(timer, round):
                return self._woken(timer, round, now)
            case ev.StopAsked():
                self.phase = Phase.STOPPED
                return [ev.Finish()]
            case _:
                assert_never(event)

    def _begin(self, round: int, published: bool, now: float) -> list[Effect]:
        self.round = self._began = round
        self._resumed, self._opened = published, now
        if self._over(round):
            return self._linger(round, now)
        self.phase = Phase.GATHERING
        if self._policy.expect > len(self._neighbours.here()):
            return [ev.Wake(Timer.GATHER, round, now + self._policy.gather)]
        return self._gathered(now)

    def _gathered(self, now: float) -> list[Effect]:
        if self._resumed:
            self.phase, self._opened = Phase.PUBLISHING, now
            return [ev.Publish(self.round)]
        return self._open(self.round, now)

    # Neighbours

    def _joined(self, peer: PeerId, group: str, afar: bool, now: float) -> list[Effect]:
        if peer == self._own:
            return []
        self._neighbours.joined(peer, group, afar)
        if self.phase is Phase.GATHERING and len(self._neighbours.here()) >= self._policy.expect:
            return self._gathered(now)
        return self._perhaps_close(now)

    def _left(self, peer: PeerId, now: float) -> list[Effect]:
        neighbour = self._neighbours.get(peer)
        if neighbour is None:
            return []
        neighbour.live = False
        neighbour.stamps.clear()
        if self.round not in neighbour.updates or len(self._neighbours.gone()) > self._policy.authors:
            self._drop(neighbour)
        if self.phase is Phase.LINGERING and not self._neighbours.live():
            return self._finish()
        return self._perhaps_close(now)

    def _ahead(self, peer: PeerId, round: int, now: float) -> list[Effect]:
        neighbour = self._neighbours.get(peer)
        if neighbour is not None:
            neighbour.signed = max(neighbour.signed, round)
        return self._perhaps_close(now)

    def _convicted(self, author: PeerId, now: float) -> list[Effect]:
        self._forget(author)
        return self._perhaps_close(now)

    def _acquainted(self, known: frozenset[PeerId], distrusted: frozenset[PeerId], now: float) -> list[Effect]:
        for peer in sorted(distrusted - self.standing.distrusted):
            self._forget(peer)
        self.standing.acquainted(known, distrusted)
        return self._perhaps_close(now)

    def _forget(self, author: PeerId) -> None:
        self._history.forget(author)
        self._neighbours.convicted(author)
        self._afar.forget(author)

    def _drop(self, neighbour: Neighbour) -> None:
        """Forget a neighbour that left; its newest update becomes history at distance 1."""
        beside = neighbour.peer in self._neighbours.beside()
        self._neighbours.remove(neighbour.peer)
        if neighbour.updates and self._policy.relays and beside:
            newest = neighbour.updates[max(neighbour.updates)]
            self._history.keep(Known.own(newest))

    # Updates

    def _announced(self, author: PeerId, round: int, via: PeerId, now: float) -> list[Effect]:
        sender = self._neighbours.get(via)
        if sender is None or author == self._own or not self.standing.distrusted.isdisjoint((author, via)):
            return []
        if author == via:
            return self._announced_own(sender, round, now)
        self._afar.shown(author, self.round)
        if self._afar.wants(author, round, self.round):
            return [ev.Want()]
        wanted = self._policy.relays and author not in self._neighbours.beside()
        if not wanted or round > self.round + AHEAD or len(sender.stamps) >= PER_SENDER or not self._history.room(via):
            return []
        sender.stamps[author, round] = sender.signed + 1
        return [ev.Want()]

    def _announced_own(self, sender: Neighbour, round: int, now: float) -> list[Effect]:
        sender.signed = max(sender.signed, round)
        first = self.round if self._open_to_updates() else self.round + 1
        sooner = self._note_lag(sender, round, now) if round < first else []
        news = first <= round <= self.round + AHEAD and round not in sender.updates
        wanted = news and sender.peer in self._neighbours.voices(round)
        return [*([ev.Want()] if wanted else []), *(self._perhaps_close(now) or sooner)]

    def _arrived(self, update: Update, via: PeerId, distance: int, now: float) -> list[Effect]:
        sender = self._neighbours.get(via)
        author, round = update.header.author, update.header.round
        if sender is None or author == self._own or not self.standing.distrusted.isdisjoint((author, via)):
            return []
        if author != via:
            return self._relayed(sender, update, distance, now)
        sender.signed, sender.delivered = max(sender.signed, round), max(sender.delivered, round)
        sooner = self._note_lag(sender, round, now)
        if self.round <= round <= self.round + AHEAD:
            sender.updates.setdefault(round, update)
        return self._perhaps_close(now) or sooner

    def _heard(self, author: PeerId, digest: bytes, via: PeerId, distance: int, now: float) -> list[Effect]:
        update = self._history.find(author, digest)
        return [] if update is None else self._arrived(update, via, distance, now)

    def _relayed(self, sender: Neighbour, update: Update, distance: int, now: float) -> list[Effect]:
        author, round = update.header.author, update.header.round
        useful = self._afar.take(update, self.round)
        ripe = sender.stamps.pop((author, round), sender.signed + 1)
        if self._policy.relays and author not in self._neighbours.beside() and round <= self.round + AHEAD:
            self._history.receive(update, sender.peer, distance, ripe)
        return self._perhaps_close(now) if useful and self.phase is Phase.WAITING else []

    def _note_lag(self, sender: Neighbour, round: int, now: float) -> list[Effect]:
        """How much later than ours this update, or its header, came; a first word may end the round sooner."""
        first = sender.lag is None
        if round in self._sent:
            lag = now - self._sent[round]
            sender.late(lag)
            sender.pardon(round, lag, self._deadline)
        elif round >= self.round:
            sender.late(0.0)
        return self._set_deadline(now) if first and self.phase is Phase.WAITING else []

    # The round

    def _open(self, round: int, now: float) -> list[Effect]:
        """Start a round, or the one to jump to."""
        round = self._caught_up(max(round, self._floor))
        if self._over(round):
            return self._linger(round, now)
        self._enter(round)
        self.phase, self._opened = Phase.TRAINING, now
        return [ev.Train(round)]

    def _trained(self, round: int, now: float) -> list[Effect]:
        self._expect(Phase.TRAINING, round)
        target = self._caught_up(round)
        if self._policy.rounds is not None:
            target = min(target, self._policy.rounds - 1)
        return self._publish(max(target, self._floor), now)

    def _publish(self, round: int, now: float) -> list[Effect]:
        if self._over(round):
            return self._linger(round, now)
        self._enter(round)
        self.phase = Phase.PUBLISHING
        return [ev.Publish(round)]

    def _overtaken(self, round: int, now: float) -> list[Effect]:
        self._floor = max(self._floor, round + 1)
        again = self.phase is Phase.PUBLISHING and self.round < self._floor
        return self._publish(self._floor, now) if again else []

    def _published(self, round: int, now: float) -> list[Effect]:
        if round != self.round and round < self._floor:
            return []  # overtaken meanwhile
        self._expect(Phase.PUBLISHING, round)
        self.phase, self._floor = Phase.WAITING, max(self._floor, round + 1)
        self._sent[round] = now
        for old in sorted(self._sent)[:-MEMORY]:
            del self._sent[old]
        self._deadline = self._grace = float("inf")
        waking = self._set_deadline(now)
        return [*self._afar.ask(self.round), *(self._perhaps_close(now) or waking)]

    def _set_deadline(self, now: float) -> list[Effect]:
        """End the round by what is known of the neighbours now, but not later than was said before."""
        spent = now - self._sent[self.round]
        deadline = max(self._neighbours.deadline(self.round, self._policy), spent)
        if deadline >= self._deadline:
            return []
        self._deadline = deadline
        return [ev.Wake(Timer.DEADLINE, self.round, min(now + (deadline - spent), self._grace))]

    def _perhaps_close(self, now: float) -> list[Effect]:
        if self.phase is Phase.PACING:
            return self._hurried(now)
        reason = self._why_close() if self.phase is Phase.WAITING else None
        if reason is None:
            return []
        if reason == "all" and now <= self._grace and self._guests():
            return self._indulge(now)
        return self._close(reason, now)

    def _indulge(self, now: float) -> list[Effect]:
        """All that the round waits for is here: others with a say may take as long again as it took until now.

        Known ones among them have until the pace is over, for which the node would wait all the same.
        """
        if self._grace < float("inf"):
            return []
        grace = now + (now - self._opened)
        guests = self._guests()
        if self.standing.stands_for(guests, guests.intersection(self._neighbours.far(self.round))):
            grace = max(grace, self._opened + self._policy.pace)
        self._grace = min(grace, self._sent[self.round] + self._deadline)
        return [ev.Wake(Timer.DEADLINE, self.round, self._grace)]

    def _guests(self) -> frozenset[PeerId]:
        """Who may come yet beside those whom the round waits for."""
        linked = frozenset(guest.peer for guest in self._neighbours.guests(self.round, self._policy))
        return linked | self._afar.awaited(self.round)

    def _why_close(self) -> str | None:
        if not self._neighbours.live():
            return "all" if self._neighbours.said(self.round) else "alone"
        ahead = self._neighbours.overtaken(self.round, self.round, self._last()) is not None
        if ahead and not self._neighbours.led_by_strangers(self.round):
            return "behind"
        waited = self._neighbours.waited_for(self.round, self._policy)
        return "all" if all(self.round in neighbour.updates for neighbour in waited) else None

    def _close(self, reason: str, now: float) -> list[Effect]:
        self.phase = Phase.INTEGRATING
        self._waited, self._closed_by = now - self._sent[self.round], reason
        self._neighbours.waited(self.round, self._waited, self._policy)
        for neighbour in self._neighbours.heeded(self.round):
            if reason != "behind" or self.round in neighbour.updates:
                neighbour.judge(self.round, self.round in neighbour.updates)
        beside = self._neighbours.beside()
        self._history.settle(self.round, beside)
        self._afar.closed(self.round)
        far = frozenset(self._neighbours.far(self.round))
        peers = self._neighbours.asked(self.round)
        voices = self._neighbours.voices(self.round) | far
        said = self._said(self.round)
        updates = tuple(said.get(peer) if peer in voices else None for peer in peers)
        relayed = self._history.relayed(beside) if self._policy.relays else ()
        heard = frozenset(peer for peer, update in zip(peers, updates, strict=True) if update is not None)
        self._weighed = heard - far  # what is said from afar is no neighbour's service
        strangers, named = frozenset(peers) - voices, self.standing.by_name.intersection(peers)
        known = self.standing.stands_for(peers, far)
        knows = bool(self.standing.by_name)
        return [ev.Integrate(self.round, peers, updates, relayed, strangers, named, knows, far, known)]

    def _said(self, round: int) -> dict[PeerId, Update]:
        """What is here of a round, of neighbours and from afar."""
        return {**self._afar.said(round), **self._neighbours.said(round)}

    def _integrated(self, round: int, kept: frozenset[PeerId], now: float) -> list[Effect]:
        self._expect(Phase.INTEGRATING, round)
        effects: list[Effect] = list(self._relays())
        said, asked = self._said(round), self._neighbours.asked(round)
        heard = tuple(peer for peer in asked if peer in said)
        missing = tuple(peer for peer in asked if peer not in said)
        then = max(round + 1, self._caught_up(round), self._floor)
        self.standing.note(round, self._weighed, kept)
        self._played += 1
        effects.append(
            ev.Report(round, now - self._opened, self._waited, self._deadline, heard, missing, self._closed_by, then)
        )
        for neighbour in self._neighbours.gone():
            self._drop(neighbour)
        if self._over(then):
            return effects + self._linger(then, now)
        pace = self._policy.pace * (2 if self._neighbours.leads(round) else 1)
        if now - self._opened < pace:
            self._enter(then)
            self.phase = Phase.PACING
            return [*effects, *(self._hurried(now) or [ev.Wake(Timer.PACE, then, self._opened + pace)])]
        return effects + self._open(then, now)

    def _hurried(self, now: float) -> list[Effect]:
        """Pace no longer than half where most neighbours have begun: who is a step behind would stay so for ever.

        None where half of them are ahead, too few to be followed: two who fell behind together, and each other's other
        half, would stay so. Whom a liar hurries is held by the others, for whom it waits.
        """
        if self._neighbours.led_by_strangers(self.round):
            return []
        torn, left = self._neighbours.torn(self.round), self._neighbours.left_behind(self.round)
        if not torn and not left:
            return []
        return [ev.Wake(Timer.PACE, self.round, max(now, self._opened + (0.0 if torn else self._policy.pace / 2)))]

    def _relays(self) -> list[ev.Relay]:
        """One record for each live neighbour: what neighbours said themselves this round, or what is stored."""
        if not self._policy.relays:
            return []
        beside, said = self._neighbours.beside(), self._neighbours.said(self.round)
        direct = [Known.own(update) for peer, update in said.items() if peer in beside]
        candidates = [*direct, *self._history.relayed(beside)]
        chosen = ((n.peer, self._history.choose(self.round, n.peer, candidates)) for n in self._neighbours.here())
        return [ev.Relay(peer, known) for peer, known in chosen if known is not None]

    def _woken(self, timer: Timer, round: int, now: float) -> list[Effect]:
        if (self.phase, round) != (ev.WOKEN_IN[timer], self.round):
            return []
        match timer:
            case Timer.GATHER:
                return self._gathered(now)
            case Timer.DEADLINE:
                return self._close(self._why_close() or "deadline", now)
            case Timer.PACE:
                return self._open(round, now)
            case Timer.LINGER:
                return self._finish()
            case _:
                assert_never(timer)

    def _over(self, round: int) -> bool:
        policy = self._policy
        enough = policy.more is not None and self._played >= policy.more
        return enough or (policy.rounds is not None and round >= policy.rounds)

    def _linger(self, round: int, now: float) -> list[Effect]:
        """Stay as long as a neighbour would wait for our last update."""
        self._enter(round)
        if not self._neighbours.live():
            return self._finish()
        self.phase = Phase.LINGERING
        return [ev.Wake(Timer.LINGER, round, now + self._neighbours.deadline(round, self._policy))]

    def _finish(self) -> list[Effect]:
        self.phase = Phase.STOPPED
        return [ev.Finish()]

    def _caught_up(self, round: int) -> int:
        """This round, or the later one to jump to."""
        return max(round, self._neighbours.overtaken(self.round, round, self._last()) or 0)

    def _last(self) -> int:
        """The round that was published last, or the one that the node began with."""
        return max(self._sent, default=self._began)

    def _open_to_updates(self) -> bool:
        return self.phase not in (Phase.INTEGRATING, Phase.LINGERING, Phase.STOPPED)

    def _enter(self, round: int) -> None:
        self.round = round
        for neighbour in self._neighbours.all():
            neighbour.forget(round)
            if not neighbour.live and round not in neighbour.updates:
                self._drop(neighbour)
        self._afar.enter(round)

    def _expect(self, phase: Phase, round: int) -> None:
        if (self.phase, self.round) != (phase, round):
            raise RuntimeError(f"{phase.value} of round {round} ended in {self.phase.value} of round {self.round}")
