"""`hedgerow distrust`: a peer that has no say at a node from now on."""

from __future__ import annotations

import typer

from node.show.options import Folder, Peer


def distrust(directory: Folder, peer: Peer) -> None:
    """Let a node give a peer no say at all.

    Nothing of it is fetched, and it may not connect, whatever it has served and whoever vouches for it. A running node
    hears of it within a round; if it vouched for that peer, it tells everybody that it does so no more.
    `hedgerow trust` and `hedgerow people --forget` take it back.

    Example:
    hedgerow distrust alice bob
    """
    from node.society import say, told
    from node.store.people import State

    typer.echo(f"{say(directory, peer, State.DISTRUSTED)} is distrusted; {told(directory, knows=False)}")
