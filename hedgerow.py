"""hedgerow: a learning node without a server. The `hedgerow` command, and the names that users import.

    import hedgerow
    task = hedgerow.Task(model, train=(x, y), test=(x_test, y_test))
    print(hedgerow.simulate(task, nodes=20, rules=["mean", "hedgerow"]))   # many nodes here
    hedgerow.run(task, join=["10.0.0.7:7700"])                             # one node, with others

Laws:
- Commands only read what was typed, call one function of the packages below, and show what it returns.
- stdout is data, stderr is for people; exit code 0 done, 1 something failed, 2 what was typed makes no sense.
- Heavy imports wait until a command needs them: `--help` answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from node.learning.dataset import Dataset
    from node.learning.optimizers import Adam, Sgd
    from node.learning.task import Task
    from node.run import Outcome
    from simulator.cells import Cell, News
    from simulator.matrix import Progress as MatrixProgress
    from simulator.report import Report
    from simulator.scenario import Scenario
    from simulator.scorecard import Row
    from simulator.sweep import Found

__version__ = "0.1.0"
__all__ = ["Adam", "Dataset", "Report", "Scenario", "Sgd", "Task", "run", "simulate"]

_PUBLIC = {
    "Task": "node.learning.task",
    "Dataset": "node.learning.dataset",
    "Sgd": "node.learning.optimizers",
    "Adam": "node.learning.optimizers",
    "Scenario": "simulator.scenario",
    "Report": "simulator.report",
}


def __getattr__(name: str) -> object:
    """Public classes, imported when first named."""
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'hedgerow' has no attribute '{name}'")


def simulate(task: Task | str | None = None, **scenario: Any) -> Report:
    """Simulate many nodes on this machine.

    Args:
        task: a `Task`, or the name of one that is shipped; absent = digits.
        scenario: fields of `Scenario` (nodes, rounds, rules, topology, alpha, attack, sybils, phi, seeds, engine, ...).

    Returns:
        A report: print it, or ask for `.numbers()` or `.write(folder)`.

    Raises:
        simulator.scenario.ScenarioError: a field that does not exist or does not fit; one sentence.
    """
    from node.learning.task import Task as TaskClass
    from simulator.scenario import Scenario as ScenarioClass
    from simulator.sweep import sweep

    if isinstance(task, TaskClass):
        return sweep(ScenarioClass.of({"name": "simulation", **scenario, "task": task.name}), task=task)
    named = {"task": task} if task is not None else {}
    return sweep(ScenarioClass.of({"name": "simulation", **scenario, **named}))


def run(task: Task | str = "digits", join: Sequence[str] = (), **options: Any) -> Outcome:
    """Run one node until it is stopped (SIGTERM, Ctrl-C) or `rounds` are done.

    Args:
        task: a `Task`, or the name of one that is shipped.
        join: addresses of nodes that are in the network already, "HOST:PORT".
        options: `listen`, `network`, `folder`, `rule`, `rounds`, `part`, `parts`, ...; see node.daemon.run_task.

    Returns:
        How it ended: peer id, next round, accuracy, params.

    Raises:
        node.errors.NodeError: one sentence that says what to do.
    """
    from node.daemon import run_task
    from node.learning.tasks import make_task

    return run_task(make_task(task) if isinstance(task, str) else task, join=tuple(join), **options)


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A learning node without a server: run one, simulate many, attack them.",
)
_log = Console(stderr=True, highlight=False)
_out = Console(highlight=False)


@app.command()
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
    _out.print(f"peer id    {out.peer}")
    _out.print(f"settings   {out.config}")
    _out.print(f"start it   hedgerow run {directory}")
    if out.join:
        _out.print(f"others     hedgerow run DIR --join {out.join}", soft_wrap=True)


@app.command("run")
def run_command(
    directory: Annotated[Path, typer.Argument(help="Folder that `hedgerow init` wrote.")],
    listen: Annotated[str | None, typer.Option(help="Address that others dial, HOST:PORT.")] = None,
    join: Annotated[list[str] | None, typer.Option(help="Address of a node in the network; repeatable.")] = None,
    task: Annotated[str | None, typer.Option(help="What is learned; `hedgerow tasks`, or module:name.")] = None,
    rule: Annotated[str | None, typer.Option(help="What to believe; `hedgerow rules`.")] = None,
    part: Annotated[str | None, typer.Option(help="Which part of the data is this node's, for example 0/3.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Stop after this many rounds.")] = None,
) -> None:
    """Run a node until it is told to stop (Ctrl-C or SIGTERM)."""
    from node.daemon import run_node

    outcome = run_node(directory, _overrides(listen, join, task, rule, part, rounds))
    accuracy = "not measured" if outcome.accuracy is None else f"{outcome.accuracy:.1%}"
    _log.print(f"stopped before round {outcome.round}, accuracy {accuracy}; the same command goes on from there")


def _overrides(
    listen: str | None,
    join: list[str] | None,
    task: str | None,
    rule: str | None,
    part: str | None,
    rounds: int | None = None,
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
        "round": {"rounds": rounds},
    }
    kept = {section: {k: v for k, v in values.items() if v is not None} for section, values in given.items()}
    return {section: values for section, values in kept.items() if values}


@app.command()
def status(
    address: Annotated[str, typer.Argument(help="Folder of the node, or status address HOST:PORT.")],
    as_json: Annotated[bool, typer.Option("--json", help="The JSON of /v1/status instead.")] = False,
) -> None:
    """Show a node's round and accuracy, and its opinion of each neighbour, with the reason."""
    from node.status import fetch_status

    found = fetch_status(address)
    if as_json:
        typer.echo(json.dumps(found))
        return
    accuracy = "not measured yet" if found["accuracy"] is None else f"{found['accuracy']:.1%}"
    _out.print(f"round {found['round']}, accuracy {accuracy}, {found['task']} with {found['rule']}, {found['phase']}")
    grid = Grid("neighbour", "round", "weight", "why", "link", "weights", "verdicts", box=None)
    for peer in found["neighbours"]:
        round = "-" if peer["round"] is None else str(peer["round"])
        weight = "-" if peer["weight"] is None else f"{peer['weight']:.2f}"
        link = "connected" if peer["connected"] else "gone"
        line, counts = _history(peer["history"])
        grid.add_row(peer["peer"][:12], round, weight, peer["verdict"] or "-", link, line, counts)
    _out.print(grid)


