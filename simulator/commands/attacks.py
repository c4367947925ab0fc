"""`hedgerow attacks`: what an adversary may do."""

from __future__ import annotations

from node.show.options import AsJson


def attacks(as_json: AsJson = False) -> None:
    """List the attacks, and their sources.

    Example:
    hedgerow attacks
    hedgerow simulate --attack label-flip+clones
    """
    from node.show.terminal import listing
    from simulator.attacks.registry import ATTACKS

    listing(ATTACKS, as_json)
