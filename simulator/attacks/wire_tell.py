"""Telling: addresses of peers that were never there, each properly signed, frame upon frame."""

from __future__ import annotations

from dataclasses import dataclass

from gossip.protocol.codec import RECORD, encode_frame, encode_record
from gossip.protocol.messages import PeerRecord, Peers
from identity.envelope import seal
from identity.keys import SigningKey
from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Tell:
    """Makes its neighbours verify as much as it can for the price of a frame, and fills their address books.

    Attributes:
        frames: peers frames a round, each as full as it may be.
    """

    frames: int = 40
    instead: bool = False

    def act(self, view: FaultView) -> Broken:
        """Records that lead nowhere: nobody is dialled for them."""
        return Broken(frames=[self._frame(view) for _ in range(self.frames)])

    def _frame(self, view: FaultView) -> bytes:
        keys = (SigningKey(view.generator.bytes(32)) for _ in range(view.limits.peers_in_frame))
        told = (seal(key, RECORD, encode_record(PeerRecord(view.network, key.peer, "", 1))) for key in keys)
        return encode_frame(Peers(tuple(told)))


TELL = AttackSpec(
    name="tell",
    stage=Stage.WIRE,
    knowledge=frozenset(),
    build=lambda frames: Tell(frames),
    parameters={"frames": 40},
)
