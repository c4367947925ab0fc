"""`hedgerow attack`: adversarial peers against a live node, and a scorecard of what they did to it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.exits import DONE, FAILED, STOPPED
from node.show.offers import TASKS, words
from node.show.options import AsJson, DataDir, Model

if TYPE_CHECKING:
    from simulator.live.scorecard import Row

SUITES = ("all", "wire", "siege", "model", "sybil")
UNCLEAR = (
    "Inconclusive rows say nothing for or against the node: too little happened to judge by. Attack it again once it "
    "has played a few rounds, and with more --seconds"
)


def attack(
    address: Annotated[str, typer.Argument(help="Folder of the node, or HOST:PORT of its status page.")],
    suite: Annotated[
        str, typer.Option(help="Which attacks: wire, siege, model, sybil or all.", autocompletion=words(*SUITES))
    ] = "all",
    seconds: Annotated[float, typer.Option(min=1, help="Longest time for one attack, in seconds.")] = 60.0,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of the node in which each attack acts. If absent, 4 to 12.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of keys and draws. If absent, keys are new.")] = None,
    task: Annotated[
        str | None, typer.Option(help="The node's task, if it is your own: MODULE:NAME.", autocompletion=TASKS)
    ] = None,
    model: Model = None,
    data_dir: DataDir = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Key file. A node elsewhere agrees by naming its public key in [network] attackable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Attack a live node of yours, and show what it withstood.

    The node must run on this machine, or agree to be attacked. The exit code is 1 if an attack did harm, or if it
    cannot be said whether one did: such a row is inconclusive.

    Example:
    hedgerow attack alice --suite wire
    hedgerow attack 127.0.0.1:8080 --suite sybil --json
    """
    from node.interrupts import as_python_does, meanwhile

    meanwhile("nothing was attacked yet")
    import asyncio
    from dataclasses import asdict

    from rich.progress import TextColumn

    from hedgerow_registry import choose
    from identity.keys import SigningKey
    from node.learning.tasks import make_task
    from node.show.status import fetch_status
    from node.show.terminal import clock, progress, tell
    from simulator.live.campaign import Bounds
    from simulator.live.harness import Step, assault
    from simulator.live.scorecard import Verdict, prospect
    from simulator.live.suites import SUITES

    chosen = choose("suite", suite, {"all": list(SUITES)} | {name: [name] for name in SUITES})
    mine = None if key is None else SigningKey.load(key)
    theirs = None
    if task or model or data_dir:
        theirs = make_task(task or str(fetch_status(address)["task"]), model, data_dir)
    tell(prospect(fetch_status(address)))
    rows: list[Row] = []
    stopped = False
    with progress(TextColumn("{task.fields[left]}")) as bar:
        job = bar.add_task("attacks", total=sum(len(SUITES[name]) for name in chosen), left=clock(None))

        def where(step: Step) -> None:
            name = f"{step.suite}: {step.attack}"
            bar.update(job, completed=step.done + step.part, description=name, left=clock(step.left))

        def seen(row: Row, left: float) -> None:
            rows.append(row)
            verdict = row.verdict.word + ("" if row.passed else f", {row.note}")
            done = f"{len(rows)} of {bar.tasks[job].total:.0f}, about {clock(left)} left"
            tell(f"{row.suite}: {_name(row)}: {verdict} ({done})")

        bounds = Bounds(seconds, rounds, seed=seed)
        try:
            with as_python_does():
                asyncio.run(assault(address, chosen, task=theirs, bounds=bounds, key=mine, observe=seen, watch=where))
        except KeyboardInterrupt:
            stopped = True
    counts = Counter(row.verdict for row in rows)
    failed = counts.total() > counts[Verdict.PASS]
    if as_json:
        passed = not failed and not stopped
        found = [asdict(row) | {"passed": row.passed} for row in rows]
        tally = {verdict.value: counts[verdict] for verdict in Verdict}
        typer.echo(json.dumps({"passed": passed, "stopped": stopped, "counts": tally, "rows": found}))
    elif rows:
        _scorecard(rows)
    if rows:
        tell(f"{len(rows)} attacks: " + ", ".join(f"{count} {verdict.word}" for verdict, count in counts.items()))
    if counts[Verdict.INCONCLUSIVE]:
        tell(UNCLEAR)
    if stopped:
        tell(f"Stopped after {len(rows)} attacks; the node forgets ours by itself")
        raise typer.Exit(STOPPED)
    raise typer.Exit(FAILED if failed else DONE)


def _name(row: Row) -> str:
    return f"{row.attack} x {row.sybils}" if row.sybils > 1 else row.attack


def _scorecard(rows: Sequence[Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    from node.show.terminal import OUT
    from simulator.live.scorecard import Verdict

    styles = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.INCONCLUSIVE: "yellow"}

    def pair(values: tuple[float | None, float | None]) -> str:
        return " > ".join("-" if value is None else f"{value:.2f}" for value in values)

    heads = (
        "suite",
        "attack",
        "sent",
        "taken",
        "ignored",
        "share (fair)",
        "accuracy",
        "success",
        "s a round",
        "others",
    )
    grid = Table(*heads, "", box=None)
    for row in rows:
        share = "-" if row.share is None or row.fair is None else f"{row.share:.0%} ({row.fair:.0%})"
        others = f"{row.neighbours[1]} of {row.neighbours[0]}"
        mark = Text(row.verdict.word, styles[row.verdict])
        counts = [str(value) for value in (row.tried, row.taken, row.ignored)]
        grid.add_row(
            row.suite, _name(row), *counts, share, pair(row.accuracy), pair(row.success), pair(row.pace), others, mark
        )
    OUT.print(grid)
    OUT.print("before > at worst; share: most of all weight that ours had in one round (fair: what one would have had)")
    for row in rows:
        words = [", ".join(f"{reason} {count}" for reason, count in row.refused.items()), row.note]
        if any(words):
            refused, note = words
            said = "; ".join(filter(None, (note, f"refused: {refused}" if refused else "")))
            OUT.print(
                f"{row.suite}: {_name(row)}: {said}", style=None if row.passed else styles[row.verdict], soft_wrap=True
            )
