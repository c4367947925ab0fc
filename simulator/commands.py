"""The commands about many nodes and about attackers: simulate, matrix, attack, and the lists of what there is.

Law: a command reads what was typed, calls one function, and shows what it returns. Heavy imports wait until then.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.progress import TextColumn
from rich.table import Table

from node.show.terminal import LOG, OUT, AsJson, clock, go_on, listing, progress, tell
from simulator.work.nursery import foresee, open_nursery

if TYPE_CHECKING:
    from simulator.live.scorecard import Row
    from simulator.matrix.run import Progress
    from simulator.study.scenario import Scenario
    from simulator.work.cells import Cell, Found, News


def simulate(
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
    partition: Annotated[str | None, typer.Option(help="Split: iid, dirichlet, classes, ring, shards.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Dirichlet concentration: small = skewed.")] = None,
    attack: Annotated[str | None, typer.Option(help="`hedgerow attacks`; NAME, A+B, or none.")] = None,
    sybils: Annotated[int | None, typer.Option(help="Identities of the adversary; wins over --phi.")] = None,
    phi: Annotated[float | None, typer.Option(help="Attack edges per honest node.")] = None,
    strangers: Annotated[int | None, typer.Option(help="Strangers with a say in a round; absent = all.")] = None,
    known: Annotated[float | None, typer.Option(help="Share of honest links on which both know each other.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed; repeatable.")] = None,
    engine: Annotated[
        str | None, typer.Option(help="auto, fast (arrays) or world (real services, virtual time).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for records and report; finished cells found there are kept.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes for independent cells.")] = None,
    ray: Annotated[str | None, typer.Option(help="Run cells on Ray: its address, or local.")] = None,
    device: Annotated[str, typer.Option(help="Where fast keeps models: cpu or cuda (never tried on a GPU).")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
    profile: Annotated[bool, typer.Option(help="Show where the time went, phase by phase.")] = False,
) -> None:
    """Simulate many nodes on this machine, some of them bad, and compare rules."""
    typed: dict[str, object] = {
        "task": task, "model": model, "data_dir": data_dir, "nodes": nodes, "rounds": rounds, "rules": rule or None,
        "topology": topology, "partition": partition, "alpha": alpha, "attack": attack, "sybils": sybils, "phi": phi,
        "strangers": strangers, "known": known, "seeds": seed or None, "engine": engine,
    }  # fmt: skip
    given = {key: value for key, value in typed.items() if value is not None}
    if sybils is not None and phi is None and scenario is not None:
        given["phi"] = None
    if ray is None and foresee(_raw(scenario) | given, workers):
        open_nursery()
    from simulator.study.scenario import Scenario as ScenarioClass

    base = ScenarioClass.load(scenario) if scenario is not None else ScenarioClass()
    if given and scenario is None:
        given["name"] = "simulation"
    _simulate(base.but(**given), out, workers, ray, device, as_json, profile)


def _raw(scenario: Path | None) -> dict[str, object]:
    """The keys of a scenario's file as they stand there; what is wrong with it comes out when it is read in earnest."""
    try:
        return {} if scenario is None else tomllib.loads(scenario.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _simulate(
    scenario: Scenario,
    out: Path | None,
    workers: int | None,
    ray: str | None,
    device: str,
    as_json: bool,
    profile: bool,
) -> None:
    from simulator.engines import check_device, choose_engine
    from simulator.work.cells import cells_of
    from simulator.work.pace import Pace
    from simulator.work.pool import CellLost
    from simulator.work.ray_pool import RayPool
    from simulator.work.sweep import sweep
    from simulator.work.timesheet import PHASES, Timesheet

    check_device(device, choose_engine(scenario).engine)
    folder = out or _unused(Path("runs"), scenario.name)
    pace, sheet = Pace(cells_of(scenario, device)), Timesheet()
    pool = None if ray is None else RayPool(ray, workers)
    try:
        with progress(TextColumn("{task.fields[left]}")) as bar:
            job = bar.add_task(scenario.name, total=pace.total, left=clock(None))

            def hear(cell: Cell, news: News | Found) -> None:
                known = len(sheet.engines)
                pace.hear(cell, news)
                sheet.hear(cell, news)
                for line in sheet.engines[known:]:
                    LOG.print(line, markup=False, soft_wrap=True)
                what = f"{cell.rule}, seed {cell.seed}"
                bar.update(job, completed=pace.done, description=what, left=clock(pace.remaining()))

            report = sweep(scenario, workers=workers, folder=folder, tell=hear, pool=pool, device=device)
    except (KeyboardInterrupt, CellLost) as stop:
        _halt(stop, f"{pace.finished} of {pace.cells} cells are finished and kept", folder)
    page = report.write(folder)
    sheet.write(folder)
    if as_json:
        typer.echo(json.dumps(report.numbers()))
    else:
        report.show(OUT)
    if profile:
        LOG.print(sheet.table())
        tell(PHASES)
    LOG.print(f"Records and page: {page}", markup=False, soft_wrap=True)


def _halt(stop: BaseException, kept: str, folder: Path) -> NoReturn:
    """End a command whose cells are not all finished: say what is kept, and how to go on."""
    rest = f"{kept}; go on with: {go_on(folder)}"
    if not isinstance(stop, KeyboardInterrupt):
        raise type(stop)(f"{stop}; {rest}") from stop
    tell(f"Stopped: {rest}")
    raise typer.Exit(130) from None


def _unused(folder: Path, name: str) -> Path:
    """The first of name-1, name-2, ... that does not exist in the folder."""
    return next(folder / f"{name}-{number}" for number in count(1) if not (folder / f"{name}-{number}").exists())


def attack(
    address: Annotated[str, typer.Argument(help="Folder of the node, or status address HOST:PORT.")],
    suite: Annotated[str, typer.Option(help="wire, model, sybil or all.")] = "all",
    seconds: Annotated[float, typer.Option(min=1, help="Longest duration of one attack.")] = 60.0,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of the node in which each attack acts; absent = 4 or 8.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of keys and draws; absent = fresh keys.")] = None,
    task: Annotated[str | None, typer.Option(help="The node's task, if it is your own: module:name.")] = None,
    model: Annotated[str | None, typer.Option(help="Model of that task, if it is not the task's own.")] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder of the data set.")] = None,
    key: Annotated[
        Path | None, typer.Option(help="Key file that a node on another machine has named in [network] attackable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> None:
    """Let adversarial peers loose on a live node (loopback only, unless it consents); exit 1 if it fails one."""
    import asyncio
    from dataclasses import asdict

    from hedgerow_registry import choose
    from identity.keys import SigningKey
    from node.learning.tasks import make_task
    from node.show.status import fetch_status
    from simulator.live.campaign import Bounds
    from simulator.live.harness import Step, assault
    from simulator.live.suites import SUITES

    chosen = choose("suite", suite, {"all": list(SUITES)} | {name: [name] for name in SUITES})
    mine = None if key is None else SigningKey.load(key)
    theirs = None
    if task or model or data_dir:
        theirs = make_task(task or str(fetch_status(address)["task"]), model, data_dir)
    rows: list[Row] = []
    stopped = False
    with progress(TextColumn("{task.fields[left]}")) as bar:
        job = bar.add_task("attacks", total=sum(len(SUITES[name]) for name in chosen), left="-:--")

        def where(step: Step) -> None:
            name = f"{step.suite}: {step.attack}"
            bar.update(job, completed=step.done + step.part, description=name, left=_clock(step.left))

        def seen(row: Row, left: float) -> None:
            rows.append(row)
            verdict = "pass" if row.passed else f"FAIL, {row.note}"
            done = f"{len(rows)} of {bar.tasks[job].total:.0f}, about {_clock(left)} left"
            LOG.print(f"{row.suite}: {_name(row)}: {verdict} ({done})", markup=False, soft_wrap=True)

        bounds = Bounds(seconds, rounds, seed=seed)
        try:
            asyncio.run(assault(address, chosen, task=theirs, bounds=bounds, key=mine, observe=seen, watch=where))
        except KeyboardInterrupt:
            stopped = True
    failed = [row for row in rows if not row.passed]
    if as_json:
        passed = not failed and not stopped
        typer.echo(json.dumps({"passed": passed, "stopped": stopped, "rows": [asdict(row) for row in rows]}))
    elif rows:
        _scorecard(rows)
    if stopped:
        LOG.print(f"Stopped after {len(rows)} attacks; the node forgets ours by itself", markup=False)
        raise typer.Exit(130)
    raise typer.Exit(1 if failed else 0)


def _name(row: Row) -> str:
    return f"{row.attack} x {row.sybils}" if row.sybils > 1 else row.attack


def _clock(seconds: float) -> str:
    return f"{round(seconds) // 60}:{round(seconds) % 60:02}"


def _scorecard(rows: Sequence[Row]) -> None:
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
        mark = "[green]pass[/]" if row.passed else "[red]FAIL[/]"
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
            style = None if row.passed else "red"
            OUT.print(f"{row.suite}: {_name(row)}: {said}", style=style, markup=False, soft_wrap=True)


def matrix(
    plan: Annotated[
        str, typer.Argument(help="smoke, withstands, strangers, defence, core, full, or a TOML file.")
    ] = "smoke",
    out: Annotated[
        Path | None, typer.Option(help="Folder for records and page; finished cells found there are kept.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; absent = all cores.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> None:
    """Run rules x attacks x data splits x graphs x seeds, and show who withstands what on one page."""
    if workers != 1:
        open_nursery()
    from simulator.matrix.run import run_matrix
    from simulator.work.pool import CellLost

    folder = out or Path("runs") / f"matrix-{Path(plan).stem}"
    try:
        kept = "none of its cells is finished"
        with progress(TextColumn("{task.fields[left]}")) as bar:
            job = bar.add_task("matrix", total=1.0, left=clock(None))

            def show(now: Progress) -> None:
                nonlocal kept
                kept = f"{now.done} of {now.cells} cells are finished and kept"
                what = f"{now.done} of {now.cells} cells: {now.what}"
                bar.update(job, completed=now.share, description=what, left=clock(now.remaining))

            report = run_matrix(plan, folder, workers, show)
    except (KeyboardInterrupt, CellLost) as stop:
        _halt(stop, kept, folder)
    page = report.write(folder)
    if as_json:
        typer.echo(json.dumps(report.numbers()))
    else:
        report.show(OUT)
    LOG.print(f"Records and page: {page}", markup=False, soft_wrap=True)


def rules(as_json: AsJson = False) -> None:
    """List the aggregation rules, each with its source."""
    from aggregation.registry import RULES

    listing(RULES, as_json)


def attacks(as_json: AsJson = False) -> None:
    """List the attacks, each with its source."""
    from simulator.attacks.registry import ATTACKS

    listing(ATTACKS, as_json)


def topologies(as_json: AsJson = False) -> None:
    """List the graphs between honest nodes, each with its source."""
    from simulator.study.registry import TOPOLOGIES

    listing(TOPOLOGIES, as_json)
