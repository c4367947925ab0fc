"""Who takes which message: intake headers, book addresses, doorstep proofs, grapevine statements, exhibits requests.

Law: each case is one message of `gossip.protocol.messages.Frame`; what is wrong with it is raised as a RemoteFault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gossip.chain.hearing import Hearing
from gossip.company import Company
from gossip.doorstep import Doorstep
from gossip.exhibits import Exhibits
from gossip.intake import Intake
from gossip.protocol.codec import MAX_DISTANCE
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.messages import Announce, Frame, Goodbye, HeaderRequest, Peers, Redeem, Relay, Vouches
from gossip.reach.book import AddressBook
from gossip.reception import Reception
from gossip.vouching import Grapevine
from identity.keys import PeerId


class Dispatch:
    """Hands messages on."""

    def __init__(
        self,
        reception: Reception,
        company: Company,
        hearing: Hearing,
        intake: Intake,
        exhibits: Exhibits,
        doorstep: Doorstep,
        book: AddressBook,
        grapevine: Grapevine,
        learnt: Callable[[], None],
    ) -> None:
        """Nothing has come; `learnt` is called when addresses came."""
        self._reception = reception
        self._company = company
        self._hearing = hearing
        self._intake = intake
        self._exhibits = exhibits
        self._doorstep = doorstep
        self._book = book
        self._grapevine = grapevine
        self._learnt = learnt

    def take(self, peer: PeerId, message: Frame, now: float) -> None:
        """Take a message of somebody who is here.

        Raises:
            RemoteFault: dropped, with the reason.
        """
        match message:
            case Announce(envelope):
                self._intake.take(envelope, peer, 1, now)
            case Relay(claimed, envelope):
                self._intake.take(envelope, peer, min(claimed + 1, MAX_DISTANCE), now)
            case Peers(envelopes):
                self._hearing.told(peer)
                self._take_records(envelopes, peer, now)
            case HeaderRequest(author, first, last):
                self._exhibits.show(peer, self._exhibits.headers(author, first, last))
            case Redeem(proof):
                self._doorstep.redeem(peer, proof)
            case Vouches(_, envelopes):
                if not self._reception.patience.vouches(peer, now, len(envelopes)):
                    raise RemoteFault(Drop.PEER_RATE, "more statements than are read of one peer")
                self._grapevine.take(peer, message, now)
            case Goodbye():
                self._reception.dismiss(peer, "said goodbye")

    def _take_records(self, envelopes: Sequence[bytes], peer: PeerId, now: float) -> None:
        """Addresses that a peer tells, not often."""
        if not self._reception.patience.tells(peer, now):
            raise RemoteFault(Drop.PEER_RATE, "addresses are told at a join")
        for envelope in envelopes:
            try:
                self._book.learn(envelope, peer, self._company.seen(peer))
            except RemoteFault as fault:
                self._reception.blame(fault.reason, peer)
        self._learnt()
