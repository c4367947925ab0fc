"""Options that several commands have, each said once, and how what was typed becomes sections of node.toml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from node.show.offers import MODELS, RULES, TASKS

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
DataDir = Annotated[Path | None, typer.Option(metavar="PATH", help="Folder or file of the data.")]

Listen = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Address to listen on.")]
Advertise = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Address that others are told, if it is not that one.")
]
Join = Annotated[
    list[str] | None,
    typer.Option(metavar="ADDRESS", help="A node of the network: HOST:PORT or PEER@HOST:PORT. May be repeated."),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="PEER", help="Peer id that may connect; then nobody else may. May be repeated."),
]
Task = Annotated[
    str | None,
    typer.Option(
        metavar="TASK", help="What is learned: see `hedgerow tasks`. Your own is MODULE:NAME.", autocompletion=TASKS
    ),
]
Model = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Model of that task: softmax, mlp or lenet.", autocompletion=MODELS),
]
Rule = Annotated[
    str | None,
    typer.Option(metavar="RULE", help="How neighbours are weighed: see `hedgerow rules`.", autocompletion=RULES),
]
Part = Annotated[
    str | None,
    typer.Option(metavar="N/PARTS", help="Which part of the data is this node's: 0/3 is the first of three."),
]

Ticket = Annotated[
    str | None,
    typer.Option(metavar="LINE", help="Join by a line of `hedgerow invite`. What you type beside it goes first."),
]
Folder = Annotated[Path, typer.Argument(help="Folder of the node. It may be running.")]
Peer = Annotated[str, typer.Argument(help="Peer id, at least its first 8 letters, or a name that you gave.")]


def node_settings(
    *,
    listen: str | None,
    advertise: str | None,
    join: list[str] | None,
    allow: list[str] | None,
    task: str | None,
    model: str | None,
    data_dir: Path | None,
    rule: str | None,
    part: str | None,
) -> dict[str, dict[str, object]]:
    """What was typed, as sections of node.toml; what was not typed is not in it.

    Raises:
        typer.BadParameter: the part is not of the form 0/3.
    """
    network = _given({"listen": listen, "advertise": advertise, "join": join or None, "allow": allow or None})
    learned = _given({"name": task, "model": model, "data_dir": None if data_dir is None else _whole(data_dir)})
    sections = {
        "network": network,
        "task": learned | ({} if part is None else _part(part)),
        "rule": _given({"name": rule}),
    }
    return {section: values for section, values in sections.items() if values}


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}


def _whole(path: Path) -> str:
    """The path from the root: a node is not always started from the folder in which its data was named."""
    try:
        return str(path.expanduser().absolute())
    except RuntimeError:  # nobody's home is known
        return str(path.absolute())


def _part(text: str) -> dict[str, object]:
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal()):
        raise typer.BadParameter(f"'{text}' is not of the form 0/3 (part 0 of 3)", param_hint="--part")
    return {"part": int(number), "parts": int(parts)}
