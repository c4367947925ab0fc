"""What a node knows of each author, how far away, and which record to relay to whom. Pure.

Laws:
- The outcome never depends on the order of arrival within a round.
- A relay counts from the round after the one its sender was in when it sent it (`Known.ripe`): every node closes round t on what
  its neighbours sent up to the end of their round t - 1, however fast or slow they are.
- At the close of a round, in this order: ripe relays are merged, the store is trimmed, evidence is read, relays are drawn.
- Distance is a claim of whoever relayed: one is added, and it is clamped to [2, FARTHEST].
- What a neighbour can make us hold is bounded: `PER_SENDER` unripe relays each, `authors` stored records in all.

Source: SybilWall (arXiv 2306.15044), gossip of histories; relay probability proportional to exp(-0.8 (distance - 1)).
Differs: distance is clamped and rounds are admitted by the own view; the record is the author's own signed update.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gossip.messages import Update
from identity.keys import PeerId
from node.draws import Purpose, address, uniforms

FARTHEST = 16
NEAREST_RELAYED = 2
DECAY = 0.8
PER_SENDER = 4


@dataclass(frozen=True, slots=True)
class Known:
    """A record: an author's update, how far away its author seems, and from whom it came.

    Attributes:
        distance: 1 for a direct neighbour's own update, 2 to 16 for a relayed one.
        senders: neighbours that sent this very record; it is never sent back to them.
    """

    author: PeerId
    round: int
    update: Update
    distance: int
    senders: frozenset[PeerId]

    def merged(self, other: Known) -> Known:
        """The newer of two records of one author; of equals, the shorter distance and both senders' sets."""
        if self.round != other.round:
            return self if self.round > other.round else other
        near = self if self.distance <= other.distance else other
        return replace(near, senders=self.senders | other.senders)
