"""Whom a running node knows: the table of people beside the events of its gossip, read anew each round.

Laws:
- What is refused by the disk, or held up by another process, costs a sentence and no round: what was read last holds.
- Whoever dials us and stays for a round asks to be known. It costs a row and gives nothing. The row goes when the peer
  has been gone for `FADED` rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from gossip.protocol.events import GossipEvent, PeerJoined, PeerLeft, PeerNamed, PeerRedeemed
from identity.keys import PeerId
from node.alarms import Alarms
from node.core import events as ev
from node.errors import NodeError
from node.store.invitations import Invitations
from node.store.people import People, Person, State, called
from node.trust.vouches import near_and_far
from node.voucher import Voucher

_Pairs = frozenset[tuple[PeerId, PeerId]]
_Seen = tuple[Mapping[PeerId, float], _Pairs, frozenset[PeerId]]
_NOBODY: Mapping[PeerId, float] = MappingProxyType({})
_NOTHING: _Pairs = frozenset()
FADED = 3600
"""Rounds after which who asked to be known, and went, is forgotten: an hour at the default pace. Who wants to be known
is there, or dials again, and then asks again."""
UNANSWERED = 2  # rounds beside the inviter after which a ticket that it did not take is told


class Circle:
    """Implements `gossip.lobby.Invitations` over the table, and tells the core whom the operator knows.

    Args:
        people: the table; closed by whoever opened it.
        alarms: told when it cannot be used.
        say: told one line at a time who came to be known.
        voucher: told whom the operator knows, or None.
    """

    def __init__(
        self, people: People, alarms: Alarms, say: Callable[[str], None], voucher: Voucher | None = None
    ) -> None:
        self._people = people
        self._invitations = Invitations(people)
        self._alarms = alarms
        self._say = say
        self._voucher = voucher
        self._round = people.round()
        self._rows: list[Person] = people.all()
        self._aliases = {person.peer: person.alias for person in self._rows}
        self._vouched: tuple[_Seen | None, ev.Vouched] = None, ev.Vouched(frozenset(), frozenset())
        self._by_name: Collection[PeerId] = ()  # as the last round ended
        self._here: dict[PeerId, int] = {}  # who is linked -> rounds that ended since
        self._gone: dict[PeerId, int] = {}  # who asked and is not linked -> since which round
        self._came: dict[PeerId, bool] = {}  # who dialled us and is here -> whether it was when the last round ended

    def rows(self) -> list[Person]:
        """Everybody in the table, as it was read last."""
        return self._rows

    def name(self, peer: PeerId) -> str:
        """A peer for people."""
        return called(peer, self._aliases.get(peer, ""))

    def names(self) -> Mapping[str, PeerId]:
        """Peers by the names that the operator gave them."""
        return {alias: peer for peer, alias in self._aliases.items() if alias}

    def said(self) -> ev.Acquainted:
        """What the operator says now."""
        with self._tolerant():
            self._rows = self._people.all()
            self._aliases = {person.peer: person.alias for person in self._rows}
        known, distrusted = (
            frozenset(person.peer for person in self._rows if person.state is state)
            for state in (State.KNOWN, State.DISTRUSTED)
        )
        if self._voucher is not None:
            self._voucher.acquainted(self._rows, self._by_name)
        return ev.Acquainted(known, distrusted)

    def standing(self) -> Mapping[PeerId, float]:
        """Standing by vouches (`node.trust.vouches`), the distrusted left out.

        Computed at most once a round; the same object as long as nothing has changed.
        """
        return _NOBODY if self._voucher is None else self._voucher.standing

    def vouched(self, by_name: Collection[PeerId], closed: bool = False) -> ev.Vouched:
        """What standing comes to; found anew only when standing or a name has changed.

        Args:
            by_name: peers known by name.
            closed: an allow-list is set: nobody else can be linked, so nobody else is heard from afar.
        """
        mutual = _NOTHING if self._voucher is None else self._voucher.mutual
        standing, names = self.standing(), frozenset(by_name)
        before, found = self._vouched
        if before is None or standing is not before[0] or mutual is not before[1] or names != before[2]:
            near, pool = near_and_far(standing, mutual, names)
            found = ev.Vouched(near, pool & names if closed else pool, mutual)
            self._vouched = (standing, mutual, names), found
        return found

    def note(self, event: GossipEvent) -> None:
        """Something happened on the wire; told before the node is."""
        match event:
            case PeerJoined(peer):
                self._here.setdefault(peer, 0)
                if not event.dialled:
                    self._came.setdefault(peer, False)
            case PeerLeft(peer):
                self._here.pop(peer, None)
                self._came.pop(peer, None)
            case PeerNamed(peer, address):
                with self._tolerant():
                    self._people.answered(peer, address)
            case PeerRedeemed(peer, ours):
                self.said()
                word = "redeemed its invitation" if ours else "took our invitation"
                self._say(f"{self.name(peer)} {word}: this node and it know each other")
            case _:
                pass

    def after(self, round: int, by_name: Collection[PeerId]) -> None:
        """A round is over."""
        self._round, self._by_name = round, by_name
        stayed = {peer for peer, before in self._came.items() if before}
        self._came = dict.fromkeys(self._came, True)
        self._here = {peer: rounds + 1 for peer, rounds in self._here.items()}
        with self._tolerant():
            waiting = [peer for peer in self._invitations.held() if self._here.get(peer, 0) >= UNANSWERED]
            if waiting:
                self._alarms.ring(
                    "ticket",
                    f"{self.name(waiting[0])} does not take this node's ticket: it was used by another key, revoked, "
                    "or is too old; ask there for a new one (hedgerow invite) and make a new node with it",
                )
            else:
                self._alarms.clear("ticket", "the ticket was taken")
            self._invitations.begin(round)
            self._people.ask(stayed - set(by_name), round)
            self._fade(round)
            self._alarms.clear("people", "the table of people can be used again")

    def _fade(self, round: int) -> None:
        """Forget who asked and has been gone for long; of what was before this run only when it began is known."""
        away = [row.peer for row in self._rows if row.state is State.ASKS and row.peer not in self._here]
        self._gone = {peer: self._gone.get(peer, round) for peer in away}
        faded = [peer for peer, since in self._gone.items() if round - since >= FADED]
        if faded:
            self._people.fade(faded)

    # what `gossip.lobby` asks

    def marks(self, peer: PeerId | None = None) -> Collection[bytes]:
        """See `gossip.lobby.Invitations.marks`."""
        with self._tolerant():
            given = self._invitations.all()
            return [one.mark for one in given if one.open(self._round) or (peer is not None and one.peer == peer)]
        return []

    def redeem(self, mark: bytes, peer: PeerId) -> bool:
        """See `gossip.lobby.Invitations.redeem`."""
        with self._tolerant():
            return self._invitations.redeem(mark, peer, self._round)
        return False

    def held(self, peer: PeerId) -> bytes | None:
        """See `gossip.lobby.Invitations.held`."""
        with self._tolerant():
            return self._invitations.held().get(peer)
        return None

    def taken(self, peer: PeerId) -> None:
        """See `gossip.lobby.Invitations.taken`."""
        with self._tolerant():
            self._invitations.taken(peer)

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except NodeError as error:
            self._alarms.ring("people", f"{error}; who is known stays as it was")
