"""`hedgerow people`: whom a node knows, by name or by others' word, whom it distrusts, and who asks to be known."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from node.show.options import AsJson, Folder


def people(
    directory: Folder,
    forget: Annotated[
        str | None, typer.Option(metavar="PEER", help="Forget what was said of a peer. It is a stranger again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List whom a node knows, whom it distrusts, and who asks to be known.

    Whoever dials the node and stays for a round asks. Anybody can: trust a peer id that its owner has told you himself.
    P says how far statements of people who know each other lead to a peer. With .02 it is near: known as a neighbour.

    Example:
    hedgerow people alice
    hedgerow people alice --forget bob
    """
    from node.society import listed, people_of, told

    if forget is not None:
        with people_of(directory) as table:
            table.forget(table.find(forget))
        typer.echo(f"{forget} is forgotten; {told(directory, knows=False)}", err=True)
    rows = listed(directory)
    if as_json:
        typer.echo(json.dumps({"people": rows}))
        return
    for row in rows:
        since = "" if row["since"] is None else f"  since round {row['since']}"
        standing = "" if row["standing"] is None else f"  trust {row['standing']:.1%}"
        typer.echo(f"{row['peer']}  {row['state']}  {row['name'] or '-'}{since}{standing}")
