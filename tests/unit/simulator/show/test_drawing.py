"""A graph is drawn by its distances, and charts show the numbers that they were given."""

from __future__ import annotations

import math
import re

import networkx as nx
import numpy as np
import pytest

from simulator.show.drawing import hops, places_of, spread
from simulator.show.svg import Chart, keys, ticks


def beside(graph: nx.Graph[int]) -> list[list[int]]:
    return [sorted(graph[vertex]) for vertex in range(len(graph))]


@pytest.mark.parametrize("graph", [nx.path_graph(7), nx.petersen_graph(), nx.random_regular_graph(3, 20, seed=2)])
def test_hops_are_lengths_of_shortest_paths(graph: nx.Graph[int]) -> None:
    far = dict(nx.all_pairs_shortest_path_length(graph))
    wanted = [[far[i][j] for j in range(len(graph))] for i in range(len(graph))]
    assert hops(beside(graph), len(graph)).tolist() == wanted


def test_who_is_out_of_reach_is_farther_than_anybody() -> None:
    assert hops([[1], [0], []], 3).tolist() == [[0, 1, 2], [1, 0, 2], [2, 2, 0]]


def test_a_path_is_drawn_straight_and_evenly() -> None:
    places = spread(hops(beside(nx.path_graph(6)), 6))
    gaps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert gaps == pytest.approx(np.ones(5), abs=0.02)
    assert np.linalg.norm(places[-1] - places[0]) == pytest.approx(5, abs=0.05)


def test_a_ring_is_drawn_round() -> None:
    places = spread(hops(beside(nx.cycle_graph(12)), 12))
    radii = np.linalg.norm(places - places.mean(axis=0), axis=1)
    assert radii.std() < 0.02 * radii.mean()


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_nobody_hides_another_even_where_all_are_alike(count: int) -> None:
    places = spread(hops(beside(nx.complete_graph(count)), count))
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2) + np.eye(count)
    assert np.isfinite(places).all()
    assert gaps.min() > 0.2


def test_sybils_stand_beside_their_neighbours() -> None:
    links = [*beside(nx.path_graph(8)), [0], [7], []]
    places = places_of(links, 8)
    assert places.shape == (11, 2)
    assert np.argmin(np.linalg.norm(places[:8] - places[8], axis=1)) == 0
    assert np.argmin(np.linalg.norm(places[:8] - places[9], axis=1)) == 7


def test_a_line_passes_through_its_values_and_leaves_out_what_is_unknown() -> None:
    chart = Chart(0, 0, 100, 10, 1, 11)
    drawn = chart.line([(1, 0.0), (6, 1.0), (7, math.nan), (11, 7.0)], "#000", "<x>")
    found = re.search(r'points="([^"]*)"', drawn)
    assert found is not None
    assert found[1] == "0.0,10.0 50.0,0.0 100.0,0.0"
    assert "&lt;x&gt;" in drawn
    assert "<circle" in chart.line([(1, 0.5)], "#000", "one")
    assert chart.line([(1, math.nan)], "#000", "none") == ""


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 2), (1, 40), (10, 80), (1, 1000), (0, 12_345)])
def test_ticks_are_few_and_within(first: int, last: int) -> None:
    found = ticks(first, last)
    assert found
    assert len(found) <= 7
    assert first <= found[0] <= found[-1] <= last


def test_a_long_legend_goes_on_in_the_next_line() -> None:
    _, one = keys(["a", "b"], 0, 10, 400)
    _, more = keys([f"a rather long name {number}" for number in range(9)], 0, 10, 400)
    assert one == 10
    assert more > 30
