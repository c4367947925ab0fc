"""A task on a device: flat params in, flat params out. All that a node or an engine needs of torch modules.

Laws:
- Everything random comes from (seed, node address, round): see node.draws.
- A learner holds no node's state: what one node carries from round to round is its `TrainState`, passed in and out.
- A learner keeps one working module, so it serves one thread at a time: give each thread its own.
- A model is judged with the buffers that it was trained with: one's own with one's own; a neighbour's, whose buffers
  nobody sends, with those of the node that judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from aggregation.evidence import HeadLayout
from gossip.protocol.messages import Schema, TensorSpec
from node.draws import Purpose, bits, orders
from node.learning.activity import module_activity, spread
from node.learning.blame import users_code
from node.learning.blueprint import head_layout, output_layer, pin, trainable
from node.learning.dataset import Dataset, feed
from node.learning.errors import TaskError
from node.learning.forward import CHUNK_FLOATS, ELEMENTWISE, Forward
from node.learning.layout import Layout
from node.learning.optimizers import Steps, moments_of, steps
from node.learning.seeded import seeded
from node.learning.task import Task

BLOCK_FLOATS = 1 << 23  # 32 MB of inputs are fed at a time in training
SETTLED_SAMPLES = 2048  # from which `settled` takes running statistics
CHAIN_SAMPLES, CHAIN_FLOATS = 1024, 1 << 20  # samples and widest activations (4 MB) of a chain's predictions at a time

# Modules that draw nothing in training; anything else is trained under a seed of its own.
_STEADY = (
    *(layer for layer in ELEMENTWISE if layer is not nn.Dropout),
    nn.Sequential,
    nn.Flatten,
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.LayerNorm,
    nn.GroupNorm,
)


@dataclass(frozen=True, slots=True, eq=False)
class TrainState:
    """What a node carries from one round's training to the next.

    Attributes:
        moments: optimizer moments, each (d,); empty unless the optimizer has `keep_state`.
        steps: optimizer steps taken so far (Adam's bias correction); 0 unless `keep_state`.
        buffers: the module's buffers (BatchNorm's running statistics); they are never exchanged.
    """

    moments: tuple[Tensor, ...] = ()
    steps: int = 0
    buffers: Mapping[str, Tensor] = field(default_factory=dict)


Buffers = Mapping[str, Tensor]


class Learner:
    """Training and evaluation of a task on flat vectors.

    Attributes:
        task: what is learned.
        device: where.
        layout: names, shapes and offsets of the exchanged tensors.
        dimension: d, numbers in a flat vector.
        classes: c, outputs of the model.
        head: where the output layer lies, or None when there is none that is exchanged.
        schema: what is exchanged, for the wire; pins by digest what is frozen and does not change.
        path: how many models are run at once: "chain", "vmap" or "loop"; see node.learning.forward.
        width: most numbers that a layer puts out for one sample and model.
    """

    def __init__(self, task: Task, device: str = "cpu") -> None:
        """Build the working module.

        Args:
            task: what to learn.
            device: a torch device, such as "cpu" or "cuda:0".
        """
        self.task, self.device = task, device
        self._module = task.build().to(device).eval()
        self.layout = Layout.of(trainable(self._module))
        self.dimension, self.classes = self.layout.dimension, task.classes
        self.head: HeadLayout | None = head_layout(
            self._module, self.layout, output_layer(self._module, task.classes, task.head)
        )
        tensors = tuple(
            TensorSpec(name, shape) for name, shape in zip(self.layout.names, self.layout.shapes, strict=True)
        )
        self.schema = Schema(tensors, pin(self._module, task.extractor_digest, task.running))
        with users_code("the model fails"):
            self._forward = Forward(self._module, self.layout, task.train.feed(slice(0, 2)).to(device))
        self.path, self.width = self._forward.path, self._forward.width
        self._sample_dims = len(task.train.shape)
        self._steady = all(type(layer) in _STEADY for layer in self._module.modules())
        self._fresh_buffers = {name: value.clone() for name, value in self._module.named_buffers()}
        # The working module's parameters are views into one flat vector.
        self._flat = torch.empty(self.dimension, device=device)
        self._views = tuple(self.layout.read(self._flat).values())
        # by name: running the module functionally may have changed the order of its dictionaries
        self._parameters = [self._module.get_parameter(name) for name in self.layout.names]
        with torch.no_grad():
            for parameter, view in zip(self._parameters, self._views, strict=True):
                view.copy_(parameter)
                parameter.data = view

    def initial(self, seed: int) -> Tensor:
        """Initial params (d,) float32 of this seed; leaves torch's global generator alone."""
        module = self.task.build(seed)
        return self.layout.flatten({name: value.detach() for name, value in trainable(module)}).to(self.device)

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

        Epoch e visits the samples in the order `draws.orders(seed, [node_address], round, e, k)`, in batches; with
        `local_steps` epochs follow each other until that many batches are done.

        Args:
            params: (d,) start; not changed.
            data: the data set that `samples` names rows of.
            samples: (k,) int64 own training rows; k = 0 returns the params unchanged, and so does k = 1 for a model
                that cannot be trained on one sample alone.
            seed: the run's seed; with node_address and round it fixes batch order and dropout.
            node_address: uint64, see node.draws.address.
            round: round number.
            state: what the last call returned for this node.

        Returns:
            (d,) params and the state for the next round. Params that diverge come back as they are: not finite.

        Raises:
            TaskError: the state is of another task.
            UsersError: the user's model or loss fails.
        """
        before = state or TrainState()
        self.check(before)
        if len(samples) == 0 or (len(samples) == 1 and not self.task.takes_one):
            return params.clone(), before
        own = torch.unique(data.labels[samples]) if self.task.local_update == "cwr" else None
        self._flat.copy_(params if own is None else self._own_columns_only(params, own))
        self._load_buffers(before.buffers)
        moments = steps(self.task.optimizer, self._flat, self._views, before.moments, before.steps)
        self._module.train()
        try:
            # what a layer may draw (dropout) comes from a stream that belongs to this node and round
            stream = int(bits(seed, Purpose.BATCHES, node_address, round))
            with nullcontext() if self._steady else seeded(stream):
                for inputs, labels in self._batches(data, samples, seed, node_address, round):
                    self._step(inputs, labels, moments)
        finally:
            self._module.eval()
        trained = self._flat.clone()
        if own is not None:
            trained = self._keep_own_columns(params, trained, own)
        kept = self.task.optimizer.keep_state
        buffers = {name: value.clone() for name, value in self._module.named_buffers()}
        return trained, TrainState(moments.moments if kept else (), moments.count if kept else 0, buffers)

    def check(self, state: TrainState) -> None:
        """Whether a state, of a checkpoint for example, is one of this task's.

        Raises:
            TaskError: other moments or buffers; the message names them.
        """
        remedy = "the model or the optimizer was changed since: go on with the old one, or start in a new folder"
        wanted = moments_of(self.task.optimizer) if self.task.optimizer.keep_state else 0
        shapes = [tuple(moment.shape) for moment in state.moments]
        if state.moments and shapes != [(self.dimension,)] * wanted:
            raise TaskError(
                f"the optimizer's state that was kept has moments of shapes {shapes}; wanted {wanted} of "
                f"({self.dimension},): {remedy}"
            )
        if not state.buffers:
            return
        for name in sorted(state.buffers.keys() | self._fresh_buffers.keys()):
            kept, own = (_form(each.get(name)) for each in (state.buffers, self._fresh_buffers))
            if kept != own:
                raise TaskError(f"the model's buffer '{name}' that was kept is {kept}; wanted {own}: {remedy}")

    def settled(self, params: Tensor, data: Dataset, samples: Tensor) -> Buffers:
        """Buffers that a model comes to on these samples without being trained: for a model of others, to judge it.

        Args:
            params: (d,), finite.
            data: the data set that `samples` names rows of.
            samples: (k,) rows; the first 2048 are used.

        Returns:
            All buffers; those of a fresh module where training changes none, or there are too few samples.
        """
        if not self.task.running:
            return self._fresh_buffers
        self._flat.copy_(params)
        self._load_buffers({})
        size = self.task.batch_size
        self._module.train()
        try:
            with torch.no_grad(), seeded(0), users_code("the model fails in training"):
                few = samples[:SETTLED_SAMPLES]
                for first in range(0, len(few), size):
                    rows = few[first : first + size]
                    if len(rows) > 1 or self.task.takes_one:
                        self._module(data.feed(rows).to(self.device))
        finally:
            self._module.eval()
        return {name: value.clone() for name, value in self._module.named_buffers()}

    def unlike(self, buffers: Sequence[Buffers]) -> bool:
        """Whether any of these differs from a fresh module's: models must then be run one by one."""
        fresh = self._fresh_buffers
        return any(not torch.equal(value, fresh[name]) for own in buffers for name, value in own.items())

    def logits(self, params: Tensor, inputs: Tensor, buffers: Buffers | None = None) -> Tensor:
        """Outputs of many models in evaluation mode; leading dimensions broadcast.

        Args:
            params: (..., d).
            inputs: (..., p, *shape) as stored (uint8 is fed as value / 255). Inputs shared by all models, (p, *shape),
                cost one product for all.
            buffers: a node's own, from its TrainState; None: those of a fresh module.

        Returns:
            (..., p, c) float32, not attached to any graph.
        """
        with torch.no_grad(), users_code("the model fails in evaluation"):
            fed = feed(inputs.to(self.device))
            return self._forward(params, fed, self._sample_dims, buffers or self._fresh_buffers)

    def predict(self, params: Tensor, inputs: Tensor, buffers: Buffers | None = None) -> Tensor:
        """Predicted class of shared inputs under many models, in chunks of bounded memory.

        Args:
            params: (..., d).
            inputs: (S, *shape), as stored.
            buffers: as in `logits`.

        Returns:
            (..., S) int64; ties go to the lower class.
        """
        rows = params.reshape(-1, self.dimension)
        found = torch.empty(len(rows), len(inputs), dtype=torch.int64, device=self.device)
        width = self._forward.width
        if self.path == "chain":
            samples = max(1, min(len(inputs), CHAIN_SAMPLES))
            models = max(1, CHAIN_FLOATS // (samples * width))
        else:
            # a loop holds one model's activations at a time, vmap all models'
            models = max(1, CHUNK_FLOATS // max(1, self.dimension))
            at_once = 1 if self.path == "loop" else min(models, len(rows))
            samples = max(16, CHUNK_FLOATS // (4 * max(width * at_once, inputs[0].numel())))
        with torch.no_grad(), users_code("the model fails in evaluation"):
            for start in range(0, len(inputs), samples):
                fed = feed(inputs[start : start + samples].to(self.device))
                for first in range(0, len(rows), models):
                    part = self._forward.predicted(
                        rows[first : first + models], fed, self._sample_dims, buffers or self._fresh_buffers
                    )
                    found[first : first + len(part), start : start + samples] = part
        return found.view(*params.shape[:-1], len(inputs))

    def accuracy(self, params: Tensor, data: Dataset, buffers: Buffers | None = None) -> Tensor:
        """Share of `data` predicted rightly by each model: (..., d) -> float64 (...)."""
        right = self.predict(params, data.inputs, buffers) == data.labels.to(self.device)
        return right.to(torch.float64).mean(dim=-1)

    def activity(
        self, params: Tensor, inputs: Tensor, mask: Tensor | None = None, buffers: Buffers | None = None
    ) -> Tensor:
        """Root mean square of each weight's input under each model.

        Args:
            params: (..., d).
            inputs: (..., p, *shape), as stored; leading dimensions are those of params, or none.
            mask: bool (..., p), which inputs are there; None: all.
            buffers: as in `logits`.

        Returns:
            (..., d): Linear: weight[:, j] gets the RMS of input feature j; Conv2d: of the unfolded input patch's
            element; all else, biases included, 1. No inputs (p = 0 or all masked): 1 everywhere.
        """
        lead = params.shape[:-1]
        dims = self._sample_dims + 1
        here = torch.ones(inputs.shape[: -self._sample_dims], dtype=torch.bool) if mask is None else mask
        here = here.to(self.device)
        with torch.no_grad(), users_code("the model fails in evaluation"):
            fed = feed(inputs.to(self.device))
            layers = self._forward.chain_inputs(params, fed, self._sample_dims)
            if layers is not None:
                counts = here.sum(dim=-1).clamp(min=1).unsqueeze(-1)
                nobody = ~here.any(dim=-1)[..., None, None]
                sizes = {}
                for path, given in layers:
                    squares = torch.where(here.unsqueeze(-1), given, torch.zeros(())).square().sum(dim=-2)
                    size = (squares / counts).sqrt().unsqueeze(-2)
                    sizes[f"{path}.weight".lstrip(".")] = torch.where(nobody, torch.ones(()), size)
                return spread(self.layout, sizes, tuple(lead))
            rows = params.reshape(-1, self.dimension)
            own = fed.expand(*lead, *fed.shape[-dims:]).reshape(len(rows), *fed.shape[-dims:])
            there = here.expand(*lead, here.shape[-1]).reshape(len(rows), -1)
            found = [
                module_activity(self._module, self.layout, row, some[which], buffers or self._fresh_buffers)
                if bool(which.any())
                else torch.ones(self.dimension, device=self.device)
                for row, some, which in zip(rows, own, there, strict=True)
            ]
            return torch.stack(found).view(*lead, self.dimension)

    def _batches(
        self, data: Dataset, samples: Tensor, seed: int, node_address: int, round: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of inputs as fed, and labels, on the device; one sample alone only where the model takes it."""
        size, count = self.task.batch_size, len(samples)
        fed = count - (count % size == 1 and not self.task.takes_one)
        each = -(-fed // size)
        left = self.task.local_steps or each * self.task.local_epochs
        block = size * max(1, BLOCK_FLOATS // max(1, size * data.inputs[0].numel()))
        epoch = 0
        while left > 0:
            order = torch.from_numpy(orders(seed, node_address, round, epoch, count)[0])
            rows = samples[order[: min(left * size, fed)]]
            for start in range(0, len(rows), block):
                some = rows[start : start + block]
                inputs = data.feed(some).to(self.device)
                labels = data.labels[some].to(self.device)
                for first in range(0, len(some), size):
                    yield inputs[first : first + size], labels[first : first + size]
            left -= each
            epoch += 1

    def _step(self, inputs: Tensor, labels: Tensor, optimizer: Steps) -> None:
        with users_code("the model or its loss fails in training"):
            loss = self.task.mean_loss(self._module(inputs), labels)
            gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        with torch.no_grad():
            optimizer.step(gradients)

    def _own_columns_only(self, params: Tensor, own: Tensor) -> Tensor:
        """CWR*, before training: foreign columns 0, so that what others know does not steer own columns."""
        assert self.head is not None
        whole = self.head.read(params)
        some = torch.zeros_like(whole)
        some[:, own] = whole[:, own]
        return self.head.write(params, some)

    def _keep_own_columns(self, before: Tensor, after: Tensor, own: Tensor) -> Tensor:
        """CWR*, after training: foreign columns as they were; own ones as trained, less their mean over the features.

        Source: Lomonaco et al., "Rehearsal-free continual learning over small non-i.i.d. batches" (2020), and
        Verbraeken et al., arXiv 2110.11006 (2021).
        """
        assert self.head is not None
        merged, trained = self.head.read(before).clone(), self.head.read(after).clone()
        weights = trained[: self.head.features]
        weights -= weights.mean(dim=0, keepdim=True)
        merged[:, own] = trained[:, own]
        return self.head.write(after, merged)

    def _load_buffers(self, buffers: Buffers) -> None:
        with torch.no_grad():
            for name, value in self._module.named_buffers():
                value.copy_(buffers.get(name, self._fresh_buffers[name]))


def _form(value: Tensor | None) -> str:
    return "missing" if value is None else f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
