"""What everybody in a world stands on: the setup, the network and its limits, and who dials whom."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from aggregation.evidence import Rule
from gossip.protocol.codec import payload_bytes
from gossip.protocol.limits import MIB, Limits
from identity.keys import PeerId, format_peer
from node.core.events import Vouched
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
        self._mutual = frozenset((setup.peers[one], setup.peers[other]) for one, other in setup.mutual.tolist())
        self._hearers: dict[int, list[int]] = {}  # who may hear a vertex from afar
        for vertex in range(setup.honest):
            for other in self._pool(vertex):
                self._hearers.setdefault(other, []).append(vertex)
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

    def neighbours(self, vertex: int) -> frozenset[PeerId]:
        """A vertex's neighbours in the graph."""
        return frozenset(self.setup.peers[beside] for beside in self.setup.neighbours[vertex])

    def allow(self, vertex: int) -> frozenset[PeerId]:
        """Who may connect to a vertex: its neighbours in the graph, whom it may hear from afar, and who may hear it."""
        far = self._hearers.get(vertex, []) + list(self._pool(vertex))
        return self.neighbours(vertex) | {self.setup.peers[other] for other in far}

    def addresses(self, vertex: int) -> dict[PeerId, str]:
        """Where those are whom a vertex may hear from afar."""
        return {self.setup.peers[other]: self.setup.places[other] for other in self._pool(vertex)}

    def vouched(self, vertex: int) -> Vouched | None:
        """What vouches come to at an honest vertex; None where nobody knows anybody."""
        setup = self.setup
        if not setup.scenario.tells_apart:
            return None
        near, pool = ([setup.peers[other] for other in each[vertex]] for each in (setup.near, setup.pool))
        return Vouched(frozenset(near), frozenset(pool), self._mutual)

    def _pool(self, vertex: int) -> tuple[int, ...]:
        return self.setup.pool[vertex] if self.setup.scenario.far and vertex < self.setup.honest else ()


def _limits(setup: Setup) -> Limits:
    """The limits of a daemon, with room for dense graphs, and no more blobs than a round can ask for."""
    degree = max((len(beside) for beside in setup.neighbours), default=0)
    far = setup.scenario.far
    most = 2 * degree + (2 * far + setup.honest if far else 0)  # all may hear one
    payload = payload_bytes(setup.learner.schema)
    return Limits(
        degree=1,  # the graph is the scenario's: nobody looks for further neighbours
        connections=max(128, most),
        inbound=max(64, most),
        distant=max(32, 2 * far),
        vias=max(128, most),
        guilt=sys.maxsize,  # an adversary stays to the end: what it sends is what is studied
        rate_guilt=sys.maxsize,
        payload=max(64 * MIB, payload),
        blobs=payload * (2 * degree + 4 * far + 8),
    )
