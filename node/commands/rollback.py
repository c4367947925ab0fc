"""`hedgerow rollback`: a node back to its last good model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def rollback(
    directory: Annotated[Path, typer.Argument(help="Folder of the node, which may run.")],
) -> None:
    """Go on from the last good model.

    That is the model whose accuracy was best of late. A running node does it in its next round, another one when it
    starts. Key, chain and round go on; the optimizer begins anew.

    Example:
    hedgerow rollback alice
    """
    from node.daemon import roll_back
    from node.show.terminal import OUT

    OUT.print(f"{directory}: {roll_back(directory)}", markup=False, soft_wrap=True)
