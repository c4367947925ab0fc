"""Graphs and the placement of Sybils: their defining properties over sizes and seeds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import networkx as nx
import pytest

from hedgerow_registry import UnknownName
from node.draws import Purpose, generator
from simulator.study.placement import place
from simulator.study.registry import TOPOLOGIES
from simulator.study.topology import TopologyError, draw

DRAWN = sorted(set(TOPOLOGIES) - {"edge-list"})


def graph_of(name: str, nodes: int, seed: int = 1, **parameters: object) -> nx.Graph[int]:
    return draw(name, nodes, generator(seed, Purpose.TOPOLOGY), parameters)


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("nodes", [1, 6, 20, 99])
def test_every_graph_is_simple_connected_and_repeatable(name: str, nodes: int) -> None:
    graph = graph_of(name, nodes)
    assert sorted(graph) == list(range(nodes))
    assert nx.is_connected(graph)
    assert not graph.is_multigraph()
    assert nx.number_of_selfloops(graph) == 0
    assert nx.utils.graphs_equal(graph, graph_of(name, nodes))


@pytest.mark.parametrize("seed", range(10))
def test_random_geometric_graphs_keep_to_their_degree(seed: int) -> None:
    graph = graph_of("random-geometric", 99, seed, radius=0.2)
    degrees = [degree for _, degree in graph.degree]
    assert max(degrees) <= 7
    assert 5.2 < sum(degrees) / 99 < 6.2


@pytest.mark.parametrize(("nodes", "seed", "digest"), [(99, 1, "2c0bd9c4c88fe078"), (700, 0, "f809c9148c3f5b48")])
def test_random_geometric_graphs_stay_those_that_were_drawn_before(nodes: int, seed: int, digest: str) -> None:
    edges = sorted((min(edge), max(edge)) for edge in graph_of("random-geometric", nodes, seed).edges)
    assert hashlib.sha256(repr(edges).encode()).hexdigest()[:16] == digest


def test_large_graphs_are_drawn_less_often_before_giving_up() -> None:
    with pytest.raises(TopologyError, match=r"none of 50 graphs of 20000 nodes .* fewer nodes, .* probability"):
        graph_of("erdos-renyi", 20_000, probability=1e-9)


def test_two_random_geometric_graphs_of_different_seeds_differ() -> None:
    assert not nx.utils.graphs_equal(graph_of("random-geometric", 99, 1), graph_of("random-geometric", 99, 2))


def test_regular_degrees_torus_degrees_and_small_rings() -> None:
    assert {degree for _, degree in graph_of("regular", 20, degree=5).degree} == {5}
    assert {degree for _, degree in graph_of("torus", 20).degree} == {4}
    assert {degree for _, degree in graph_of("ring", 9).degree} == {2}
    assert list(graph_of("ring", 2).edges) == [(0, 1)]


def test_two_worlds_hang_together_by_their_bridges() -> None:
    graph = graph_of("two-worlds", 40, bridges=3)
    assert sum((a < 20) != (b < 20) for a, b in graph.edges) == 3


@pytest.mark.parametrize(
    ("name", "nodes", "parameters"),
    [("regular", 5, {"degree": 5}), ("regular", 5, {"degree": 3}), ("torus", 10, {"columns": 3})],
)
def test_impossible_graphs_are_refused_in_a_sentence(name: str, nodes: int, parameters: dict[str, int]) -> None:
    with pytest.raises(TopologyError, match=f"topology {name}: "):
        graph_of(name, nodes, **parameters)


def test_unknown_topologies_and_parameters_are_refused_with_the_nearest_word() -> None:
    with pytest.raises(UnknownName, match="did you mean 'torus'"):
        graph_of("tours", 9)
    with pytest.raises(UnknownName, match="did you mean 'radius'"):
        graph_of("random-geometric", 9, radios=1)


def test_edge_lists_are_read_and_bad_lines_named(tmp_path: Path) -> None:
    path = tmp_path / "edges.txt"
    path.write_text("# a triangle\n0 1\n1 2  # and back\n\n2 0\n")
    assert graph_of("edge-list", 3, file=str(path)).number_of_edges() == 3
    path.write_text("0 1\n1 3\n")
    with pytest.raises(TopologyError, match=r"edges.txt:2: not two vertices below 3"):
        graph_of("edge-list", 3, file=str(path))
    path.write_text("0 1\n")
    with pytest.raises(TopologyError, match="not connected"):
        graph_of("edge-list", 3, file=str(path))
    with pytest.raises(TopologyError, match="No such file"):
        graph_of("edge-list", 3, file=str(tmp_path / "none"))


@pytest.mark.parametrize("placement", ["dense", "spread"])
@pytest.mark.parametrize(
    ("phi", "sybils", "edges"),
    [(0.1, 2, 10), (0.5, 8, 50), (1, 15, 99), (1.5, 23, 149), (2, 30, 198), (4, 60, 396)],
)
def test_phi_gives_the_published_numbers_of_sybils_and_attack_edges(
    placement: str, phi: float, sybils: int, edges: int
) -> None:
    graph = graph_of("random-geometric", 99, radius=0.2)
    places = place(graph, generator(1, Purpose.PLACEMENT), phi=phi, placement=placement)  # type: ignore[arg-type]
    assert (len(places), sum(map(len, places))) == (sybils, edges)
    assert max(map(len, places)) <= 7
    assert all(len(set(targets)) == len(targets) and set(targets) <= set(graph) for targets in places)
    if phi == int(phi):
        counts = [sum(vertex in targets for targets in places) for vertex in graph]
        assert set(counts) == {phi}


@pytest.mark.parametrize(
    ("name", "nodes", "placement", "digest"),
    [
        ("random-geometric", 99, "dense", "aabacb6ce188dab9"),
        ("random-geometric", 99, "spread", "24643ddef940f6b4"),
        ("regular", 1_000, "spread", "10459debb288e625"),
    ],
)
def test_sybils_stay_where_they_were_placed_before(name: str, nodes: int, placement: str, digest: str) -> None:
    places = place(graph_of(name, nodes), generator(1, Purpose.PLACEMENT), phi=2, placement=placement)  # type: ignore[arg-type]
    assert hashlib.sha256(repr(places).encode()).hexdigest()[:16] == digest


def test_dense_sybils_sit_among_near_nodes_and_spread_ones_far_apart() -> None:
    graph = graph_of("random-geometric", 99, radius=0.2)
    hops = dict(nx.all_pairs_shortest_path_length(graph))

    def width(placement: str) -> float:
        places = place(graph, generator(1, Purpose.PLACEMENT), phi=1, placement=placement)  # type: ignore[arg-type]
        gaps = [hops[a][b] for targets in places for a in targets for b in targets if a < b]
        return sum(gaps) / len(gaps)

    assert width("dense") < 3.5 < width("spread")


def test_a_number_of_sybils_overrides_phi_and_all_means_everybody() -> None:
    graph = graph_of("complete", 10)
    draws = generator(1, Purpose.PLACEMENT)
    assert len(place(graph, draws, phi=4, sybils=3)) == 3
    assert place(graph, draws, sybils=2, placement="all") == (tuple(range(10)),) * 2
    assert place(graph, draws, sybils=0) == ()
    assert place(graph, draws) == ()
