"""A task on a device: flat params in, flat params out. All that a node or an engine needs of torch modules.

Laws:
- Everything random comes from (seed, node address, round): see node.draws.
- A learner holds no node's state: what one node carries from round to round is its `TrainState`, passed in and out.
- A learner keeps one working module, so it serves one thread at a time: give each thread its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from aggregation.evidence import HeadLayout
from gossip.messages import Schema
from node.learning.dataset import Dataset
from node.learning.layout import Layout
from node.learning.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class TrainState:
    """What a node carries from one round's training to the next.

    Attributes:
        moments: optimizer moments, each (d,); empty unless the optimizer has `keep_state`.
        steps: optimizer steps taken so far (Adam's bias correction).
        buffers: the module's buffers (BatchNorm's running statistics); they are never exchanged.
    """

    moments: tuple[Tensor, ...] = ()
    steps: int = 0
    buffers: Mapping[str, Tensor] = field(default_factory=dict)


class Learner:
    """Training and evaluation of a task on flat vectors.

    Attributes:
        task: what is learned.
        device: where.
        layout: names, shapes and offsets of the exchanged tensors.
        dimension: d, numbers in a flat vector.
        classes: c, outputs of the model.
        head: where the output layer lies, or None when there is none that is exchanged.
        schema: what is exchanged, for the wire; pins frozen parts by digest.
    """

    task: Task
    device: str
    layout: Layout
    dimension: int
    classes: int
    head: HeadLayout | None
    schema: Schema

    def __init__(self, task: Task, device: str = "cpu") -> None:
        raise NotImplementedError

    def initial(self, seed: int) -> Tensor:
        """Initial params (d,) float32 of this seed; the same on every machine, and leaves torch's global generator alone."""
        raise NotImplementedError

    def train(
        self,
        params: Tensor,
        data: Dataset,
        samples: Tensor,
        seed: int,
        node_address: int,
        round: int,
        state: TrainState | None = None,
    ) -> tuple[Tensor, TrainState]:
        """One round's local training.

        Args:
            params: (d,) start; not changed.
            data: the data set that `samples` names rows of.
            samples: (k,) int64 own training rows; k = 0 returns the params unchanged.
            seed: the run's seed; with node_address and round it fixes batch order and dropout.
            node_address: uint64, see node.draws.address.
            round: round number.
            state: what the last call returned for this node.

        Returns:
            (d,) params and the state for the next round. Params that diverge come back as they are: not finite.
        """
        raise NotImplementedError

    def logits(self, params: Tensor, inputs: Tensor, buffers: Mapping[str, Tensor] | None = None) -> Tensor:
        """Outputs of many models: params (..., d), inputs (..., p, *shape) -> (..., p, c); leading dimensions broadcast.

        Inputs as stored (uint8 is fed as value / 255). A shared input, (p, *shape), costs one product for all models.
        """
        raise NotImplementedError

    def predict(self, params: Tensor, inputs: Tensor, buffers: Mapping[str, Tensor] | None = None) -> Tensor:
        """Predicted class of shared inputs under many models, in chunks of bounded memory: (..., d), (S, *shape) -> int64 (..., S)."""
        raise NotImplementedError

    def accuracy(self, params: Tensor, data: Dataset, buffers: Mapping[str, Tensor] | None = None) -> Tensor:
        """Share of `data` predicted rightly by each model: (..., d) -> float64 (...)."""
        raise NotImplementedError

    def activity(self, params: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Root mean square of each weight's input: params (..., d), inputs (..., p, *shape), mask bool (..., p) -> (..., d).

        Linear: weight[:, j] gets the RMS of input feature j; Conv2d: of the unfolded input patch's element; all else, biases
        included, 1. No inputs (p = 0 or all masked): 1 everywhere.
        """
        raise NotImplementedError
