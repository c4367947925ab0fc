"""Who is known to whom, and who has a say this round, link by link: node.strangers for all nodes.

Law: the policy is the daemon's own function, called for each node; nothing of it is written here again.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from node.strangers import SETTLED, Bools, Ints, Strangers
from simulator.setup import Setup


class Standing:
    """All links to honest nodes, in order of receiver and then of peer id."""

    def __init__(self, setup: Setup, limit: Strangers) -> None:
        self._setup, self._limit = setup, limit
        self._beside = [np.array(beside, dtype=np.int64) for beside in setup.neighbours[: setup.honest]]
        self._named = [np.isin(beside, list(setup.named[node])) for node, beside in enumerate(self._beside)]
        self._ends = np.concatenate([[0], np.cumsum([len(beside) for beside in self._beside])]).astype(np.int64)
        self._served: deque[Ints] = deque([np.zeros(int(self._ends[-1]), dtype=np.int64)], maxlen=SETTLED)

    def voices(self, round: int) -> Bools:
        """Which links carry a vote in this round: (E,)."""
        setup = self._setup
        served = self._served[0]
        out = np.ones(len(served), dtype=bool)
        for node, beside in enumerate(self._beside):
            edges = slice(self._ends[node], self._ends[node + 1])
            origins = setup.origins[beside]
            known = self._limit.known(self._named[node], served[edges], origins)
            own = int(setup.addresses[node])
            out[edges] = self._limit.voices(
                known, setup.addresses[beside], origins, seed=setup.seed, own=own, round=round
            )
        return out

    def note(self, heard: Bools, kept: Bools) -> None:
        """A round was decided: who had a say and was there (E,), and whose vote was kept (E,)."""
        self._served.append(np.maximum(self._served[-1] + np.where(heard, np.where(kept, 1, -1), 0), 0))
