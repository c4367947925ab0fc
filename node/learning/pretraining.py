"""Transfer learning: a frozen extractor, trained once on related data, that turns inputs into features.

Every node of a network uses the same extractor, pinned by its digest in the schema; whoever made it is trusted. Only
the head on it is trained and exchanged. Features are computed once, when a task is made.

Source: the extractor of Verbraeken, de Vos, Pouwelse, "Bristle", arXiv 2110.11006 (2021): conv5x5-10, pool,
conv5x5-50, pool, LeakyReLU; 800 features of a 28x28 image. Differs: features are scaled to unit root mean square;
images below 16x16 get 3x3 convolutions with padding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from node.learning.blueprint import pin
from node.learning.dataset import Dataset
from node.learning.errors import DataError, DataMissing, TaskError
from node.learning.learner import Learner
from node.learning.optimizers import Adam
from node.learning.task import Task

FORMAT = "hedgerow-extractor-1"
EPOCHS, BATCH, LR = 6, 100, 1e-3
SMALL = 16  # images with fewer rows or columns get the small convolutions
_CHUNK = 500  # images at a time


@dataclass(frozen=True, slots=True, eq=False)
class Extractor:
    """A frozen module from inputs (b, *shape) to features (b, features).

    Attributes:
        module: in evaluation mode, nothing trainable.
        shape: of one input.
        features: of one output.
        digest: SHA-256 over names, shapes and bytes of its parameters.
    """

    module: nn.Module
    shape: tuple[int, ...]
    features: int
    digest: bytes

    def apply(self, data: Dataset) -> Dataset:
        """The data set with features (S, features) float32 as inputs.

        Raises:
            TaskError: inputs of another shape.
        """
        if data.shape != self.shape:
            raise TaskError(f"the extractor was made for inputs of shape {self.shape}; these have {data.shape}")
        out = torch.empty(len(data), self.features)
        with torch.no_grad():
            for start in range(0, len(data), _CHUNK):
                rows = slice(start, start + _CHUNK)
                out[rows] = self.module(data.feed(rows))
        return Dataset(out, data.labels)


def pretrain(
    data: Dataset,
    classes: Sequence[int],
    *,
    epochs: int = EPOCHS,
    batch_size: int = BATCH,
    lr: float = LR,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> Extractor:
    """Train an extractor to tell some classes apart, then freeze it.

    Args:
        data: images (channels, rows, columns).
        classes: the ones to train on; the network that uses the extractor may learn others.
        epochs: passes over them, with Adam.
        batch_size: samples a step.
        lr: step length.
        seed: of initial weights and batch order.
        progress: called after each epoch with its number from 1 and the accuracy on the training data.

    Raises:
        TaskError: fewer than two of these classes occur, or inputs are not images.
    """
    wanted = sorted({int(label) for label in classes} & {int(label) for label in torch.unique(data.labels)})
    if len(wanted) < 2:
        raise TaskError(f"pretraining needs at least two classes that occur in the data; got {wanted}")
    rows = torch.isin(data.labels, torch.tensor(wanted)).nonzero()[:, 0]
    labels = torch.searchsorted(torch.tensor(wanted), data.labels[rows])
    related = Dataset(data.inputs[rows], labels)

    def build() -> nn.Module:
        body = _body(data.shape)
        return nn.Sequential(body, nn.Linear(_features(data.shape), len(wanted), bias=False))

    task = Task(
        build,
        related,
        related,
        name="pretraining",
        optimizer=Adam(lr=lr, keep_state=True),
        batch_size=batch_size,
    )
    learner = Learner(task)
    params, state = learner.initial(seed), None
    every = torch.arange(len(related))
    for epoch in range(epochs):
        params, state = learner.train(params, related, every, seed, 0, epoch, state)
        if progress is not None:
            progress(epoch + 1, float(learner.accuracy(params, related)))
    body = _body(data.shape)
    named = learner.layout.read(params)
    with torch.no_grad():
        for name, value in body.named_parameters():
            if f"0.{name}" in named:
                value.copy_(named[f"0.{name}"])
    raw = _frozen(body, data.shape)
    some = raw.apply(related.take(torch.arange(len(related))[:: max(1, len(related) // 2000)])).inputs
    with torch.no_grad():
        body.get_parameter("scale.value").copy_(1 / some.square().mean().sqrt().clamp(min=1e-6))
    return _frozen(body, data.shape)


def save_extractor(extractor: Extractor, path: Path) -> None:
    """Write an extractor as safetensors: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    tensors = {name: value.detach().contiguous() for name, value in extractor.module.named_parameters()}
    shape = ",".join(str(size) for size in extractor.shape)
    save_file(tensors, temporary, {"format": FORMAT, "shape": shape, "digest": extractor.digest.hex()})
    os.replace(temporary, path)


