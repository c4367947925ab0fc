"""`hedgerow pretrain`: a frozen feature extractor in a file, for nodes that exchange only the output layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from node.show.offers import TASKS
from node.show.options import DataDir


def pretrain(
    out: Annotated[Path, typer.Argument(help="File to write (safetensors). Give all nodes of a network the same one.")],
    task: Annotated[
        str,
        typer.Option(help="Task to train on: the first half of its data, even classes only.", autocompletion=TASKS),
    ],
    data_dir: DataDir = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 6,
    seed: Annotated[int, typer.Option(help="Seed of the first weights and of the order of batches.")] = 0,
) -> None:
    """Train a feature extractor and freeze it.

    Nodes that use it learn and exchange only the output layer.

    Example:
    hedgerow pretrain extractor.safetensors --task digits
    """
    from node.interrupts import raising
    from node.learning.pretraining import pretrain as train_extractor
    from node.learning.pretraining import save_extractor
    from node.learning.tasks import pretraining_data
    from node.show.terminal import progress

    data, classes = pretraining_data(task, data_dir)
    with raising(), progress() as bar:
        job = bar.add_task("epochs", total=epochs)
        extractor = train_extractor(
            data,
            classes,
            epochs=epochs,
            seed=seed,
            progress=lambda done, accuracy: bar.update(
                job, completed=done, description=f"accuracy {accuracy:.3f} on the classes it trains"
            ),
        )
    save_extractor(extractor, out)
    typer.echo(f"{out}: {extractor.features} features, digest {extractor.digest.hex()}")
    named = json.dumps(str(out.absolute()), ensure_ascii=False)
    typer.echo(f"use it    [task] extractor = {named} in node.toml, with a task called ...-head")