def _history(rounds: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The last weights as bars, and how often each verdict was given."""
    from collections import Counter

    bars = "▁▂▃▄▅▆▇█"
    weights = [row["weight"] for row in rounds[-12:]]
    line = "".join(" " if weight is None else bars[round(min(max(weight, 0), 1) * 7)] for weight in weights)
    counts = Counter(row["verdict"] for row in rounds if row["verdict"])
    return line, ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())


@app.command("simulate")
def simulate_command(
    scenario: Annotated[Path | None, typer.Argument(help="Scenario as TOML; absent = the demo.")] = None,
    task: Annotated[str | None, typer.Option(help="`hedgerow tasks`, or module:name.")] = None,
    model: Annotated[str | None, typer.Option(help="Model of that task: softmax, mlp, lenet.")] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder of the data set.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Honest nodes.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds.")] = None,
    rule: Annotated[
        list[str] | None, typer.Option(help="`hedgerow rules`; repeatable; NAME or NAME(key=value).")
    ] = None,
    topology: Annotated[str | None, typer.Option(help="`hedgerow topologies`; NAME or NAME(key=value).")] = None,
    partition: Annotated[str | None, typer.Option(help="Split of the data: iid, dirichlet, classes, shards.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Dirichlet concentration: small = skewed.")] = None,
    attack: Annotated[str | None, typer.Option(help="`hedgerow attacks`; NAME, A+B, or none.")] = None,
    sybils: Annotated[int | None, typer.Option(help="Identities of the adversary.")] = None,
    phi: Annotated[float | None, typer.Option(help="Attack edges per honest node.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed; repeatable.")] = None,
    engine: Annotated[
        str | None, typer.Option(help="auto, fast (arrays) or world (real services, virtual time).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for records and report; finished cells found there are kept.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes for independent cells.")] = None,
    ray: Annotated[str | None, typer.Option(help="Run cells on Ray: its address, or local.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
    profile: Annotated[bool, typer.Option(help="Show where the time went, phase by phase.")] = False,
) -> None:
    """Simulate many nodes on this machine, some of them bad, and compare rules."""
    from simulator.scenario import Scenario as ScenarioClass

    typed: dict[str, object] = {
        "task": task, "model": model, "data_dir": data_dir, "nodes": nodes, "rounds": rounds, "rules": rule or None,
        "topology": topology, "partition": partition, "alpha": alpha, "attack": attack, "sybils": sybils, "phi": phi,
        "seeds": seed or None, "engine": engine,
    }  # fmt: skip
    given = {key: value for key, value in typed.items() if value is not None}
    if sybils is not None and phi is None and scenario is not None:
        given["phi"] = None
    base = ScenarioClass.load(scenario) if scenario is not None else ScenarioClass()
    _simulate(base.but(**given), out, workers, ray, as_json, profile)


def _simulate(
    scenario: Scenario, out: Path | None, workers: int | None, ray: str | None, as_json: bool, profile: bool
) -> None:
    from datetime import datetime, timedelta

    from rich.progress import TextColumn

    from simulator.cells import cells_of
    from simulator.pace import Pace
    from simulator.ray_pool import RayPool
    from simulator.sweep import sweep
    from simulator.timesheet import Timesheet

    folder = out or Path("runs") / f"{scenario.name}-{datetime.now():%Y%m%d-%H%M%S}"
    pace, sheet = Pace(cells_of(scenario)), Timesheet()
    pool = None if ray is None else RayPool(ray, workers)
    try:
        with _progress(TextColumn("{task.fields[left]}")) as progress:
            job = progress.add_task(scenario.name, total=pace.total, left="-:--:--")

            def tell(cell: Cell, news: News | Found) -> None:
                known = len(sheet.engines)
                pace.hear(cell, news)
                sheet.hear(cell, news)
                for line in sheet.engines[known:]:
                    _log.print(line, markup=False, soft_wrap=True)
                seconds = pace.remaining()
                left = "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))
                progress.update(job, completed=pace.done, description=f"{cell.rule}, seed {cell.seed}", left=left)

            report = sweep(scenario, workers=workers, folder=folder, tell=tell, pool=pool)
    except KeyboardInterrupt:
        kept = f"{pace.finished} of {pace.cells} cells are finished and kept"
        _log.print(f"Stopped: {kept}; the same command with --out {folder} goes on", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    page = report.write(folder)
    sheet.write(folder)
    if as_json:
        typer.echo(json.dumps(report.numbers()))
    else:
        report.show(_out)
    if profile:
        _log.print(sheet.table())
    _log.print(f"Records and page: {page}", markup=False, soft_wrap=True)


@app.command()
def attack(
    address: Annotated[str, typer.Argument(help="Folder of the node, or status address HOST:PORT.")],
    suite: Annotated[str, typer.Option(help="wire, model, sybil or all.")] = "all",
    seconds: Annotated[float, typer.Option(min=1, help="Longest duration of one attack.")] = 30.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the node in which each attack acts.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of keys and draws.")] = 1,
    key: Annotated[
        Path | None, typer.Option(help="Key file that a node on another machine has named in [network] attackable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> None:
    """Let adversarial peers loose on a live node (loopback only, unless it consents); exit 1 if it fails one."""
    import asyncio
    from dataclasses import asdict

    from identity.keys import SigningKey
    from node.names import choose
    from simulator.harness import SUITES, Bounds, assault

    chosen = list(SUITES) if suite == "all" else [choose("suite", suite, {name: name for name in SUITES})]
    count = sum(len(SUITES[name]) for name in chosen)
    with _progress() as progress:
        job = progress.add_task("attacks", total=count)

        def seen(row: Row) -> None:
            progress.update(job, advance=1, description=f"{row.suite}: {row.attack}")

        mine = None if key is None else SigningKey.load(key)
        rows = asyncio.run(assault(address, chosen, bounds=Bounds(seconds, rounds, seed=seed), key=mine, observe=seen))
    failed = [row for row in rows if not row.passed]
    if as_json:
        typer.echo(json.dumps({"passed": not failed, "rows": [asdict(row) for row in rows]}))
    else:
        _scorecard(rows)
    raise typer.Exit(1 if failed else 0)


def _scorecard(rows: Sequence[Row]) -> None:
    grid = Grid("suite", "attack", "tried", "taken", "ignored", "refused", "weight", "accuracy", "", "", box=None)
    for row in rows:
        weight = "-" if row.weight is None else f"{row.weight:.2f}"
        accuracy = " to ".join("-" if value is None else f"{value:.2f}" for value in row.accuracy)
        refused = ", ".join(f"{reason} {count}" for reason, count in row.refused.items()) or "-"
        mark = "[green]pass[/]" if row.passed else "[red]FAIL[/]"
        counts = [str(value) for value in (row.tried, row.taken, row.ignored)]
        grid.add_row(row.suite, row.attack, *counts, refused, weight, accuracy, mark, row.note)
    _out.print(grid)


def _progress(left: ProgressColumn | None = None) -> Progress:
    """A bar on standard error: what, how far, elapsed and remaining time (`left`, or what rich makes of the pace)."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        left or TimeRemainingColumn(),
        console=_log,
        transient=True,
    )


