"""The user's object: a model, data, and how to train. Nothing about networks or simulation is in it.

Laws:
- A task is tried when it is made (`node.learning.trial`): what would fail in round 1 on node 7 fails here, with a
  sentence that says what to change.
- Parameters with requires_grad are exchanged; frozen ones are pinned by digest in the schema, and so are buffers that
  training does not change. Buffers that it changes (running statistics) stay with their node.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from gossip.protocol.limits import Limits
from node.learning.blame import users_code, warn
from node.learning.blueprint import output_layer, redraw, trainable
from node.learning.counts import count
from node.learning.dataset import Array, Dataset
from node.learning.errors import TaskError
from node.learning.optimizers import Adam, Optimizer, Sgd
from node.learning.origin import Fresh, check_function, check_module, shared
from node.learning.seeded import seeded
from node.learning.trial import Findings, one_thread, try_out

Loss = Callable[[Tensor, Tensor], Tensor]
LocalUpdate = Literal["plain", "cwr"]

MAX_HELD_OUT = 0.9
MAX_CLASSES = 8 * Limits().class_mask  # a header names the classes that a node trains, a bit each


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Task:
    """What is learned. `dataclasses.replace` works on it.

    A model that cannot be trained on one sample alone (BatchNorm) never is: where the last batch of an epoch would be
    of one sample, that batch is left out, and the sample, another one in each epoch, waits for the next; a node with
    one training sample in all does not train. Models that can take one sample are fed all of them.

    Attributes:
        model: module (inputs (b, *shape) -> logits (b, classes)), or a function without arguments that makes one. A
            function that hands out the same trainable tensors again and again counts as the module that it returns.
        train: training data; nodes get rows of it.
        test: data that accuracy is measured on; never trained on.
        name: for records and pages.
        loss: (logits (b, c), labels (b,)) -> scalar, a mean over the batch; None is cross-entropy.
        optimizer: Sgd or Adam.
        batch_size: samples a step; the last, shorter batch of an epoch is kept (but see above).
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
        classes: outputs of the model, at most 2048: more do not fit into the header of an update.
        takes_one: whether the model can be trained on one sample alone.
        running: names of the buffers that training changes.
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
    takes_one: bool = field(init=False)
    running: frozenset[str] = field(init=False)

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
        """Check everything, try a training step, and keep it.

        Raises:
            TaskError: with a sentence that says what to change; an error of the user's code with its file and line.
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
        with one_thread():
            found = self._check_model()
        for key in ("classes", "takes_one", "running"):
            object.__setattr__(self, key, getattr(found, key))

    def __repr__(self) -> str:
        """One line, without data."""
        name = getattr(self.model, "__name__", type(self.model).__name__)
        return (
            f"Task('{self.name}', {name}: {self.train.shape} -> {self.classes} classes, {len(self.train)} training and "
            f"{len(self.test)} test samples, {self.optimizer}, batch_size={self.batch_size})"
        )

    def build(self, seed: int = 0) -> nn.Module:
        """A fresh module with the initial weights of this seed; torch's global generator is left alone.

        Raises:
            UsersError: the user's function or module fails.
        """
        with seeded(seed):
            if not isinstance(self.model, nn.Module):
                with users_code("the model function fails"):
                    return self.model()
            with users_code("the model cannot be copied", "; a function that makes the model need not be copied"):
                module = copy.deepcopy(self.model)
            if not self.pretrained:
                with users_code("the model's layers cannot be drawn afresh"):
                    redraw(module)
            return module

    def mean_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The task's loss of (b, c) logits and (b,) labels: a scalar."""
        return nn.functional.cross_entropy(logits, labels) if self.loss is None else self.loss(logits, labels)

    def _check_settings(self) -> None:
        if not isinstance(self.optimizer, Sgd | Adam):
            raise TaskError(_not_an_optimizer(self.optimizer))
        for key in ("batch_size", "local_epochs", "local_steps", "familiar"):
            value = getattr(self, key)
            if key != "local_steps" or value is not None:
                object.__setattr__(self, key, count(key, value))
        if not 0 <= self.held_out <= MAX_HELD_OUT:
            raise TaskError(f"held_out is {self.held_out}; wanted a share from 0 to {MAX_HELD_OUT}")
        if self.local_update not in ("plain", "cwr"):
            raise TaskError(f"local_update is '{self.local_update}'; wanted 'plain' or 'cwr'")
        if self.train.shape != self.test.shape or self.train.inputs.dtype != self.test.inputs.dtype:
            raise TaskError(
                f"train inputs are {self.train.inputs.dtype} of shape {self.train.shape}, test inputs "
                f"{self.test.inputs.dtype} of shape {self.test.shape}: they must be alike"
            )

    def _check_model(self) -> Findings:
        if not isinstance(self.model, nn.Module) and not callable(self.model):
            raise TaskError("model is neither a torch module nor a function that makes one")
        module = self.build()
        if not isinstance(module, nn.Module):
            raise TaskError(f"the model function returned a {type(module).__name__}; wanted a torch module")
        for name, parameter in module.named_parameters():
            if isinstance(parameter, nn.parameter.UninitializedParameter):
                raise TaskError(
                    f"parameter '{name}' has no shape yet: give the layer its sizes instead of a lazy layer"
                )
        named = list(trainable(module))
        if not named:
            raise TaskError("the model has no trainable parameters (requires_grad), so there is nothing to exchange")
        for name, value in named:
            if value.dtype != torch.float32:
                raise TaskError(f"parameter '{name}' is {value.dtype}; wanted float32 (call .float() on the model)")
        module = self._check_origin(module)
        found = try_out(module, self.train, self.batch_size, self.mean_loss, self._is_cross_entropy())
        most = max(self.train.classes, self.test.classes)
        if found.classes < most:
            raise TaskError(
                f"labels go up to {most - 1} but the model has {found.classes} outputs; labels are numbered from 0, "
                f"wanted at least {most} outputs"
            )
        if found.classes > MAX_CLASSES:
            raise TaskError(
                f"the model has {found.classes} outputs; an update's header has room for {MAX_CLASSES} classes: give "
                "the model fewer outputs, or group the classes"
            )
        head = output_layer(module, found.classes, self.head)
        if self.local_update == "cwr" and head is None:
            raise TaskError("local_update 'cwr' needs a head: an nn.Linear with as many outputs as there are classes")
        self._warn(module, found)
        return found

    def _check_origin(self, module: nn.Module) -> nn.Module:
        """That every process starts from the same weights; returns a module to try, which shares nothing."""
        if not isinstance(self.model, nn.Module):
            second = self.build()
            trained, any_at_all = shared(module, second)
            if trained:
                object.__setattr__(self, "model", module)
            else:
                check_function(module, second)
                if any_at_all:
                    object.__setattr__(self, "model", Fresh(self.model))
            module = self.build() if any_at_all else second
        if isinstance(self.model, nn.Module) and not self.pretrained:
            with users_code("the model's layers cannot be drawn afresh"):
                check_module(self.model)
        return module

    def _is_cross_entropy(self) -> bool:
        return self.loss in (None, nn.functional.cross_entropy) or isinstance(self.loss, nn.CrossEntropyLoss)

    def _warn(self, module: nn.Module, found: Findings) -> None:
        kept = [name for name, value in module.named_buffers() if name in found.running and value.is_floating_point()]
        if kept:
            warn(
                f"the model keeps running statistics ('{kept[0]}'), as BatchNorm does: they stay with their node, and "
                "the more unlike the nodes' data, the more accuracy that costs; GroupNorm or LayerNorm keep none"
            )


def _not_an_optimizer(given: object) -> str:
    kind = given if isinstance(given, type) else type(given)
    if not issubclass(kind, torch.optim.Optimizer):
        return f"optimizer is a {kind.__name__}; wanted Sgd(...) or Adam(...)"
    ours = "Adam" if "Adam" in kind.__name__ else "Sgd"
    rate = given.defaults.get("lr") if isinstance(given, torch.optim.Optimizer) else None
    step = f"lr={rate:g}" if isinstance(rate, float | int) else "lr=..."
    return (
        f"optimizer is torch.optim.{kind.__name__}, which holds one module's tensors; give hedgerow.{ours}({step}): "
        "every node makes its own from it"
    )


def _dataset(values: Dataset | tuple[Array, Array], what: str) -> Dataset:
    if isinstance(values, Dataset):
        return values
    if not isinstance(values, tuple | list) or len(values) != 2:
        raise TaskError(f"{what} is neither a Dataset nor a pair (inputs, labels)")
    try:
        return Dataset(values[0], values[1])
    except TaskError as error:
        raise TaskError(f"{what}: {error}") from None
