"""Who knows whom: names and fooled names by draws, standing by vouches, and how few Sybils come in over them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from identity.keys import PeerId
from node.trust.standing import Standing
from node.trust.vouches import EACH, FAR, NEAR, RESTART, standing_of, walk
from simulator.study.acquaintance import Acquaintance, acquaintance, statements
from simulator.study.hearing import Hearing
from simulator.study.scenario import Scenario
from simulator.study.setup import links, prepare

HONEST = 60


def scenario_of(**changes: object) -> Scenario:
    values = {"nodes": HONEST, "phi": 2.0, "attack": "label-flip", "known": 0.5, "fooled": 0.1, "vouches": "low"}
    return Scenario.of(values | changes)


def drawn_of(scenario: Scenario, seed: int = 0) -> tuple[Acquaintance, tuple[tuple[int, ...], ...], tuple[PeerId, ...]]:
    neighbours, keys = links(scenario, seed)
    peers = tuple(key.peer for key in keys)
    order = np.array(sorted(range(len(peers)), key=peers.__getitem__), dtype=np.int64)
    return acquaintance(scenario, seed, neighbours, order), neighbours, peers


def test_of_ninety_nine_nodes_as_many_are_fooled_as_the_draws_say() -> None:
    counts = []
    for seed in (0, 1, 2):
        found, neighbours, _ = drawn_of(scenario_of(nodes=99), seed)
        assert sum(len(beside) for beside in neighbours[99:]) == 198
        counts.append(sum(other >= 99 for named in found.named for other in named))
    assert counts == [14, 25, 22]


@pytest.mark.parametrize("known", [0.25, 0.5, 0.75])
def test_clustered_acquaintance_names_as_many_but_in_houses(known: float) -> None:
    found, neighbours, _ = drawn_of(scenario_of(nodes=99, known=known, clustered=True))
    honest = [{other for other in named if other < 99} for named in found.named]
    links = sum(other < 99 for beside in neighbours[:99] for other in beside)
    assert abs(sum(map(len, honest)) / links - known) < 0.1
    for vertex, names in enumerate(honest):  # whom my friends name beside me, I name too
        assert all(vertex in honest[other] for other in names)
        for other in names:
            assert honest[other] & set(neighbours[vertex]) <= names | {vertex}
    alike, _, _ = drawn_of(scenario_of(nodes=99, known=known))
    sybils = [{other for other in named if other >= 99} for named in found.named]
    assert sybils == [{other for other in named if other >= 99} for named in alike.named]


def test_fooling_changes_no_honest_name() -> None:
    fooled, neighbours, _ = drawn_of(scenario_of(fooled=0.5))
    plain, _, _ = drawn_of(scenario_of(fooled=0.0))
    assert [frozenset(x for x in named if x < HONEST) for named in fooled.named] == list(plain.named)
    assert all(named <= set(beside) for named, beside in zip(fooled.named, neighbours[:HONEST], strict=True))


def test_where_no_statement_travels_only_names_are_near_and_nobody_is_far() -> None:
    found, _, _ = drawn_of(scenario_of(vouches="off"))
    assert found.near == found.named
    assert not any(found.pool)


@pytest.mark.parametrize("vouches", ["low", "ring", "clique"])
def test_standing_is_what_each_node_would_find_alone(vouches: str) -> None:
    scenario = scenario_of(vouches=vouches)
    found, neighbours, peers = drawn_of(scenario)
    mutual = statements(scenario, found.named, len(peers)).tolist()
    said = [(peers[one], peers[other]) for pair in mutual for one, other in (pair, pair[::-1])]
    place = {peer: vertex for vertex, peer in enumerate(peers)}
    for vertex in range(0, HONEST, 7):
        standing = {place[peer]: share for peer, share in standing_of(said, peers[vertex]).items()}
        beside = set(neighbours[vertex])
        near = {other for other in beside if other in found.named[vertex] or standing.get(other, 0) >= NEAR}
        assert found.near[vertex] == near
        made = [sum(other in pair for pair in mutual) for other in range(len(peers))]
        far = {other for other, share in standing.items() if share >= max(FAR, EACH * made[other])} - beside
        assert set(found.pool[vertex]) == far
        assert list(found.pool[vertex]) == sorted(far, key=peers.__getitem__)


CROWDS = [("low", 0), ("ring", 0), ("clique", 0), ("low", 60), ("cells", 40)]


@pytest.mark.parametrize(("vouches", "crowd"), CROWDS)
@pytest.mark.parametrize("fooled", [0.03, 0.1, 0.5])
def test_no_more_sybils_are_known_than_the_mass_over_fooled_statements_pays_for(
    vouches: str, crowd: int, fooled: float
) -> None:
    scenario = scenario_of(vouches=vouches, fooled=fooled, crowd=crowd)
    found, _, peers = drawn_of(scenario)
    mutual = statements(scenario, found.named, len(peers))
    degrees = np.bincount(mutual.ravel(), minlength=len(peers))
    mass = walk(mutual, len(peers), np.arange(HONEST))
    crossing = [(one, other) for one, other in mutual.tolist() if one < HONEST <= other]
    for vertex in range(HONEST):
        paid = sum(mass[one, vertex] * (1 - RESTART) / (RESTART * degrees[one]) for one, _ in crossing)
        by_vouches = [x for x in found.near[vertex] - found.named[vertex] if x >= HONEST]
        assert len(by_vouches) <= paid / NEAR
        assert sum(x >= HONEST for x in found.pool[vertex]) <= paid / FAR


def test_a_crowd_has_no_links_and_is_vouched_for_by_those_who_fooled_somebody() -> None:
    plain, without, _ = drawn_of(scenario_of())
    found, neighbours, peers = drawn_of(scenario_of(vouches="cells", crowd=40))
    assert neighbours[:-40] == without
    assert neighbours[-40:] == ((),) * 40
    assert found.named == plain.named
    crowd = range(len(peers) - 40, len(peers))
    fooling = {other for named in found.named for other in named if other >= HONEST}
    mutual = statements(scenario_of(vouches="cells", crowd=40), found.named, len(peers)).tolist()
    cells = {one: {other for pair in mutual for other in pair if one in pair} & set(crowd) for one in fooling}
    assert set().union(*cells.values()) == set(crowd)
    assert sum(map(len, cells.values())) == 40
    for cell in cells.values():
        assert all([one, other] in mutual for one in cell for other in cell if one < other)
    assert any(other in crowd for pool in found.pool for other in pool)


def test_a_clique_of_sybils_makes_no_more_statements_than_a_store_takes() -> None:
    scenario = scenario_of(phi=None, sybils=150, vouches="clique")
    found, _, peers = drawn_of(scenario)
    made = np.bincount(statements(scenario, found.named, len(peers)).ravel(), minlength=len(peers))
    assert made[HONEST:].max() <= 64


def test_whom_a_node_hears_from_afar_is_the_daemons_draw_in_order_of_peer_id() -> None:
    setup = prepare(scenario_of(far=3, nodes=20))
    hearing = Hearing(setup)
    number = {peer: vertex for vertex, peer in enumerate(setup.peers)}
    beside = [[setup.peers[x] for x in each] for each in setup.neighbours]
    mutual = [(setup.peers[one], setup.peers[other]) for one, other in setup.mutual.tolist()]
    seen = set()
    for round in range(3):
        heard = hearing.drawn(round)
        for vertex in range(setup.honest):
            mine = heard.receivers == vertex
            standing = Standing(setup.peers[vertex], seed=setup.seed, far=3, graph=beside[vertex])
            standing.vouched(*([setup.peers[x] for x in each[vertex]] for each in (setup.near, setup.pool)), mutual)
            places = {number[peer] for peer in standing.drawn(beside[vertex], round)}
            wanted = [*setup.neighbours[vertex], *sorted(places, key=setup.peers.__getitem__)]
            assert heard.senders[mine].tolist() == wanted
            known = [other in setup.near[vertex] for other in setup.neighbours[vertex]] + [True] * len(places)
            assert heard.known[mine].tolist() == known
            assert heard.far[mine].tolist() == [False] * len(setup.neighbours[vertex]) + [True] * len(places)
        seen.add(tuple(heard.senders.tolist()))
    assert len(seen) == 3


def test_who_knows_fewer_than_it_may_hear_hears_them_all() -> None:
    setup = prepare(scenario_of(far=500, nodes=20))
    counts = np.bincount(Hearing(setup).drawn(0).receivers, minlength=20)
    assert counts.tolist() == [len(setup.neighbours[x]) + len(setup.pool[x]) for x in range(20)]
    nobody = replace(setup, pool=tuple(() for _ in setup.pool))
    assert not Hearing(nobody).drawn(0).far.any()
