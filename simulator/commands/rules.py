"""`hedgerow rules`: how a node may weigh what it hears."""

from __future__ import annotations

from node.show.options import AsJson


def rules(as_json: AsJson = False) -> None:
    """List the rules that weigh neighbours, and their sources.

    Example:
    hedgerow rules
    hedgerow simulate --rule krum --rule hedgerow
    """
    from aggregation.registry import RULES
    from node.show.terminal import listing

    listing(RULES, as_json)
