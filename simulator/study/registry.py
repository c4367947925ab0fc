"""The registry of topologies: what is shipped, and what a graph of one's own may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hedgerow_registry import Entry, Registry, signature_of

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, slots=True)
class TopologySpec:
    """A topology by name.

    Attributes:
        name: as users write it.
        build: (nodes, generator, **parameters) -> graph on 0 .. nodes - 1.
        parameters: names and defaults.
    """

    name: str
    build: Callable[..., nx.Graph[int]]
    parameters: Mapping[str, Any]


def _accept(name: str, thing: object) -> TopologySpec:
    wanted = "a function (nodes, generator, ...) that returns a networkx graph on 0 to nodes - 1"
    if not callable(thing):
        raise ValueError(f"a {type(thing).__name__}; wanted {wanted}")
    required, defaults = signature_of(thing)
    if len(required) != 2:
        raise ValueError(f"a function of ({', '.join(required)}); wanted {wanted}")
    return TopologySpec(name, thing, defaults)


TOPOLOGIES: Registry[TopologySpec] = Registry(
    "topology",
    (
        Entry(
            "ring",
            "simulator.study.topology:ring",
            "Each node beside the two next to it (two nodes: one edge).",
            "folklore",
        ),
        Entry(
            "torus",
            "simulator.study.topology:torus",
            "A grid whose rows and columns close into rings; `columns` 0 = as square as `nodes` allows.",
            "folklore",
        ),
        Entry(
            "regular",
            "simulator.study.topology:regular",
            "A random graph in which every node has `degree` neighbours, redrawn until connected.",
            "Steger and Wormald, 1999, by networkx",
        ),
        Entry(
            "random-geometric",
            "simulator.study.topology:random_geometric",
            "Points in the unit square, linked when nearer than `radius`, at most `degree` neighbours each.",
            "Gilbert, 1961; arXiv 2306.15044",
        ),
        Entry(
            "erdos-renyi",
            "simulator.study.topology:erdos_renyi",
            "Each pair linked with `probability`, redrawn until connected; 0 = twice the threshold, 2 ln n / n.",
            "Gilbert, 1959, by networkx",
        ),
        Entry(
            "small-world",
            "simulator.study.topology:small_world",
            "A ring of `degree` near neighbours, edges rewired with chance `rewire`, redrawn until connected.",
            "Watts and Strogatz, Nature 393, 1998, by networkx",
        ),
        Entry("complete", "simulator.study.topology:complete", "Everybody beside everybody.", "folklore"),
        Entry(
            "edge-list",
            "simulator.study.topology:edge_list",
            "Edges read from a text file: two vertices a line, `#` starts a comment.",
            "a file of the user's",
        ),
        Entry(
            "two-worlds",
            "simulator.study.topology:two_worlds",
            "Two random graphs of half the nodes each (about `degree` neighbours), joined by a few bridges.",
            "folklore: a bottleneck between communities",
        ),
    ),
    _accept,
    group="hedgerow.topologies",
)
