"""`hedgerow simulate`: many nodes on this machine, some of them bad, rule beside rule."""

from __future__ import annotations

import json
import shlex
import tomllib
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.show.offers import PARTITIONS, RULES, TASKS, registered, words
from node.show.options import AsJson, DataDir, Model, Task

if TYPE_CHECKING:
    from simulator.study.scenario import Scenario
    from simulator.work.cells import Cell, Found, News

ENGINES = ("auto", "fast", "world")
ATTACKS = registered("simulator.attacks.registry", "ATTACKS", joined_by="+")
TOPOLOGIES = registered("simulator.study.registry", "TOPOLOGIES")


def _above_zero(value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise typer.BadParameter(f"{value} is not above 0")
    return value


def simulate(
    scenario: Annotated[
        str | None,
        typer.Argument(help="Scenario file (TOML), or the name of a task. If absent, the demo.", autocompletion=TASKS),
    ] = None,
    task: Task = None,
    model: Model = None,
    data_dir: DataDir = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Number of honest nodes.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Number of rounds.")] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="Rule to try: see `hedgerow rules`. NAME or NAME(key=value). May be repeated.",
            autocompletion=RULES,
        ),
    ] = None,
    topology: Annotated[
        str | None,
        typer.Option(
            metavar="GRAPH",
            help="Graph between nodes: see `hedgerow topologies`. NAME or NAME(key=value).",
            autocompletion=TOPOLOGIES,
        ),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="How the data is split: iid, dirichlet, drawn, classes, ring or shards.",
            autocompletion=PARTITIONS,
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(callback=_above_zero, help="For dirichlet and drawn: small = each node has few classes."),
    ] = None,
    attack: Annotated[
        str | None,
        typer.Option(
            metavar="ATTACK",
            help="What the adversary does: see `hedgerow attacks`. One, several as A+B, or none.",
            autocompletion=ATTACKS,
        ),
    ] = None,
    sybils: Annotated[
        int | None, typer.Option(min=0, help="Number of identities of the adversary. It counts more than --phi.")
    ] = None,
    phi: Annotated[float | None, typer.Option(min=0, help="Links to the adversary, per honest node.")] = None,
    strangers: Annotated[
        int | None, typer.Option(min=0, help="Strangers that a node hears in a round. If absent, all.")
    ] = None,
    known: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of links between honest nodes that know each other.")
    ] = None,
    vouches: Annotated[
        str | None,
        typer.Option(
            metavar="WHO",
            help="Who tells whom it knows: off, low (Sybils: of whom they fooled), ring, clique or cells (each other).",
            autocompletion=words("off", "low", "ring", "clique"),
        ),
    ] = None,
    fooled: Annotated[
        float | None, typer.Option(help="Share of links to the adversary whose honest end names the Sybil, 0 to 1.")
    ] = None,
    far: Annotated[
        int | None, typer.Option(help="Peers known by vouches alone, no neighbours, that a node hears in a round.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(metavar="SEED", help="Seed of all draws. May be repeated.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="ENGINE",
            help="fast (arrays), world (real node services in virtual time), or auto.",
            autocompletion=words(*ENGINES),
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results. What is finished there is not run again.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Number of processes. If absent, what pays.")] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on Ray: its address, or local.", autocompletion=words("local")),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="Where the fast engine keeps models: cpu, or cuda (not tried on a GPU).",
            autocompletion=words("cpu", "cuda"),
        ),
    ] = "cpu",
    as_json: AsJson = False,
    profile: Annotated[bool, typer.Option(help="Show where the time went.")] = False,
) -> None:
    """Simulate many nodes here, and compare rules.

    Without any word it runs the demo: 20 honest nodes and 10 identities of one adversary.

    Example:
    hedgerow simulate
    hedgerow simulate digits --rule mean --rule hedgerow --attack label-flip
    hedgerow simulate my-scenario.toml --out results
    """
    typed: dict[str, object] = {
        "task": task, "model": model, "data_dir": None if data_dir is None else str(data_dir), "nodes": nodes,
        "rounds": rounds, "rules": rule or None, "topology": topology, "partition": partition, "alpha": alpha,
        "attack": attack, "sybils": sybils, "phi": phi, "strangers": strangers, "known": known,
        "vouches": vouches, "fooled": fooled, "far": far, "seeds": seed or None, "engine": engine,
    }  # fmt: skip
    given = {key: value for key, value in typed.items() if value is not None}
    from node.interrupts import meanwhile

    meanwhile("nothing was simulated yet, and nothing is kept")
    file = None if scenario is None or _names_a_task(scenario, given) else Path(scenario)
    if sybils is not None and phi is None and file is not None:
        given["phi"] = None

    from simulator.work.nursery import foresee, open_nursery

    if ray is None and foresee(_raw(file) | given, workers):
        open_nursery()
    _simulate(_chosen(file, given), out, workers, ray, device, as_json, profile)


