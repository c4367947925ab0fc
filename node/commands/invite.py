"""`hedgerow invite`: one line by which somebody joins, and the invitations that are open."""

from __future__ import annotations

from typing import Annotated

import typer

from node.show.options import Folder


def invite(
    directory: Folder,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What to call whoever joins by it, at most 32 characters.")
    ] = "",
    everybody: Annotated[
        bool, typer.Option("--open", help="For anybody, any number of times. Who joins by it is a stranger here.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the invitations of this node.")] = False,
    revoke: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take back an invitation, by its name or its number.")
    ] = None,
) -> None:
    """Print one line by which somebody joins.

    It counts once, for one key. Then both nodes know each other. Pass it on as you would a password. Both also vouch
    for each other, for everybody in the network to see; [network] vouch = false in node.toml keeps names private.

    Example:
    hedgerow invite alice --name bob
    hedgerow invite alice --list
    hedgerow invite alice --revoke bob
    """
    from identity.keys import format_peer
    from node.society import invite as make_ticket
    from node.society import people_of, told
    from node.store.invitations import Invitations

    if revoke is None and not listed:
        made = make_ticket(directory, name, everybody)
        if made.local:
            typer.echo(
                f"{made.address} is for this machine only: for others, set [network] listen or advertise", err=True
            )
        if not everybody:
            typer.echo(f"once it is redeemed, {told(directory)}", err=True)
        typer.echo(made.ticket)
        return
    with people_of(directory) as people:
        invitations = Invitations(people)
        if revoke is not None:
            typer.echo(f"invitation {invitations.revoke(revoke).number} is revoked")
            return
        for one in invitations.all():
            who = "" if one.peer is None else f" by {format_peer(one.peer)}"
            typer.echo(f"{one.number}  {one.alias or '-'}  {one.describe(people.round())}{who}")
