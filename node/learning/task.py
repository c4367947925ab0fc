"""The user's object: a model, data, and how to train. Nothing about networks or simulation is in it.

Laws:
- A task is checked when it is made: what would fail in round 1 on node 7 fails here, with a sentence that says what to change.
- Parameters with requires_grad are exchanged; frozen ones and the extractor are pinned by digest in the schema; buffers stay local.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from node.learning.dataset import Array, Dataset
from node.learning.optimizers import Optimizer, Sgd

Loss = Callable[[Tensor, Tensor], Tensor]
LocalUpdate = Literal["plain", "cwr"]


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Task:
    """What is learned.

    Attributes:
        model: module (inputs (b, *shape) -> logits (b, classes)), or a function without arguments that makes one.
        train: training data; nodes get rows of it.
        test: data that accuracy is measured on; never trained on.
        name: for records and pages.
        loss: (logits (b, c), labels (b,)) -> scalar, a mean over the batch.
        optimizer: Sgd or Adam.
        batch_size: samples a step; the last, shorter batch of an epoch is kept.
        local_epochs: passes over the own training samples a round.
        local_steps: steps a round instead of epochs, or None.
        held_out: share of each class of a node's samples that is set aside to judge models with; 0 to .9.
        familiar: held-out samples that a class needs to count as familiar.
        head: name of the output layer (an nn.Linear), or None: the last nn.Linear with as many outputs as there are classes.
        local_update: "plain", or "cwr": only the head's columns of own classes are kept from training.
        pretrained: a module's own weights are the initial model. Otherwise they are drawn afresh from the network's seed, so that
            every node starts from the same model. A function that makes the module is called under that seed instead.
        extractor: frozen module applied once to all inputs when the task is made; `train` and `test` then hold its outputs.
        classes: number of outputs of the model.
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
    extractor: nn.Module | None

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
        extractor: nn.Module | None = None,
    ) -> None:
        """Check everything and keep it.

        Raises:
            TaskError: with a sentence that says what to change.
        """
        raise NotImplementedError

    def build(self) -> nn.Module:
        """A fresh module; a module that was given is copied."""
        return copy.deepcopy(self.model) if isinstance(self.model, nn.Module) else self.model()
