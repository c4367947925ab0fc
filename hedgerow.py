"""hedgerow: a learning node without a server. The `hedgerow` command, and the names that users import.

    import hedgerow
    task = hedgerow.Task(model, train=(x, y), test=(x_test, y_test))
    print(hedgerow.simulate(task, nodes=20, rules=["mean", "hedgerow"]))   # many nodes here
    hedgerow.run(task, join=["10.0.0.7:7700"])                             # one node, with others

Laws:
- An import of this module imports nothing heavy and nothing that can fail: public names are imported when first used.
- The command line is in simulator.cli: its table, and how a command is imported when it is typed.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

try:
    for _name in ("identity.errors", "gossip.protocol", "aggregation.rules", "node.commands", "simulator.commands"):
        importlib.import_module(_name)  # light ones: whether they are ours
except ImportError as error:
    from importlib.util import find_spec
    from pathlib import Path

    for _name in ("identity", "gossip", "aggregation", "node", "simulator"):
        _found = find_spec(_name)
        _where = "" if _found is None or _found.origin is None else _found.origin
        if _where and Path(_where).parent != Path(__file__).parent / _name:
            raise ImportError(
                f"{_where} stands in the way of hedgerow's package '{_name}': rename it, or run from another folder"
            ) from error
    raise

if TYPE_CHECKING:
    from aggregation.evidence import Decision, Evidence, Rule, Verdict, Weights
    from node.learning.dataset import Dataset
    from node.learning.errors import TaskWarning
    from node.learning.optimizers import Adam, Sgd
    from node.learning.task import Task
    from node.run import Outcome
    from simulator.attacks.attack import Attack
    from simulator.show.report import Report
    from simulator.study.scenario import Scenario

__version__ = "0.1.0"
__all__ = [
    "Adam",
    "Attack",
    "Dataset",
    "Decision",
    "Evidence",
    "Report",
    "Rule",
    "Scenario",
    "Sgd",
    "Task",
    "TaskWarning",
    "Verdict",
    "Weights",
    "arun",
    "run",
    "simulate",
]

_PUBLIC = {
    "Rule": "aggregation.evidence",
    "Weights": "aggregation.evidence",
    "Decision": "aggregation.evidence",
    "Evidence": "aggregation.evidence",
    "Verdict": "aggregation.evidence",
    "Attack": "simulator.attacks.attack",
    "Task": "node.learning.task",
    "TaskWarning": "node.learning.errors",
    "Dataset": "node.learning.dataset",
    "Sgd": "node.learning.optimizers",
    "Adam": "node.learning.optimizers",
    "Scenario": "simulator.study.scenario",
    "Report": "simulator.show.report",
}


def __getattr__(name: str) -> object:
    """Public classes, imported when first named."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'hedgerow' has no attribute '{name}'")


def simulate(task: Task | str | None = None, **scenario: Any) -> Report:
    """Simulate many nodes on this machine.

    Args:
        task: a `Task`, or the name of one that is shipped; absent = digits.
        scenario: fields of `Scenario` (nodes, rounds, rules, topology, alpha, attack, sybils, phi, seeds, engine, ...).
            Nobody attacks unless `attack`, `sybils` or `phi` says so.

    Returns:
        A report: print it, or ask for `.numbers()` or `.write(folder)`.

    Raises:
        simulator.study.scenario.ScenarioError: a field that does not exist or does not fit; one sentence.
        node.learning.errors.UsersError: code of the task's fails on the way; file, line and function, and where the
            whole traceback is.
    """
    from node.aside import Aside, in_a_loop
    from node.learning.task import Task as TaskClass
    from node.show.terminal import tell
    from simulator.study.scenario import Scenario as ScenarioClass
    from simulator.work.sweep import sweep

    own = task if isinstance(task, TaskClass) else None
    named = {} if task is None else {"task": task.name if isinstance(task, TaskClass) else task}
    chosen = ScenarioClass.of({**scenario, **named})
    if in_a_loop():  # a notebook: the engine that runs real nodes has a loop of its own
        return Aside(lambda: sweep(chosen, task=own, warn=tell), "simulate").wait()
    return sweep(chosen, task=own, warn=tell)


def run(task: Task | str = "digits", join: Sequence[str] | str = (), **options: Any) -> Outcome:
    """Run one node until it is stopped (SIGTERM, Ctrl-C) or `rounds` are done. Works in a notebook's cell too.

    Args:
        task: a `Task`, or the name of one that is shipped.
        join: addresses of nodes that are in the network already, "HOST:PORT"; or one such address.
        options: `listen`, `network`, `folder`, `rule`, `rounds`, `part`, `parts`, ...; see node.daemon.run_task.

    Returns:
        How it ended: peer id, next round, accuracy, params.

    Raises:
        node.errors.NodeError: one sentence that says what to do.
    """
    from node.daemon import run_task
    from node.learning.tasks import make_task

    return run_task(make_task(task) if isinstance(task, str) else task, join=join, **options)


async def arun(task: Task | str = "digits", join: Sequence[str] | str = (), **options: Any) -> Outcome:
    """`run` for async programs: `await hedgerow.arun(...)`; cancelled, it stops the node and waits for its goodbye.

    Raises:
        node.errors.NodeError: one sentence that says what to do.
    """
    from node.daemon import arun_task
    from node.learning.tasks import make_task

    return await arun_task(make_task(task) if isinstance(task, str) else task, join=join, **options)


def main() -> None:
    """Entry point of the `hedgerow` command. Ctrl-C is heard before anything heavy is imported."""
    from node.interrupts import end_at_once

    end_at_once()
    from simulator.cli import main as command

    command()


if __name__ == "__main__":
    main()
