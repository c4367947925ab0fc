"""`hedgerow trust`: a peer that a node knows from now on."""

from __future__ import annotations

from typing import Annotated

import typer

from node.show.options import Folder, Peer


def trust(
    directory: Folder,
    peer: Peer,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What to call it, at most 32 characters.")] = None,
) -> None:
    """Let a node know a peer.

    It is no stranger any more, also after a restart, and may connect where node.toml has an allow-list. A running node
    hears of it within a round, and vouches for it: everybody in the network can then see that this node knows it, and
    friends of friends come to be known. [network] vouch = false in node.toml keeps names private.

    Example:
    hedgerow trust alice k5g6abcd --name bob
    """
    from node.society import say, told
    from node.store.people import State

    typer.echo(f"{say(directory, peer, State.KNOWN, name)} is known; {told(directory)}")
