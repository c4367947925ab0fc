"""The commands about one node: init, run, status, pretrain.

Law: a command reads what was typed, calls one function, and shows what it returns. Heavy imports wait until then.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from node.show.terminal import OUT, AsJson, listing, progress

_BARS = "▁▂▃▄▅▆▇█"
_SHOWN = 12  # rounds


def init(
    directory: Annotated[Path, typer.Argument(help="Folder of the new node; made if need be.")],
    listen: Annotated[str | None, typer.Option(help="Address that others dial, HOST:PORT.")] = None,
    join: Annotated[list[str] | None, typer.Option(help="Address of a node in the network; repeatable.")] = None,
    task: Annotated[str | None, typer.Option(help="What is learned; `hedgerow tasks`, or module:name.")] = None,
    rule: Annotated[str | None, typer.Option(help="What to believe; `hedgerow rules`.")] = None,
    part: Annotated[str | None, typer.Option(help="Which part of the data is this node's, for example 0/3.")] = None,
) -> None:
    """Write a key and a commented node.toml, and say how others join."""
    from node.daemon import init_node

    out = init_node(directory, _overrides(listen, join, task, rule, part))
    OUT.print(f"peer id    {out.peer}")
    OUT.print(f"settings   {out.config}")
    OUT.print(f"start it   hedgerow run {directory}")
    OUT.print(f"look at it hedgerow status {directory}")
    if out.join:
        OUT.print(f"others     hedgerow run DIR --join {out.join}", soft_wrap=True)


def run(
    directory: Annotated[Path, typer.Argument(help="Folder that `hedgerow init` wrote.")],
    listen: Annotated[str | None, typer.Option(help="Address that others dial, HOST:PORT.")] = None,
    join: Annotated[list[str] | None, typer.Option(help="Address of a node in the network; repeatable.")] = None,
    task: Annotated[str | None, typer.Option(help="What is learned; `hedgerow tasks`, or module:name.")] = None,
    rule: Annotated[str | None, typer.Option(help="What to believe; `hedgerow rules`.")] = None,
    part: Annotated[str | None, typer.Option(help="Which part of the data is this node's, for example 0/3.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Play so many more rounds from here, then stop.")] = None,
    forget_training: Annotated[
        bool, typer.Option("--forget-training", help="Begin the training anew, with the same key and chain.")
    ] = False,
) -> None:
    """Run a node until it is told to stop (Ctrl-C or SIGTERM)."""
    from node.daemon import announce, run_node

    settings = _overrides(listen, join, task, rule, part)
    outcome = run_node(directory, settings, more=rounds, forget_training=forget_training)
    accuracy = "not measured" if outcome.accuracy is None else f"{outcome.accuracy:.1%}"
    announce(f"stopped before round {outcome.round}, accuracy {accuracy}; the same command goes on from there")


def _overrides(
    listen: str | None,
    join: list[str] | None,
    task: str | None,
    rule: str | None,
    part: str | None,
) -> dict[str, dict[str, object]]:
    """What was typed, as sections of node.toml."""
    mine: dict[str, object] = {}
    if part is not None:
        number, _, parts = part.partition("/")
        if not (number.isdigit() and parts.isdigit()):
            raise typer.BadParameter(f"'{part}' is not of the form 0/3 (part 0 of 3)", param_hint="--part")
        mine = {"part": int(number), "parts": int(parts)}
    given: dict[str, dict[str, object]] = {
        "network": {"listen": listen, "join": join or None},
        "task": {"name": task, **mine},
        "rule": {"name": rule},
    }
    kept = {section: {k: v for k, v in values.items() if v is not None} for section, values in given.items()}
    return {section: values for section, values in kept.items() if values}


def status(
    address: Annotated[str, typer.Argument(help="Folder of the node, or status address HOST:PORT.")],
    as_json: Annotated[bool, typer.Option("--json", help="The JSON of /v1/status instead.")] = False,
) -> None:
    """Show a node's round and accuracy, and its opinion of each neighbour, with the reason."""
    from node.show.page import ranked, remarks_on
    from node.show.status import fetch_status
    from node.trust.opinions import WHY

    found = fetch_status(address)
    if as_json:
        typer.echo(json.dumps(found))
        return
    accuracy = "not measured yet" if found["accuracy"] is None else f"{found['accuracy']:.1%}"
    OUT.print(f"round {found['round']}, accuracy {accuracy}, {found['task']} with {found['rule']}, {found['phase']}")
    for alarm in found.get("alarms", []):
        OUT.print(alarm, style="red", markup=False, soft_wrap=True)
    grid = Table("neighbour", "round", "weight", "why", "link", "weights", "verdicts", box=None)
    shown, hidden = ranked(found["neighbours"])
    for peer in shown:
        round = "-" if peer["round"] is None else str(peer["round"])
        weight = "-" if peer["weight"] is None else f"{peer['weight']:.2f}"
        link = peer["standing"] if peer["connected"] else "gone"
        line, counts = _history(peer["history"])
        grid.add_row(peer["peer"][:12], round, weight, peer["verdict"] or "-", link, line, counts)
    OUT.print(grid)
    if hidden:
        OUT.print(f"and {hidden} more that have left")
    for peer in shown:
        for remark in remarks_on(peer):
            OUT.print(f"{peer['peer'][:12]}: {remark}", style="red", markup=False, soft_wrap=True)
    for verdict, words in WHY.items():
        if verdict != "taken" and any(peer["verdict"] == verdict for peer in shown):
            OUT.print(f"{verdict}: {words}", style="dim", soft_wrap=True)


def _history(rounds: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The last weights as bars, and how often each verdict was given."""
    weights = [row["weight"] for row in rounds[-_SHOWN:]]
    line = "".join(" " if weight is None else _BARS[round(min(max(weight, 0), 1) * 7)] for weight in weights)
    counts = Counter(row["verdict"] for row in rounds if row["verdict"])
    return line, ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())


def pretrain(
    out: Annotated[Path, typer.Argument(help="Safetensors file to write; all nodes of a network use the same one.")],
    task: Annotated[str, typer.Option(help="Task whose first half of the data, even classes, is trained on.")],
    data_dir: Annotated[str | None, typer.Option(help="Folder of the data set.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 6,
    seed: Annotated[int, typer.Option(help="Seed of initial weights and batch order.")] = 0,
) -> None:
    """Train a feature extractor and freeze it: nodes then learn and exchange only the output layer."""
    from node.learning.pretraining import pretrain as train_extractor
    from node.learning.pretraining import save_extractor
    from node.learning.tasks import pretraining_data

    data, classes = pretraining_data(task, data_dir)
    with progress() as bar:
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
    OUT.print(f"{out}: {extractor.features} features, digest {extractor.digest.hex()}", soft_wrap=True)
    OUT.print(f'use it    [task] extractor = "{out}" in node.toml, with a task called ...-head', soft_wrap=True)


def tasks(as_json: AsJson = False) -> None:
    """List the tasks, each with the source of its data."""
    from node.learning.registry import TASKS

    listing(TASKS, as_json)
