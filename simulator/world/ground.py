"""What everybody in a world stands on: the setup, the network and its limits, and who dials whom."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from aggregation.evidence import Rule
from gossip.protocol.codec import payload_bytes
from gossip.protocol.limits import MIB, Limits
from identity.keys import PeerId, format_peer
from node.draws import Purpose, generator
from simulator.study.setup import Setup
from simulator.world.medium import Weather
from simulator.world.network import MemoryNetwork


class Ground:
    """One for a run; vertices 0 .. H - 1 are honest nodes, H .. H + S - 1 are Sybils.

    Attributes:
        setup: of the run.
        rule: what honest nodes believe.
        network: between all of them.
        limits: of every node.
    """

    def __init__(self, setup: Setup, rule: Rule) -> None:
        """A network on which nobody listens yet."""
        scenario = setup.scenario
        self.setup = setup
        self.rule = rule
        self.network = MemoryNetwork(
            setup.seed, Weather(scenario.latency, scenario.jitter, scenario.loss, scenario.bandwidth)
        )
        self.limits = _limits(setup)
        self._draws = [generator(setup.seed, Purpose.JITTER, int(address)) for address in setup.addresses]

    def draws(self, vertex: int) -> np.random.Generator:
        """A vertex's generator for all that is no part of learning; it goes on after a restart."""
        return self._draws[vertex]

    def nonce(self, vertex: int) -> Callable[[], bytes]:
        """Makes a vertex's nonces for handshakes: 32 bytes each."""
        draws = self._draws[vertex]
        return lambda: draws.bytes(32)

    def bootstrap(self, vertex: int, *, everybody: bool = False) -> list[str]:
        """Whom a vertex dials: of each pair the later one dials; who comes back dials everybody."""
        setup = self.setup
        return [
            f"{format_peer(setup.peers[beside])}@{setup.places[beside]}"
            for beside in setup.neighbours[vertex]
            if everybody or beside < vertex
        ]

    def allow(self, vertex: int) -> frozenset[PeerId]:
        """Who may connect to a vertex: its neighbours in the graph."""
        return frozenset(self.setup.peers[beside] for beside in self.setup.neighbours[vertex])


def _limits(setup: Setup) -> Limits:
    """The limits of a daemon, with room for dense graphs, and no more blobs than a round can ask for."""
    degree = max((len(beside) for beside in setup.neighbours), default=0)
    payload = payload_bytes(setup.learner.schema)
    return Limits(
        degree=1,  # the graph is the scenario's: nobody looks for further neighbours
        connections=max(128, 2 * degree),
        inbound=max(64, 2 * degree),
        vias=max(128, 2 * degree),
        guilt=sys.maxsize,  # an adversary stays to the end: what it sends is what is studied
        rate_guilt=sys.maxsize,
        payload=max(64 * MIB, payload),
        blobs=payload * (2 * degree + 8),
    )
