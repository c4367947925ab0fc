"""Forged updates: another key, another author, another network, a flipped bit."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gossip.protocol.codec import UPDATE, encode_frame, encode_header
from gossip.protocol.messages import Announce
from identity.envelope import seal
from identity.keys import SigningKey
from simulator.attacks.attack import AttackSpec, Stage
from simulator.attacks.frame_fault import Broken, FaultView


@dataclass(frozen=True, slots=True)
class Forge:
    """Sends headers whose signature does not hold, or holds for something else."""

    instead: bool = False

    def act(self, view: FaultView) -> Broken:
        """One frame of each kind of forgery, each in the name of a stranger or of the Sybil itself."""
        stranger = SigningKey(view.generator.bytes(32))
        header = replace(view.header(), sequence=view.round + 2, round=view.round + 1)
        body = encode_header(header)
        good = seal(view.key, UPDATE, body)
        flipped = bytearray(good)
        place = int(view.generator.integers(len(good)))
        flipped[place] ^= 1 << int(view.generator.integers(8))
        return Broken(
            frames=[
                encode_frame(Announce(stranger.peer + good[32:])),  # claims the stranger's key
                encode_frame(Announce(seal(stranger, UPDATE, body))),  # signed by another than the author
                view.announce(replace(header, author=stranger.peer)),  # names another author
                view.announce(replace(header, network=bytes(32))),  # another network
                encode_frame(Announce(seal(view.key, "hello", body))),  # signed for another purpose
                encode_frame(Announce(bytes(flipped))),  # one bit
            ]
        )


FORGE = AttackSpec(name="forge", stage=Stage.WIRE, knowledge=frozenset(), build=Forge)
