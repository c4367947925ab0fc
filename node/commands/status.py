"""`hedgerow status`: what a running node thinks of itself and of its neighbours."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from node.exits import ALONE, DONE
from node.show.options import AsJson

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "01234567"  # where the output's encoding has no bars
_ASKS = 3  # that are shown; the newest crowd fills pages
_SHOWN = 12  # rounds


def status(
    address: Annotated[str, typer.Argument(help="Folder of the node, or HOST:PORT of its status page.")],
    as_json: AsJson = False,
) -> None:
    """Show how a node is, and what it thinks of its neighbours.

    The table has a row for each neighbour: its round, its weight, why it has that weight, and its latest weights.
    The exit code is 3 while the node trains alone: it knows somebody, and hears nobody of them.

    Example:
    hedgerow status alice
    hedgerow status 127.0.0.1:8080 --json
    """
    from rich.table import Table

    from node.show.page import ASKS, TRUST, afar, called, link_of, others, ranked, remarks_on
    from node.show.status import fetch_status
    from node.show.terminal import OUT
    from node.trust.opinions import WHY

    found = fetch_status(address)
    alone = found.get("alone")
    if as_json:
        typer.echo(json.dumps(found))
        raise typer.Exit(ALONE if alone else DONE)
    if alone:
        OUT.print(alone, style="red", soft_wrap=True)
    accuracy = "not measured yet" if found["accuracy"] is None else f"{found['accuracy']:.1%}"
    OUT.print(f"round {found['round']}, accuracy {accuracy}, {found['task']} with {found['rule']}, {found['phase']}")
    for alarm in others(found):
        OUT.print(alarm, style="red", soft_wrap=True)
    if afar(found):
        OUT.print(afar(found), soft_wrap=True)
    grid = Table("neighbour", "round", "weight", "why", "link", "weights", "verdicts", box=None)
    shown, hidden = ranked(found["neighbours"])
    for peer in shown:
        round = "-" if peer["round"] is None else str(peer["round"])
        here = peer["connected"]  # what was thought of somebody who left stands in the history
        weight = "-" if peer["weight"] is None or not here else f"{peer['weight']:.2f}"
        line, counts = _history(peer["history"])
        grid.add_row(called(peer), round, weight, (here and peer["verdict"]) or "-", link_of(peer), line, counts)
    if shown:
        OUT.print(grid)
    else:
        OUT.print("no neighbours yet")
    if hidden:
        OUT.print(f"and {hidden} more that have left")
    for peer in shown:
        for remark in remarks_on(peer):
            OUT.print(f"{called(peer)}: {remark}", style="red", soft_wrap=True)
    asks = found.get("asks", [])
    if asks:
        OUT.print(ASKS, style="dim", soft_wrap=True)
    for ask in asks[:_ASKS]:
        OUT.print(f"asks to be known: {ask['type']}", soft_wrap=True)
    if len(asks) > _ASKS:
        OUT.print(f"and {len(asks) - _ASKS} more ask: hedgerow people")
    for verdict, words in WHY.items():
        if verdict != "taken" and any(peer["verdict"] == verdict for peer in shown):
            OUT.print(f"{verdict}: {words}", style="dim", soft_wrap=True)
    if any(peer.get("vouched") for peer in shown):
        OUT.print(f"trust: {TRUST}", style="dim", soft_wrap=True)
    if alone:
        raise typer.Exit(ALONE)


def _history(rounds: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The last weights as bars, and how often each verdict was given."""
    from node.show.terminal import drawable

    bars = drawable(_BARS, _PLAIN_BARS)
    weights = [row["weight"] for row in rounds[-_SHOWN:]]
    line = "".join(" " if weight is None else bars[round(min(max(weight, 0), 1) * 7)] for weight in weights)
    counts = Counter(row["verdict"] for row in rounds if row["verdict"])
    return line, ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
