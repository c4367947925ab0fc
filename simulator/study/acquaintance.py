"""Who knows whom in a run: whom nodes name, whom vouches make known to them, whom they may hear from afar.

    named   honest neighbours (`known`), and Sybils that a node was fooled into naming (`fooled`); both ends say so
    near    neighbours that are named, or with standing P >= NEAR over all mutual statements (`vouches`)
    pool    no neighbours, with standing enough: whom far peers are drawn from

Laws:
- Whom a node names is drawn link by link, from the seed and both ends alone; where acquaintance is clustered, honest
  nodes name those neighbours that live in their house, and no others.
- Standing is what `node.trust.vouches.walk` says, vertices in order of peer id, as in a daemon.
- Sybils state what serves them: "clique" = each all others, as far as a store of statements takes it (64 an issuer);
  "ring" = each two others, so that all have some trust and few statements; "low" = nothing, so that each keeps all the
  trust that flows to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from node.draws import Purpose, uniforms
from node.trust.vouches import NEAR, far_enough, walk
from simulator.study.scenario import Scenario

Ints = NDArray[np.int64]

_CROWD = 56  # Sybils of a clique: with the honest nodes that each may have fooled, no more than 64 statements
_SOURCES = 64  # nodes whose standing is found at a time: as fast as more, and little memory


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """Who knows whom, for every honest vertex.

    Attributes:
        named: neighbours that it names.
        near: neighbours that it knows, named or by vouches.
        pool: vertices that its far peers are drawn from, in order of peer id.
        mutual: (m, 2) vertices: statements that are told, of all vertices, each once.
    """

    named: tuple[frozenset[int], ...]
    near: tuple[frozenset[int], ...]
    pool: tuple[tuple[int, ...], ...]
    mutual: Ints


def acquaintance(scenario: Scenario, seed: int, neighbours: Sequence[Sequence[int]], order: Ints) -> Acquaintance:
    """Draw who names whom, and find who is known by that.

    Args:
        scenario: `known`, `fooled` and `vouches` of it.
        seed: of the run.
        neighbours: of every vertex, honest nodes first.
        order: (H + S,) vertices in order of peer id.
    """
    houses = _houses(scenario, seed, neighbours) if scenario.clustered else None
    named = tuple(_named(scenario, seed, vertex, neighbours[vertex], houses) for vertex in range(scenario.nodes))
    if scenario.vouches == "off":
        return Acquaintance(named, named, tuple(() for _ in named), np.zeros((0, 2), dtype=np.int64))
    links = statements(scenario, named, len(neighbours))
    degrees = np.bincount(links.ravel(), minlength=len(neighbours))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    near, pool = [], []
    for start in range(0, scenario.nodes, _SOURCES):
        some = np.arange(start, min(start + _SOURCES, scenario.nodes))
        mass = walk(rank[links], len(order), rank[some])
        enough = far_enough(mass, degrees[order])
        for column, vertex in enumerate(some.tolist()):
            beside = np.array(neighbours[vertex], dtype=np.int64)
            known = beside[mass[rank[beside], column] >= NEAR].tolist()
            near.append(named[vertex].union(known))
            enough[rank[beside], column] = False
            enough[rank[vertex], column] = False
            pool.append(tuple(order[enough[:, column]].tolist()))
    return Acquaintance(named, tuple(near), tuple(pool), links)


def statements(scenario: Scenario, named: Sequence[frozenset[int]], vertices: int) -> Ints:
    """Mutual statements, each once: (m, 2) vertices."""
    said = [(one, other) for one, others in enumerate(named) for other in sorted(others) if one < other]
    first, crowd = scenario.nodes, range(vertices - scenario.crowd, vertices)
    sybils = range(first, crowd.start)
    fooling = sorted({other for others in named for other in others if other >= first})
    shares = {voucher: list(crowd[place :: len(fooling)]) for place, voucher in enumerate(fooling)}
    said += [(voucher, other) for voucher, share in shares.items() for other in share]
    groups: list[Sequence[int]] = []
    if scenario.vouches == "clique":
        groups = [sybils[start : start + _CROWD] for start in range(0, len(sybils), _CROWD)]
    elif scenario.vouches == "cells":
        groups = [share[: _CROWD - 1] for share in shares.values()]
    elif scenario.vouches == "ring" and len(sybils) > 2:
        said += [*pairwise(sybils), (sybils[0], sybils[-1])]
    said += [(one, other) for group in groups for one, other in combinations(group, 2)]
    return np.array(said, dtype=np.int64).reshape(-1, 2)


def _named(scenario: Scenario, seed: int, vertex: int, beside: Sequence[int], houses: Ints | None) -> frozenset[int]:
    others = np.array(beside, dtype=np.uint64)
    ends = np.minimum(others, vertex), np.maximum(others, vertex)
    share = np.where(others < scenario.nodes, scenario.known, scenario.fooled)
    draws = uniforms(seed, Purpose.ACQUAINTANCE, *ends)
    if houses is not None:
        honest = others < scenario.nodes
        at_home = houses[np.where(honest, others, vertex)] == houses[vertex]
        draws = np.where(honest, np.where(at_home, 0.0, 1.0), draws)
    return frozenset(others[draws < share].tolist())


def _houses(scenario: Scenario, seed: int, neighbours: Sequence[Sequence[int]]) -> Ints:
    """A house for each honest vertex, so that about `known` of the links stay in a house: nearest of a few centres.

    Centres are added one by one, in an order that is drawn, until no more of the links than that stay at home.
    """
    honest = scenario.nodes
    links = np.array([(a, b) for a in range(honest) for b in neighbours[a] if a < b < honest], dtype=np.int64)
    order = np.argsort(uniforms(seed, Purpose.ACQUAINTANCE, np.arange(honest), honest), kind="stable")
    house, away = np.zeros(honest, dtype=np.int64), np.full(honest, honest)
    for centre in order.tolist():
        reached, edge = {centre: 0}, [centre]
        while edge:
            at = edge.pop(0)
            near = [other for other in neighbours[at] if other < honest and other not in reached]
            reached.update((other, reached[at] + 1) for other in near)
            edge += near
        closer = [vertex for vertex, steps in reached.items() if steps < away[vertex]]
        house[closer], away[closer] = centre, [reached[vertex] for vertex in closer]
        if not len(links) or (house[links[:, 0]] == house[links[:, 1]]).mean() <= scenario.known:
            return house
    return house
