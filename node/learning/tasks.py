"""Tasks that come with the project, by name; and one door to every task, shipped or own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from node.learning.task import Task


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task that users can name.

    Attributes:
        name: as users write it.
        summary: one line.
        source: where the data comes from.
        build: (model name, data folder or file or None, extractor file or None) -> task.
    """

    name: str
    summary: str
    source: str
    build: Callable[[str, Path | None, Path | None], Task]


TASKS: Mapping[str, TaskSpec] = {}


def make_task(
    name: str,
    model: str | None = None,
    data_dir: str | Path | None = None,
    extractor: str | Path | None = None,
    *,
    lr: float | None = None,
    batch_size: int | None = None,
    local_epochs: int | None = None,
    local_steps: int | None = None,
) -> Task:
    """A shipped task by name ("fashion-mnist") or a user's own ("module:name"), with overrides.

    Raises:
        UnknownName: no such task or model; the message names the nearest one.
        TaskError: the data is missing or wrong.
    """
    raise NotImplementedError


def load_task(reference: str) -> Task:
    """The task that `module:name` stands for: a Task, or a function without arguments that makes one; the working folder is searched first.

    Raises:
        TaskReferenceError: no such module or name, or not a task.
    """
    raise NotImplementedError
