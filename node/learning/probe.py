"""What models do on a node's own samples: the evidence that distance and similarity cannot give.

Law: samples come from the node's own training data, never from the evaluation split.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from node.learning.dataset import Dataset
from node.learning.learner import Learner
from node.learning.partition import Shard

OUTPUT_SAMPLES = 64


class LocalProbe:
    """Implements aggregation.evidence.Probe for one node (batch dimensions ()) or many (batch dimensions (n,)).

    Samples are gathered once; `under` and `select` share them.
    """

    def __init__(self, learner: Learner, data: Dataset, shards: Shard | Sequence[Shard], own: Tensor | None = None) -> None:
        """Gather the samples.

        Args:
            learner: how models are run.
            data: the data set that the shards name rows of.
            shards: one node's, or one per node of a batch.
            own: (d,) or (n, d) own models, needed by `activity` alone.
        """
        raise NotImplementedError

    def under(self, own: Tensor) -> LocalProbe:
        """The same samples, with this round's own models: (d,) or (n, d)."""
        raise NotImplementedError

    def select(self, nodes: Tensor) -> LocalProbe:
        """The probe of some nodes of a batch: (k,) positions."""
        raise NotImplementedError

    def scores(self, params: Tensor) -> Tensor:
        """F1 in [0, 1] per class on own held-out samples, argmax over all classes: (..., k, d) -> (..., k, c)."""
        raise NotImplementedError

    def familiar(self) -> Tensor:
        """Classes with enough own held-out samples to judge: bool (..., c)."""
        raise NotImplementedError

    def loss(self, params: Tensor) -> Tensor:
        """Mean loss on own held-out samples (own training samples if none are held out): (..., k, d) -> (..., k)."""
        raise NotImplementedError

    def outputs(self, params: Tensor) -> Tensor:
        """Logits on up to 64 own training inputs: (..., k, d) -> (..., k, p, c); absent inputs give rows of zeros."""
        raise NotImplementedError

    def activity(self) -> Tensor:
        """Root mean square of each weight's input on own data under the own model: (..., d); biases 1."""
        raise NotImplementedError
