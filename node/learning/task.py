"""The user's object: a model, data, and how to train. Nothing about networks or simulation is in it.

Laws:
- A task is checked when it is made: what would fail in round 1 on node 7 fails here, with a sentence that says what to
  change.
- Parameters with requires_grad are exchanged; frozen ones are pinned by digest in the schema; buffers stay local.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from node.learning.blueprint import output_layer, redraw, trainable
from node.learning.dataset import Array, Dataset
from node.learning.errors import TaskError
from node.learning.optimizers import Adam, Optimizer, Sgd
from node.learning.seeded import seeded

Loss = Callable[[Tensor, Tensor], Tensor]
LocalUpdate = Literal["plain", "cwr"]

MAX_HELD_OUT = 0.9


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Task:
    """What is learned. `dataclasses.replace` works on it.

    Attributes:
        model: module (inputs (b, *shape) -> logits (b, classes)), or a function without arguments that makes one.
        train: training data; nodes get rows of it.
        test: data that accuracy is measured on; never trained on.
        name: for records and pages.
        loss: (logits (b, c), labels (b,)) -> scalar, a mean over the batch; None is cross-entropy.
        optimizer: Sgd or Adam.
        batch_size: samples a step; the last, shorter batch of an epoch is kept.
        local_epochs: passes over the own training samples a round.
        local_steps: steps a round instead of epochs, or None.
        held_out: share of each class of a node's samples that is set aside to judge models with; 0 to .9.
        familiar: held-out samples that a class needs to count as familiar.
        head: name of the output layer (an nn.Linear), or None: the last nn.Linear with as many outputs as classes.
        local_update: "plain", or "cwr": of the head only the columns of own classes are kept from training.
        pretrained: a module's own weights are the initial model. Otherwise its trainable layers are drawn afresh from
            the network's seed, so that every node starts from the same model. (A function that makes the module is
            called under that seed instead.)
        extractor_digest: digest of the frozen module that made the inputs, pinned in the schema, or None.
        classes: outputs of the model.
    """

    model: nn.Module | Callable[[], nn.Module]
    train: Dataset
    test: Dataset
    name: str
    loss: Loss | None
    optimizer: Optimizer
    batch_size: int
    local_epochs: int
    local_steps: int | None
    held_out: float
    familiar: int
    head: str | None
    local_update: LocalUpdate
    pretrained: bool
    extractor_digest: bytes | None
    classes: int = field(init=False)

    def __init__(
        self,
        model: nn.Module | Callable[[], nn.Module],
        train: Dataset | tuple[Array, Array],
        test: Dataset | tuple[Array, Array],
        *,
        name: str = "custom",
        loss: Loss | None = None,
        optimizer: Optimizer = Sgd(lr=0.1),
        batch_size: int = 32,
        local_epochs: int = 1,
        local_steps: int | None = None,
        held_out: float = 0.2,
        familiar: int = 10,
        head: str | None = None,
        local_update: LocalUpdate = "plain",
        pretrained: bool = False,
        extractor_digest: bytes | None = None,
    ) -> None:
        """Check everything and keep it.

        Raises:
            TaskError: with a sentence that says what to change.
        """
        values: dict[str, object] = {
            "model": model,
            "train": _dataset(train, "train"),
            "test": _dataset(test, "test"),
            "name": name,
            "loss": loss,
            "optimizer": optimizer,
            "batch_size": batch_size,
            "local_epochs": local_epochs,
            "local_steps": local_steps,
            "held_out": held_out,
            "familiar": familiar,
            "head": head,
            "local_update": local_update,
            "pretrained": pretrained,
            "extractor_digest": extractor_digest,
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)
        self._check_settings()
        object.__setattr__(self, "classes", self._check_model())

    def build(self, seed: int = 0) -> nn.Module:
        """A fresh module with the initial weights of this seed; torch's global generator is left alone."""
        with seeded(seed):
            if not isinstance(self.model, nn.Module):
                return self.model()
            module = copy.deepcopy(self.model)
            if not self.pretrained:
                redraw(module)
            return module

    def mean_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The task's loss of (b, c) logits and (b,) labels: a scalar."""
        return nn.functional.cross_entropy(logits, labels) if self.loss is None else self.loss(logits, labels)

    def _check_settings(self) -> None:
        if not isinstance(self.optimizer, Sgd | Adam):
            raise TaskError(f"optimizer is a {type(self.optimizer).__name__}; wanted Sgd(...) or Adam(...)")
        for key, least in (("batch_size", 1), ("local_epochs", 1), ("local_steps", 1), ("familiar", 1)):
            value = getattr(self, key)
            if key == "local_steps" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise TaskError(f"{key} is {value!r}; wanted a whole number, at least {least}")
        if not 0 <= self.held_out <= MAX_HELD_OUT:
            raise TaskError(f"held_out is {self.held_out}; wanted a share from 0 to {MAX_HELD_OUT}")
        if self.local_update not in ("plain", "cwr"):
            raise TaskError(f"local_update is '{self.local_update}'; wanted 'plain' or 'cwr'")
        if self.train.shape != self.test.shape or self.train.inputs.dtype != self.test.inputs.dtype:
            raise TaskError(
                f"train inputs are {self.train.inputs.dtype} of shape {self.train.shape}, test inputs "
                f"{self.test.inputs.dtype} of shape {self.test.shape}: they must be alike"
            )

    def _check_model(self) -> int:
        if not isinstance(self.model, nn.Module) and not callable(self.model):
            raise TaskError("model is neither a torch module nor a function that makes one")
        module = self.build()
        if not isinstance(module, nn.Module):
            raise TaskError(f"the model function returned a {type(module).__name__}; wanted a torch module")
        named = list(trainable(module))
        if not named:
            raise TaskError("the model has no trainable parameters (requires_grad), so there is nothing to exchange")
        for name, value in named:
            if value.dtype != torch.float32:
                raise TaskError(f"parameter '{name}' is {value.dtype}; wanted float32 (call .float() on the model)")
        logits = _try(module.eval(), self.train.feed(slice(0, 2)))
        classes = int(logits.shape[1])
        most = max(self.train.classes, self.test.classes)
        if classes < most:
            raise TaskError(
                f"labels go up to {most - 1} but the model has {classes} outputs; labels are numbered from 0, wanted "
                f"at least {most} outputs"
            )
        self._check_loss(logits)
        head = output_layer(module, classes, self.head)
        if self.local_update == "cwr" and head is None:
            raise TaskError("local_update 'cwr' needs a head: an nn.Linear with as many outputs as there are classes")
        return classes

    def _check_loss(self, logits: Tensor) -> None:
        try:
            loss = self.mean_loss(logits, self.train.labels[:2])
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise TaskError(f"the loss fails on logits {tuple(logits.shape)} and labels (n,): {error}") from error
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            raise TaskError("the loss must return one number (a scalar tensor): the mean over the batch")
        if not loss.requires_grad:
            raise TaskError("the loss does not depend on any trainable parameter")


def _dataset(values: Dataset | tuple[Array, Array], what: str) -> Dataset:
    if isinstance(values, Dataset):
        return values
    if not isinstance(values, tuple | list) or len(values) != 2:
        raise TaskError(f"{what} is neither a Dataset nor a pair (inputs, labels)")
    try:
        return Dataset(values[0], values[1])
    except TaskError as error:
        raise TaskError(f"{what}: {error}") from None


def _try(module: nn.Module, inputs: Tensor) -> Tensor:
    try:
        logits = module(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        whole = "; unless int64 inputs are token numbers, give float32 or uint8" if inputs.dtype == torch.int64 else ""
        raise TaskError(f"the model fails on inputs of shape {tuple(inputs.shape)}: {error}{whole}") from error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(inputs):
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise TaskError(f"the model gives {got} for {len(inputs)} inputs; wanted logits ({len(inputs)}, classes)")
    return logits