@app.command()
def matrix(
    plan: Annotated[str, typer.Argument(help="smoke, core, full, or a TOML file.")] = "smoke",
    out: Annotated[
        Path | None, typer.Option(help="Folder for records and page; finished cells found there are kept.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; absent = all cores.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> None:
    """Run rules x attacks x data splits x graphs x seeds, and show who withstands what on one page."""
    from simulator.matrix import run_matrix

    folder = out or Path("runs") / f"matrix-{Path(plan).stem}"
    try:
        with _progress() as bar:
            job = bar.add_task("matrix", total=1.0)

            def show(now: MatrixProgress) -> None:
                left = "" if now.remaining is None else f", {now.remaining / 60:.0f} min left"
                bar.update(job, completed=now.share, description=f"{now.done}/{now.cells} cells{left}: {now.what}")

            report = run_matrix(plan, folder, workers, show)
    except KeyboardInterrupt:
        _log.print(f"Stopped. Finished cells are in {folder}; go on with the same command and --out {folder}")
        raise typer.Exit(130) from None
    page = report.write(folder)
    if as_json:
        typer.echo(json.dumps(report.numbers()))
    _log.print(f"Records and page: {page}", soft_wrap=True)


@app.command()
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
    with _progress() as progress:
        job = progress.add_task("epochs", total=epochs)
        extractor = train_extractor(
            data,
            classes,
            epochs=epochs,
            seed=seed,
            progress=lambda done, accuracy: progress.update(
                job, completed=done, description=f"accuracy {accuracy:.3f} on the classes it trains"
            ),
        )
    save_extractor(extractor, out)
    _out.print(f"{out}: {extractor.features} features, digest {extractor.digest.hex()}", soft_wrap=True)
    _out.print(f'use it    [task] extractor = "{out}" in node.toml, with a task called ...-head', soft_wrap=True)


def _list(rows: Mapping[str, Any]) -> None:
    """One line each: name, what it is, source."""
    width = max(map(len, rows))
    for name, spec in rows.items():
        typer.echo(f"{name:{width}}  {spec.summary} [{spec.source}]")


@app.command()
def rules() -> None:
    """List the aggregation rules, each with its source."""
    from aggregation.rules import RULES

    _list(RULES)


@app.command()
def attacks() -> None:
    """List the attacks, each with its source."""
    from simulator.attacks.registry import ATTACKS

    _list(ATTACKS)


@app.command()
def tasks() -> None:
    """List the tasks, each with the source of its data."""
    from node.learning.tasks import TASKS

    _list(TASKS)


@app.command()
def topologies() -> None:
    """List the graphs between honest nodes, each with its source."""
    from simulator.topology import TOPOLOGIES

    _list(TOPOLOGIES)


def main() -> None:
    """Entry point of the `hedgerow` command: faults become one sentence and an exit code."""
    try:
        app()
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        _log.print(f"hedgerow: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(code)


def _exit_code(error: Exception) -> int | None:
    """2 for what the user typed or wrote, 1 for what the machine refused, None for a bug."""
    from aggregation.compose import RuleError
    from gossip.errors import LocalFault
    from identity.errors import IdentityError
    from node.errors import ConfigError, NodeError
    from node.learning.errors import TaskError
    from node.names import UnknownName
    from simulator.matrix_plan import MatrixError
    from simulator.scenario import ScenarioError
    from simulator.sweep import PoolError
    from simulator.topology import TopologyError

    if isinstance(
        error, ConfigError | MatrixError | RuleError | ScenarioError | TaskError | TopologyError | UnknownName
    ):
        return 2
    if isinstance(error, PoolError | IdentityError | LocalFault | NodeError | OSError):
        return 1
    return None


if __name__ == "__main__":
    main()
