"""`hedgerow topologies`: who may be whose neighbour."""

from __future__ import annotations

from node.show.options import AsJson


def topologies(as_json: AsJson = False) -> None:
    """List the graphs between nodes, and their sources.

    Example:
    hedgerow topologies
    hedgerow simulate --topology ring
    """
    from node.show.terminal import listing
    from simulator.study.registry import TOPOLOGIES

    listing(TOPOLOGIES, as_json)
