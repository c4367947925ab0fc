"""Those who redeem an invitation: a peer that is here, or one that may not be here before it does.

Law: of whoever waits at the door the first frame counts; it redeems, or the link ends (`gossip.lobby`).
"""

from __future__ import annotations

from collections.abc import Callable

from gossip.lobby import Lobby
from gossip.protocol.codec import decode_frame
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.events import GossipEvent, PeerRedeemed
from gossip.protocol.handshake import Party
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Frame, Redeem
from gossip.reception import Reception
from identity.keys import PeerId


class Doorstep:
    """Takes proofs of invitations.

    Args:
        lobby: who may be linked.
        reception: tells what is dropped, and lets go.
        limits: what peers may use.
        send: sends a frame to a peer.
        on_event: is told who redeemed.
        welcome: called with whoever is let in.
    """

    def __init__(
        self,
        lobby: Lobby,
        reception: Reception,
        limits: Limits,
        send: Callable[[PeerId, Frame], None],
        on_event: Callable[[GossipEvent], None],
        welcome: Callable[[Party], None],
    ) -> None:
        self._lobby = lobby
        self._reception = reception
        self._limits = limits
        self._send = send
        self._on_event = on_event
        self._welcome = welcome

    def redeem(self, peer: PeerId, proof: bytes) -> None:
        """Somebody who is here shows a proof, or answers ours.

        Raises:
            RemoteFault: as `Lobby.redeem`.
        """
        answer = self._lobby.redeem(peer, proof)
        if answer is not None:
            self._send(peer, answer)
        self._on_event(PeerRedeemed(peer, answer is not None))

    def knock(self, peer: PeerId, data: bytes) -> None:
        """A frame of somebody that the allow-list does not name: the first redeems an invitation, or the link ends."""
        if not self._lobby.knocks(peer):
            return
        try:
            message = decode_frame(data, self._limits)
            if not isinstance(message, Redeem):
                raise RemoteFault(Drop.NOT_ALLOWED)
            answer = self._lobby.redeem(peer, message.proof)
        except RemoteFault as fault:
            self._turn_away(peer, fault.reason)
            return
        if answer is None:  # it answers what was never asked
            self.uninvited(peer)
            return
        self._send(peer, answer)
        self._welcome(self._lobby.admit(peer))
        self._on_event(PeerRedeemed(peer, True))

    def uninvited(self, peer: PeerId) -> None:
        """It did not redeem in time, or at all."""
        self._turn_away(peer, Drop.NOT_ALLOWED)

    def _turn_away(self, peer: PeerId, reason: Drop) -> None:
        self._reception.drop(reason, None)
        self._reception.dismiss(peer, "it is not on the allow-list")
