"""Who is known to whom, and who has a say this round, link by link: node.trust.strangers for all nodes.

Law: the policy is the daemon's own function, called for all links at once; nothing of it is written here again.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from node.trust.strangers import SETTLED, Bools, Ints, Strangers, turns
from simulator.study.hearing import Links
from simulator.study.setup import Setup


class Standing:
    """Everybody's, at the beginning of a run; `note` what came of each round.

    Args:
        setup: of the run.
        links: whom nodes hear; far peers need not be drawn.
        limit: how far strangers are heard; None: everybody has a say.
    """

    def __init__(self, setup: Setup, links: Links, limit: Strangers | None) -> None:
        self._limit, self._seed, self._far = limit, setup.seed, links.far
        self._beside = np.flatnonzero(~links.far)  # between neighbours: whoever is far is known, and has a say
        self._nodes: Ints = links.receivers[self._beside].astype(np.int64)
        senders = links.senders[self._beside]
        self._own, self._peers = setup.addresses[self._nodes], setup.addresses[senders]
        self._origins, self._near = setup.origins[senders], links.known[self._beside]
        self._afar: Ints = np.bincount(links.receivers[links.far], minlength=setup.honest).astype(np.int64)
        self._served: deque[Ints] = deque([np.zeros(len(senders), dtype=np.int64)], maxlen=SETTLED)

    def voices(self, round: int) -> Bools | None:
        """Which links carry a vote in this round: (E,); None: all, in every round."""
        if self._limit is None:
            return None
        say = self._far.copy()
        if len(self._beside):
            known = self._limit.known(self._near, self._served[0], self._origins, self._nodes)
            draws = turns(self._seed, self._own, round, self._peers, self._origins)
            say[self._beside] = self._limit.voices(known, draws, self._nodes, self._afar)
        return say

    def note(self, heard: Bools, kept: Bools) -> None:
        """A round was decided: who had a say and was there (E,), and whose vote was kept (E,)."""
        said, kept = heard[self._beside], kept[self._beside]
        self._served.append(np.maximum(self._served[-1] + np.where(said, np.where(kept, 1, -1), 0), 0))
