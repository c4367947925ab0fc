"""Tasks that come with the project, by name; and one door to every task, shipped or own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from filelock import FileLock
from torch import nn

from node.learning import sources
from node.learning.dataset import Dataset
from node.learning.errors import TaskError
from node.learning.optimizers import Adam, Sgd
from node.learning.pretraining import Extractor, head_task, load_extractor, pretrain, save_extractor
from node.learning.registry import MODELS, TASKS, TaskSpec
from node.learning.task import Task

HEAD = "head"  # the one model of tasks on a frozen extractor


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

    Args:
        name: one of TASKS, or a reference with a colon.
        model: one of MODELS; None: the task's own.
        data_dir: folder or file of the data; None: the known places.
        extractor: file of `hedgerow pretrain`, for tasks on a frozen extractor; None: made once and kept in the cache.
        lr: step length instead of the task's own; likewise the three that follow.
        batch_size: samples a step.
        local_epochs: passes a round; undoes the task's own local_steps.
        local_steps: steps a round.

    Raises:
        UnknownName: no such task or model; the message names the nearest one.
        BadReference: a `module:name` that leads nowhere, or to what is no task.
        TaskError: the data is missing or wrong, or an option that this task does not take.
    """
    given = [key for key, value in (("model", model), ("data_dir", data_dir), ("extractor", extractor)) if value]
    if given and (":" in name or not TASKS.find(name).model):
        raise TaskError(f"task '{name}' brings its own model and data; leave out {', '.join(given)}")
    spec = TASKS.find(name)
    task = _shipped(spec, model, data_dir, extractor) if spec.model else spec.build("", None, None)
    if lr is not None:
        task = replace(task, optimizer=replace(task.optimizer, lr=lr))
    if batch_size is not None:
        task = replace(task, batch_size=batch_size)
    if local_epochs is not None:
        task = replace(task, local_epochs=local_epochs, local_steps=None)
    if local_steps is not None:
        task = replace(task, local_steps=local_steps)
    return task


def pretraining_data(name: str, data_dir: str | Path | None = None) -> tuple[Dataset, tuple[int, ...]]:
    """What the extractor of a task ("fashion-mnist" or "fashion-mnist-head") is trained on.

    Returns:
        The first half of the training data, and its even classes.

    Raises:
        UnknownName: no such task.
        TaskError: the data is missing or wrong.
    """
    base = TASKS.find(name.removesuffix("-head"))
    task = base.build(base.model, _path(base, data_dir), None)
    half = task.train.take(torch.arange(len(task.train) // 2))
    return half, tuple(range(0, task.classes, 2))


def _shipped(spec: TaskSpec, model: str | None, data_dir: str | Path | None, extractor: str | Path | None) -> Task:
    on_extractor = spec.model == HEAD
    if extractor is not None and not on_extractor:
        raise TaskError(f"task '{spec.name}' has no extractor; the tasks that do are called ...-head")
    if on_extractor and model not in (None, HEAD):
        raise TaskError(f"task '{spec.name}' has one model, '{HEAD}'; it was given '{model}'")
    return spec.build(model or spec.model, _path(spec, data_dir), Path(extractor) if extractor else None)


def _path(spec: TaskSpec, data_dir: str | Path | None) -> Path | None:
    if data_dir is None and spec.needs_data:
        raise TaskError(f"task '{spec.name}' needs data_dir: {TASKS.entries[spec.name].source}")
    return None if data_dir is None else Path(data_dir).expanduser()


def _task(name: str, model: str, split: sources.Split) -> Task:
    train, test = split
    spec = MODELS.find(model)
    build: Callable[[], nn.Module] = partial(spec.build, train.shape, max(train.classes, test.classes))
    return Task(build, train, test, name=name, optimizer=Sgd(lr=0.1), batch_size=32, local_epochs=2)


def _digits(model: str, data_dir: Path | None, _: Path | None) -> Task:
    if data_dir is not None:
        raise TaskError("task 'digits' comes with scikit-learn and takes no data_dir")
    # A share of 60 to 70 samples: three held-out ones a class are all that can be asked for.
    return replace(_task("digits", model, sources.digits()), held_out=0.25, familiar=3)


def _fashion(model: str, data_dir: Path | None, _: Path | None) -> Task:
    return _task("fashion-mnist", model, sources.fashion_mnist(data_dir))


def _idx(model: str, data_dir: Path | None, _: Path | None) -> Task:
    assert data_dir is not None
    return _task("idx", model, sources.idx_folder(data_dir))


def _npz(model: str, data_dir: Path | None, _: Path | None) -> Task:
    assert data_dir is not None
    return _task("npz", model, sources.npz(data_dir))


def _head(base: str, _: str, data_dir: Path | None, extractor: Path | None) -> Task:
    """A head on a frozen extractor, trained on the half of the data that the extractor has not seen.

    Source: settings of the published runs of arXiv 2110.11006: one Adam step a round, 1e-3, L2 5e-3, batch 5, CWR*; the
    optimizer's moments live through all rounds (without them training alone ends 6 points lower).
    """
    spec = TASKS[base]
    whole = spec.build(spec.model, data_dir, None)
    rows = torch.arange(len(whole.train))
    half = len(rows) // 2
    frozen = load_extractor(extractor) if extractor is not None else _cached(base, whole, half)
    settings = replace(
        whole,
        train=whole.train.take(rows[half:]),
        optimizer=Adam(lr=1e-3, weight_decay=5e-3, keep_state=True),
        batch_size=5,
        local_epochs=1,
        local_steps=1,
        held_out=1 / 3,
    )
    return replace(head_task(settings, frozen, f"{base}-head"), local_update="cwr")


def _cached(base: str, whole: Task, half: int) -> Extractor:
    """The extractor of seed 0, made on first use. Nodes on several machines share one file instead: bits may differ."""
    folder = sources.cache_folder() / "extractors"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{base}-{len(whole.train)}.safetensors"
    with FileLock(f"{path}.lock"):
        if not path.is_file():
            related = whole.train.take(torch.arange(half))
            save_extractor(pretrain(related, range(0, whole.classes, 2)), path)
        return load_extractor(path)


DIGITS = TaskSpec("digits", "softmax", _digits, needs_data=False)
FASHION_MNIST = TaskSpec("fashion-mnist", "softmax", _fashion, needs_data=False)
IDX = TaskSpec("idx", "softmax", _idx, needs_data=True)
NPZ = TaskSpec("npz", "softmax", _npz, needs_data=True)
DIGITS_HEAD = TaskSpec("digits-head", HEAD, partial(_head, "digits"), needs_data=False)
FASHION_MNIST_HEAD = TaskSpec("fashion-mnist-head", HEAD, partial(_head, "fashion-mnist"), needs_data=False)
