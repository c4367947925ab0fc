"""`hedgerow backup`: a copy of a node that goes on where the node was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def backup(
    directory: Annotated[Path, typer.Argument(help="Folder of the node, which may run.")],
    out: Annotated[Path, typer.Argument(help="New folder, or new file that ends in .tar.")],
) -> None:
    """Copy a node, also while it runs: key, settings, ledger, newest model.

    `hedgerow run` goes on from the copy, once the node that it was made of has stopped for good.

    Example:
    hedgerow backup alice alice-2026-11-30
    hedgerow backup alice alice.tar
    """
    from node.daemon import back_up_node
    from node.show.terminal import OUT

    made = back_up_node(directory, out)
    model = "no model yet" if made.round is None else f"the model for round {made.round}"
    OUT.print(f"{made.out}: key, settings, {made.headers} signed headers, {model}", markup=False, soft_wrap=True)
