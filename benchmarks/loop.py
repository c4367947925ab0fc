"""What is measured against: a competent loop over nodes, without DataLoader or optimizer objects, data as float32 in
memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from node.draws import Purpose, uniforms
from simulator.study.setup import Setup


class Loop:
    """A network of nodes, one after the other."""

    def __init__(self, setup: Setup, params: Tensor | None = None) -> None:
        self.setup = setup
        task = setup.task
        self.module = task.build()
        self.tensors = list(self.module.parameters())
        self.inputs = task.train.feed(slice(None))
        self.labels = task.train.labels
        self.test = task.test.feed(slice(0, 1000))
        self.test_labels = task.test.labels[:1000]
        self.params = (setup.initial[: setup.honest] if params is None else params).clone()
        self.trained = self.params.clone()
        self.lr, self.batch = task.optimizer.lr, task.batch_size
        self.beside = [torch.tensor(near, dtype=torch.int64) for near in setup.neighbours[: setup.honest]]

    def train(self) -> None:
        """One epoch of every node: autograd and an in-place update a tensor."""
        for node, shard in enumerate(self.setup.shards[: self.setup.honest]):
            self._train(node, shard.train[torch.randperm(len(shard.train))])

    def _train(self, node: int, rows: Tensor) -> None:
        self._load(self.params[node])
        for start in range(0, len(rows), self.batch):
            picked = rows[start : start + self.batch]
            loss = functional.cross_entropy(self.module(self.inputs[picked]), self.labels[picked])
            gradients = torch.autograd.grad(loss, self.tensors)
            with torch.no_grad():
                for tensor, gradient in zip(self.tensors, gradients, strict=True):
                    tensor.add_(gradient, alpha=-self.lr)
        with torch.no_grad():
            torch.cat([tensor.reshape(-1) for tensor in self.tensors], out=self.trained[node])

    def train_with_loader(self) -> None:
        """One epoch of every node by nn.Module, torch.optim and DataLoader."""
        for node, shard in enumerate(self.setup.shards[: self.setup.honest]):
            self._load(self.params[node])
            optimizer = torch.optim.SGD(self.tensors, lr=self.lr)
            data = TensorDataset(self.inputs[shard.train], self.labels[shard.train])
            for inputs, labels in DataLoader(data, batch_size=self.batch, shuffle=True):
                optimizer.zero_grad()
                torch.autograd.backward(functional.cross_entropy(self.module(inputs), labels))
                optimizer.step()
            with torch.no_grad():
                torch.cat([tensor.reshape(-1) for tensor in self.tensors], out=self.trained[node])

    def mean(self) -> None:
        """Plain mean of own and neighbours, a node at a time."""
        for node, near in enumerate(self.beside):
            torch.mean(self.trained[torch.cat([near, torch.tensor([node])])], dim=0, out=self.params[node])

    def sybilwall(self, values: Tensor, own: Tensor, direct: Tensor, relayed: Tensor) -> None:
        """SybilWall from exact cosines, a node at a time: rows of `values` by number, -1 absent."""
        for node in range(len(own)):
            near = direct[node]
            weights = sybilwall(values[torch.cat([near, relayed[node][relayed[node] >= 0]])], len(near))
            mixed = values[own[node]] + weights @ values[near]
            self.params[node] = mixed / (1 + weights.sum())

    def relay(self, round: int, authors: Tensor, distances: Tensor) -> None:
        """Choose what to relay, a node at a time, all its neighbours at once."""
        addresses = self.setup.addresses
        for node, near in enumerate(self.beside):
            known = authors[node].numpy()
            draws = uniforms(
                self.setup.seed,
                Purpose.RELAY,
                addresses[node],
                round,
                addresses[near.numpy()][:, None],
                addresses[known],
            )
            np.argmin(-np.log(draws) / np.exp(-0.8 * distances[node].numpy()), axis=1)

    def evaluate(self) -> None:
        """Accuracy on a thousand samples, a node at a time."""
        with torch.no_grad():
            for row in self.params:
                self._load(row)
                (self.module(self.test).argmax(dim=1) == self.test_labels).double().mean()

    def _load(self, params: Tensor) -> None:
        with torch.no_grad():
            nn.utils.vector_to_parameters(params, self.tensors)
            # views into the flat vector would be trained in place
            for tensor in self.tensors:
                tensor.data = tensor.data.clone()


def sybilwall(rows: Tensor, direct: int) -> Tensor:
    """Weights of the first rows, as published, in float32."""
    unit = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    cosines = unit @ unit.T
    cosines.fill_diagonal_(0)
    nearest = cosines.max(dim=1).values + 1e-5
    pardon = (nearest.unsqueeze(1) / nearest.unsqueeze(0)).clamp(max=1)
    weights = (1 - (cosines * pardon).max(dim=1).values).clamp(0, 1)[:direct]
    weights = weights / weights.max().clamp(min=1e-9)
    return (torch.logit(weights, eps=1e-9) + 0.5).clamp(0, 1)
