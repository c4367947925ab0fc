"""Who is known to whom, and who has a say this round, link by link: node.trust.strangers for all nodes.

Law: the policy is the daemon's own function, called for all links at once; nothing of it is written here again.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from node.trust.strangers import SETTLED, Bools, Ints, Strangers, turns
from simulator.study.setup import Setup


class Standing:
    """All links between neighbours, one of them honest, in order of receiver and then of peer id."""

    def __init__(self, setup: Setup, limit: Strangers) -> None:
        self._setup, self._limit = setup, limit
        beside = [np.array(each, dtype=np.int64) for each in setup.neighbours[: setup.honest]]
        senders = np.concatenate([np.zeros(0, dtype=np.int64), *beside])
        near = [np.isin(each, list(setup.near[node])) for node, each in enumerate(beside)]
        self._near = np.concatenate([np.zeros(0, dtype=bool), *near])
        self._own = np.repeat(setup.addresses[: setup.honest], [len(each) for each in beside])
        self._peers, self._origins = setup.addresses[senders], setup.origins[senders]
        self._afar: Ints = np.array([min(setup.scenario.far, len(pool)) for pool in setup.pool], dtype=np.int64)
        self._nodes: Ints = np.repeat(np.arange(setup.honest, dtype=np.int64), [len(each) for each in beside])
        self._served: deque[Ints] = deque([np.zeros(len(senders), dtype=np.int64)], maxlen=SETTLED)

    def voices(self, round: int) -> Bools:
        """Which links carry a vote in this round: (E,)."""
        known = self._limit.known(self._near, self._served[0], self._origins, self._nodes)
        draws = turns(self._setup.seed, self._own, round, self._peers, self._origins)
        return self._limit.voices(known, draws, self._nodes, self._afar)

    def note(self, heard: Bools, kept: Bools) -> None:
        """A round was decided: who had a say and was there (E,), and whose vote was kept (E,)."""
        self._served.append(np.maximum(self._served[-1] + np.where(heard, np.where(kept, 1, -1), 0), 0))
