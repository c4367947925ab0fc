"""`hedgerow matrix`: rules against attacks, on one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.show.offers import files
from node.show.options import AsJson

if TYPE_CHECKING:
    from simulator.matrix.run import Progress

PRESETS = files("simulator/matrix/presets", ".toml")


def matrix(
    plan: Annotated[
        str,
        typer.Argument(
            help="smoke, withstands, strangers, trust, trust-bars, defence, core or full; or a file (TOML).",
            autocompletion=PRESETS,
        ),
    ] = "smoke",
    out: Annotated[
        Path | None, typer.Option(help="Folder for results. What is finished there is not run again.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Number of processes. If absent, one a core.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run all rules against all attacks of a plan, and write one page.

    A plan also varies how the data is split, the graph and the seed. `smoke` takes a minute or two, `full` days.

    Example:
    hedgerow matrix smoke
    hedgerow matrix my-plan.toml --out results
    """
    from node.interrupts import meanwhile

    meanwhile("nothing was run yet; what is kept of an earlier run stays")
    from simulator.work.nursery import open_nursery, several

    if several(workers):
        open_nursery()
    from rich.progress import TextColumn

    from node.interrupts import raising
    from node.show.terminal import OUT, clock, halt, progress, tell
    from simulator.matrix.run import run_matrix
    from simulator.work.pool import CellLost

    folder = out or Path("runs") / f"matrix-{Path(plan).stem}"
    kept = "none of its cells is finished"
    try:
        with raising(), progress(TextColumn("{task.fields[left]}")) as bar:
            job = bar.add_task("matrix", total=1.0, left=clock(None))

            def show(now: Progress) -> None:
                nonlocal kept
                kept = f"{now.done} of {now.cells} cells are finished and kept"
                what = f"{now.done} of {now.cells} cells: {now.what}"
                bar.update(job, completed=now.share, description=what, left=clock(now.remaining))

            report = run_matrix(plan, folder, workers, show)
            page = report.write(folder)
    except (KeyboardInterrupt, CellLost) as stop:
        halt(stop, kept, folder)
    if as_json:
        typer.echo(json.dumps(report.numbers()))
    else:
        report.show(OUT)
    tell(f"Records and page: {page}")
