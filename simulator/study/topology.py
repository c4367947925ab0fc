"""Who is whose neighbour: graphs between honest nodes.

Laws:
- A topology is a function (nodes, generator, parameters) -> graph on vertices 0 .. nodes - 1; what `draw`
  returns is connected, without loops and without double edges.
- Every draw comes from the generator passed in.

To add one: write the function, and a line in simulator/study/registry.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hedgerow_registry import choose
from simulator.study.registry import TOPOLOGIES

Edge = tuple[int, int]
_TRIES = 10_000
_WORK = 1_000_000
"""Nodes of all the graphs drawn before giving up: a minute or two, whatever the size."""


class TopologyError(ValueError):
    """A graph that cannot be drawn; the message says why in one sentence."""


def draw(name: str, nodes: int, generator: Generator, parameters: Mapping[str, Any] | None = None) -> nx.Graph[int]:
    """A connected graph on vertices 0 .. nodes - 1.

    Args:
        name: one of TOPOLOGIES.
        nodes: number of honest nodes; one node has no neighbours.
        generator: source of every draw.
        parameters: those that differ from the defaults.

    Raises:
        UnknownName: no such topology or parameter.
        TopologyError: no such graph (a 3-regular graph of 5 nodes), or none that is connected.
    """
    spec = TOPOLOGIES.find(name)
    values = dict(parameters or {})
    for key in values:
        choose(f"parameter of topology {name}", key, spec.parameters)
    if nodes == 1:
        single: nx.Graph[int] = nx.empty_graph(1)
        return single
    graph: nx.Graph[int] = spec.build(nodes, generator, **(dict(spec.parameters) | values))
    if not isinstance(graph, nx.Graph) or set(graph) != set(range(nodes)):
        raise TopologyError(f"topology {name}: what it returned is no networkx graph on the vertices 0 to {nodes - 1}")
    if not nx.is_connected(graph):
        raise TopologyError(f"topology {name}: the graph of {nodes} nodes is not connected")
    return graph


def ring(nodes: int, generator: Generator) -> nx.Graph[int]:
    """Each node beside the two next to it (two nodes: one edge)."""
    graph: nx.Graph[int] = nx.cycle_graph(nodes) if nodes > 2 else nx.path_graph(nodes)
    return graph


def torus(nodes: int, generator: Generator, columns: int = 0) -> nx.Graph[int]:
    """A grid whose rows and columns close into rings; `columns` 0 = as square as `nodes` allows."""
    root = int(nodes**0.5)
    wide = columns or next(nodes // k for k in range(root, 0, -1) if nodes % k == 0)
    if nodes % wide:
        raise TopologyError(f"topology torus: {nodes} nodes do not fill rows of {wide}")
    graph = nx.grid_2d_graph(nodes // wide, wide, periodic=True)
    graph = nx.relabel_nodes(graph, {(row, column): row * wide + column for row, column in graph})
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    return graph


def regular(nodes: int, generator: Generator, degree: int = 4) -> nx.Graph[int]:
    """A random graph in which every node has `degree` neighbours, redrawn until connected."""
    if degree >= nodes or nodes * degree % 2:
        raise TopologyError(f"topology regular: no graph of {nodes} nodes has {degree} neighbours each")
    return _until_connected("regular", nodes, "degree", lambda: nx.random_regular_graph(degree, nodes, seed=generator))


def random_geometric(nodes: int, generator: Generator, radius: float = 0.0, degree: int = 7) -> nx.Graph[int]:
    """Points in the unit square, linked when nearer than `radius`, at most `degree` neighbours each.

    Nodes in order drop random edges until they have at most `degree`; redrawn until connected. `radius` 0 =
    1.65 times the radius at which such graphs become connected, which is .2 at 99 nodes.

    Source: Werthenbach and Pouwelse, arXiv 2306.15044 (radius .2, degree at most 7).
    """
    reach = radius or 1.65 * math.sqrt(math.log(max(nodes, 2)) / (math.pi * nodes))

    def once() -> nx.Graph[int]:
        graph: nx.Graph[int] = nx.empty_graph(nodes)
        graph.add_edges_from(_near(generator.random((nodes, 2)), reach))
        for vertex in range(nodes):
            beside = sorted(graph[vertex])
            surplus = max(0, len(beside) - degree)
            for other in generator.permutation(beside)[:surplus]:
                graph.remove_edge(vertex, int(other))
        return graph

    return _until_connected("random-geometric", nodes, "degree or radius", once)


def erdos_renyi(nodes: int, generator: Generator, probability: float = 0.0) -> nx.Graph[int]:
    """Each pair linked with `probability`, redrawn until connected; 0 = twice the threshold, 2 ln n / n."""
    chance = probability or min(1.0, 2 * math.log(max(nodes, 2)) / nodes)
    return _until_connected(
        "erdos-renyi", nodes, "probability", lambda: nx.fast_gnp_random_graph(nodes, chance, seed=generator)
    )


def small_world(nodes: int, generator: Generator, degree: int = 4, rewire: float = 0.1) -> nx.Graph[int]:
    """A ring of `degree` near neighbours, edges rewired with chance `rewire`, redrawn until connected."""
    near = min(degree, nodes - 1)
    return _until_connected(
        "small-world",
        nodes,
        "degree",
        lambda: nx.watts_strogatz_graph(nodes, max(2, near), rewire, seed=generator),
    )


def complete(nodes: int, generator: Generator) -> nx.Graph[int]:
    """Everybody beside everybody."""
    graph: nx.Graph[int] = nx.complete_graph(nodes)
    return graph


def edge_list(nodes: int, generator: Generator, file: str = "") -> nx.Graph[int]:
    """Edges read from a text file: two vertices a line, `#` starts a comment.

    Raises:
        TopologyError: no such file, a line that is no edge, or a vertex outside 0 .. nodes - 1.
    """
    graph: nx.Graph[int] = nx.empty_graph(nodes)
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TopologyError(f"topology edge-list: {file or 'no file'}: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not all(word.isdecimal() and int(word) < nodes for word in words):
            raise TopologyError(f"topology edge-list: {file}:{number}: not two vertices below {nodes}")
        if words[0] != words[1]:
            graph.add_edge(int(words[0]), int(words[1]))
    return graph


def two_worlds(nodes: int, generator: Generator, degree: int = 4, bridges: int = 2) -> nx.Graph[int]:
    """Two random graphs of half the nodes each (about `degree` neighbours), joined by a few bridges."""
    half = nodes // 2
    graph: nx.Graph[int] = nx.empty_graph(nodes)
    for first, size in ((0, half), (half, nodes - half)):
        inner = min(degree, size - 1)
        inner -= inner * size % 2
        if inner < 2:
            graph.add_edges_from((first + k, first + k + 1) for k in range(size - 1))
        else:
            graph.add_edges_from((first + a, first + b) for a, b in regular(size, generator, inner).edges)
    pairs = generator.permutation(half * (nodes - half))[: max(1, bridges)]
    graph.add_edges_from((int(pair) % half, half + int(pair) // half) for pair in pairs)
    return graph


def _until_connected(name: str, nodes: int, links: str, once: Callable[[], nx.Graph[int]]) -> nx.Graph[int]:
    tries = min(_TRIES, max(1, _WORK // nodes))
    for _ in range(tries):
        graph = once()
        if nx.is_connected(graph):
            return graph
    raise TopologyError(
        f"topology {name}: none of {tries} graphs of {nodes} nodes was connected; take fewer nodes, "
        f"more links (a larger {links}), or another topology (`hedgerow topologies`)"
    )


def _near(points: NDArray[np.float64], reach: float) -> list[Edge]:
    edges: list[Edge] = []
    for vertex in range(len(points)):
        gaps = np.square(points[vertex + 1 :] - points[vertex]).sum(axis=1)
        edges.extend((vertex, vertex + 1 + int(other)) for other in np.nonzero(gaps < reach * reach)[0])
    return edges
