"""`hedgerow init`: makes a node's folder, and says how it is started and how others join it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from node.show.options import (
    Advertise,
    Allow,
    DataDir,
    Join,
    Listen,
    Model,
    Part,
    Rule,
    Task,
    Ticket,
    node_settings,
)


def init(
    directory: Annotated[Path, typer.Argument(help="Folder of the new node. It is made if it is not there.")],
    listen: Listen = None,
    advertise: Advertise = None,
    join: Join = None,
    allow: Allow = None,
    task: Task = None,
    model: Model = None,
    data_dir: DataDir = None,
    rule: Rule = None,
    part: Part = None,
    ticket: Ticket = None,
    inviter: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to call whoever made the ticket, on the page and in commands."),
    ] = None,
) -> None:
    """Make a node: a folder with its key and its settings.

    The settings are in node.toml, each with a comment. What you type here is written there. Change it as you like.

    Example:
    hedgerow init alice --listen 127.0.0.1:7700 --part 0/2
    hedgerow init bob --listen 127.0.0.1:7701 --part 1/2 --join 127.0.0.1:7700
    hedgerow init carol --ticket hedgerow1... --inviter alice
    """
    from gossip.protocol.ticket import parse_ticket
    from node.daemon import init_node
    from node.interrupts import meanwhile
    from node.society import told

    settings = node_settings(
        listen=listen, advertise=advertise, join=join, allow=allow, task=task, model=model, data_dir=data_dir,
        rule=rule, part=part,
    )  # fmt: skip
    folder = shlex.quote(str(directory))
    meanwhile(f"{folder} may hold half a node; remove it, and type the same again")
    made = init_node(directory, settings, ticket, inviter)
    typer.echo(f"peer id    {made.peer}")
    typer.echo(f"settings   {made.config}")
    typer.echo(f"start it   hedgerow run {folder}")
    typer.echo(f"look at it hedgerow status {folder}")
    if ticket and parse_ticket(ticket).invitation:
        typer.echo(f"the inviter: once it has taken the ticket, {told(directory)}", err=True)
    if made.join:
        typer.echo(f"others     hedgerow run DIR --join {shlex.quote(made.join)}")