def _chosen(path: Path | None, given: dict[str, object]) -> Scenario:
    """The scenario of a file or of the demo, with what was typed.

    Who names a task of their own is not shown the demo's attack.
    """
    from simulator.study.scenario import DEFAULT_ATTACK
    from simulator.study.scenario import Scenario as ScenarioClass

    if path is None:
        return ScenarioClass.of(given) if "task" in given else ScenarioClass.demo(**given)
    base = ScenarioClass.load(path)
    if base.attack is None and (given.get("sybils") or given.get("phi")):
        given = {"attack": DEFAULT_ATTACK} | given
    return base.but(**given)


def _names_a_task(word: str, given: dict[str, object]) -> bool:
    """Whether a task was named where a file may stand; it is then given as one.

    Raises:
        typer.BadParameter: it is neither, or a second task.
    """
    if Path(word).is_file() or Path(word).suffix == ".toml":
        return False
    from hedgerow_registry import UnknownName
    from node.learning.registry import TASKS as known

    if ":" not in word and word not in known:
        unknown = UnknownName("task", word, known)
        raise typer.BadParameter(f"there is no file {shlex.quote(word)}, and {unknown}", param_hint="SCENARIO")
    if given.get("task", word) != word:
        raise typer.BadParameter(f"two tasks: {word} and {given['task']}; leave one out", param_hint="--task")
    given["task"] = word
    return True


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
    from rich.progress import TextColumn

    from node.interrupts import raising
    from node.show.terminal import LOG, OUT, clock, halt, progress, tell
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
        with raising(), progress(TextColumn("{task.fields[left]}")) as bar:
            job = bar.add_task(scenario.name, total=pace.total, left=clock(None))

            def hear(cell: Cell, news: News | Found) -> None:
                known = len(sheet.engines)
                pace.hear(cell, news)
                sheet.hear(cell, news)
                for line in sheet.engines[known:]:
                    tell(line)
                what = f"{cell.rule}, seed {cell.seed}"
                bar.update(job, completed=pace.done, description=what, left=clock(pace.remaining()))

            report = sweep(scenario, workers=workers, folder=folder, tell=hear, pool=pool, device=device, warn=tell)
            page = report.write(folder)
            sheet.write(folder)
    except (KeyboardInterrupt, CellLost) as stop:
        halt(stop, f"{pace.finished} of {pace.cells} cells are finished and kept", folder)
    if as_json:
        typer.echo(json.dumps(report.numbers()))
    else:
        report.show(OUT)
    if profile:
        LOG.print(sheet.table())
        tell(PHASES)
    tell(f"Records and page: {page}")


def _unused(folder: Path, name: str) -> Path:
    """The first of name-1, name-2, ... that does not exist in the folder."""
    return next(folder / f"{name}-{number}" for number in count(1) if not (folder / f"{name}-{number}").exists())
