"""`hedgerow run`: a node at work, until it is told to stop."""

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
    node_settings,
)


def run(
    directory: Annotated[Path, typer.Argument(help="Folder that `hedgerow init` made.")],
    listen: Listen = None,
    advertise: Advertise = None,
    join: Join = None,
    allow: Allow = None,
    task: Task = None,
    model: Model = None,
    data_dir: DataDir = None,
    rule: Rule = None,
    part: Part = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Play so many more rounds from here, then stop.")] = None,
    forget_training: Annotated[
        bool, typer.Option("--forget-training", help="Begin the training anew, with the same key and chain.")
    ] = False,
) -> None:
    """Run a node until Ctrl-C or SIGTERM.

    What you type here counts for this run only, and more than node.toml. The same command goes on where it stopped.

    Example:
    hedgerow run alice
    hedgerow run bob --join 127.0.0.1:7700
    """
    from node.interrupts import meanwhile

    folder = shlex.quote(str(directory))
    meanwhile(f"the node had not begun, and its folder {folder} is as it was; the same command starts it")
    from node.daemon import announce, run_node

    settings = node_settings(
        listen=listen, advertise=advertise, join=join, allow=allow, task=task, model=model, data_dir=data_dir,
        rule=rule, part=part,
    )  # fmt: skip
    outcome = run_node(directory, settings, more=rounds, forget_training=forget_training)
    accuracy = "not measured" if outcome.accuracy is None else f"{outcome.accuracy:.1%}"
    announce(
        f"stopped before round {outcome.round}, accuracy {accuracy}; model and chain are kept in {folder}, "
        "and the same command goes on from there"
    )
