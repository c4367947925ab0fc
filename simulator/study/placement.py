"""Where an adversary's Sybils attach to the graph of honest nodes.

Laws:
- Attack edges are given out in passes over the honest nodes; within a pass every honest node gets at most
  one.
- A pass splits honest nodes into clusters of at most `degree`; each cluster is one new Sybil. So 99 honest
  nodes and degree 7 make 15 Sybils and 99 edges a pass: phi 1, 2, 4 give 15, 30, 60 Sybils and 99, 198, 396
  edges.
- Sybils are never linked to each other.

Source: the attack edges of Werthenbach and Pouwelse, arXiv 2306.15044; phi = attack edges per honest node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import networkx as nx
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Placement = Literal["dense", "spread", "all"]


def place(
    graph: nx.Graph[int],
    generator: Generator,
    *,
    phi: float | None = None,
    sybils: int | None = None,
    placement: Placement = "dense",
    degree: int = 7,
) -> tuple[tuple[int, ...], ...]:
    """Honest neighbours of each Sybil.

    Args:
        graph: connected graph of honest nodes 0 .. H - 1.
        generator: source of every draw.
        phi: attack edges per honest node: floor(phi) whole passes, then one that stops after round(fraction x
            H) edges (its last Sybil may have fewer than its share).
        sybils: number of Sybils; given, it overrides phi: passes go on until there are so many.
        placement: `dense`: a Sybil's neighbours are near each other in hops; `spread`: as far apart as
            possible; `all`: each Sybil is beside every honest node (phi then is the number of Sybils,
            rounded).
        degree: most attack edges of one Sybil (`dense`, `spread`).

    Returns:
        One sorted tuple of honest vertices for each Sybil; empty when there are none.
    """
    honest = graph.number_of_nodes()
    if placement == "all":
        count = sybils if sybils is not None else round(phi or 0.0)
        return tuple(tuple(range(honest)) for _ in range(count))
    hops = _Hops(graph)
    found: list[tuple[int, ...]] = []
    edges = honest * degree * (sybils or 0) if sybils is not None else int((phi or 0.0) * honest + 0.5)
    while edges > 0 and (sybils is None or len(found) < sybils):
        for cluster in _pass(hops, generator, degree, near=placement == "dense"):
            taken = cluster[:edges]
            edges -= len(taken)
            found.append(tuple(sorted(taken)))
            if edges == 0 or len(found) == sybils:
                break
    return tuple(found)


def _pass(hops: _Hops, generator: Generator, degree: int, *, near: bool) -> Iterator[list[int]]:
    """Split all honest nodes into clusters, greedily by hops from a random free node; ties fall at random."""
    rank = np.argsort(generator.permutation(hops.nodes))
    free = np.ones(hops.nodes, dtype=bool)
    while free.any():
        cluster: list[int] = []
        gap = np.zeros(hops.nodes, dtype=np.int64)
        while free.any() and len(cluster) < degree:
            wish = gap if near else -gap
            least = wish[free].min()
            tied = np.flatnonzero(free & (wish == least))
            best = int(tied[rank[tied].argmin()])
            free[best] = False
            if not cluster:
                gap = hops.of(best)
            elif not near:
                gap = np.minimum(gap, hops.of(best))
            cluster.append(best)
        yield cluster


class _Hops:
    """Hops from one vertex to all others, breadth first over arrays."""

    def __init__(self, graph: nx.Graph[int]) -> None:
        self.nodes = graph.number_of_nodes()
        lists = [list(graph[vertex]) for vertex in range(self.nodes)]
        self._degrees = np.array([len(beside) for beside in lists], dtype=np.int64)
        self._firsts = np.cumsum(self._degrees) - self._degrees
        self._beside = np.array([other for beside in lists for other in beside], dtype=np.int64)

    def of(self, vertex: int) -> NDArray[np.int64]:
        far = np.full(self.nodes, self.nodes, dtype=np.int64)
        front, step = np.array([vertex]), 0
        while len(front):
            far[front] = step
            step += 1
            counts = self._degrees[front]
            jumps = np.repeat(self._firsts[front] - (np.cumsum(counts) - counts), counts)
            reach = self._beside[jumps + np.arange(len(jumps))]
            new = np.zeros(self.nodes, dtype=bool)
            new[reach] = True
            front = np.flatnonzero(new & (far == self.nodes))
        return far