def load_extractor(path: Path, digest: bytes | None = None) -> Extractor:
    """Read an extractor and check it.

    Args:
        path: a file of `save_extractor`.
        digest: the one wanted; None takes any that is whole.

    Raises:
        DataMissing: no such file.
        DataError: not an extractor, damaged, or not the one wanted.
    """
    if not path.is_file():
        raise DataMissing(f"{path}: no such extractor; make one with: hedgerow pretrain")
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a safetensors file: {error}") from error
    sizes = notes.get("shape", "").split(",")
    if notes.get("format") != FORMAT or not all(size.isdecimal() and 0 < int(size) < 4096 for size in sizes):
        raise DataError(f"{path}: a safetensors file, but not an extractor made by hedgerow pretrain")
    shape = tuple(int(size) for size in sizes)
    body = _body(shape)
    wanted = {name: tuple(value.shape) for name, value in body.named_parameters()}
    if {name: tuple(value.shape) for name, value in tensors.items()} != wanted:
        raise DataError(f"{path}: its tensors are not those of an extractor for inputs of shape {shape}")
    with torch.no_grad():
        for name, value in body.named_parameters():
            value.copy_(tensors[name])
    extractor = _frozen(body, shape)
    if extractor.digest.hex() != notes.get("digest"):
        raise DataError(f"{path}: damaged: its digest is not the one written in it")
    if digest is not None and extractor.digest != digest:
        raise DataError(f"{path}: its digest is {extractor.digest.hex()[:16]}..., wanted {digest.hex()[:16]}...")
    return extractor


def head_task(task: Task, extractor: Extractor, name: str) -> Task:
    """The task of learning a head on the extractor's features: (features, classes), no bias, zero start.

    Only model and inputs change; the settings of the published runs are those of the tasks called ...-head.
    """

    def head() -> nn.Module:
        layer = nn.Linear(extractor.features, task.classes, bias=False)
        nn.init.zeros_(layer.weight)
        return layer

    return replace(
        task,
        model=head,
        train=extractor.apply(task.train),
        test=extractor.apply(task.test),
        name=name,
        head="",
        extractor_digest=extractor.digest,
    )


class _Scale(nn.Module):
    """Multiplies by one frozen number."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.value


def _body(shape: tuple[int, ...]) -> nn.Module:
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise TaskError(f"an extractor needs images (channels, rows, columns) of at least 4x4; these are {shape}")
    kernel, padding = (3, 1) if min(shape[1:]) < SMALL else (5, 0)
    body = nn.Sequential()
    for name, layer in (
        ("first", nn.Conv2d(shape[0], 10, kernel, padding=padding)),
        ("pool1", nn.MaxPool2d(2)),
        ("second", nn.Conv2d(10, 50, kernel, padding=padding)),
        ("pool2", nn.MaxPool2d(2)),
        ("bend", nn.LeakyReLU()),
        ("flat", nn.Flatten()),
        ("scale", _Scale()),
    ):
        body.add_module(name, layer)
    return body


def _features(shape: tuple[int, ...]) -> int:
    if min(shape[1:]) < SMALL:
        return 50 * prod(size // 4 for size in shape[1:])
    return 50 * prod(((size - 4) // 2 - 4) // 2 for size in shape[1:])


def _frozen(body: nn.Module, shape: tuple[int, ...]) -> Extractor:
    body = body.eval().requires_grad_(False)
    return Extractor(body, shape, _features(shape), pin(body, None))
