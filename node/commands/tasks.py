"""`hedgerow tasks`: what can be learned."""

from __future__ import annotations

from node.show.options import AsJson


def tasks(as_json: AsJson = False) -> None:
    """List the tasks, and where their data comes from.

    Example:
    hedgerow tasks
    hedgerow simulate --task fashion-mnist
    """
    from node.learning.registry import TASKS
    from node.show.terminal import listing

    listing(TASKS, as_json)
