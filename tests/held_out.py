"""Evidence for tests of rules that score: many nodes in one table, each with held-out samples of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from aggregation.evidence import Evidence, HeadLayout, Table

FEATURES, CLASSES, SAMPLES, BELOW = 3, 4, 24, 5
HEAD = HeadLayout(weight=BELOW, bias=BELOW + FEATURES * CLASSES, features=FEATURES, classes=CLASSES)
SIZE = BELOW + (FEATURES + 1) * CLASSES


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A linear head on private samples: inputs (..., p, f), labels (..., p), known (..., c)."""

    inputs: Tensor
    labels: Tensor
    known: Tensor

    def scores(self, params: Tensor) -> Tensor:
        predicted = self.outputs(params).argmax(dim=-1)
        f1 = torch.zeros(*params.shape[:-1], CLASSES, dtype=torch.float64)
        for c in range(CLASSES):
            true, said = (self.labels == c).unsqueeze(-2), predicted == c
            hits = (true & said).sum(dim=-1).double()
            f1[..., c] = torch.where(hits > 0, 2 * hits / (true.sum(dim=-1) + said.sum(dim=-1)).clamp(min=1), 0.0)
        return f1

    def familiar(self) -> Tensor:
        return self.known

    def loss(self, params: Tensor) -> Tensor:
        return params.new_zeros(params.shape[:-1])

    def outputs(self, params: Tensor) -> Tensor:
        head = HEAD.read(params)
        return self.inputs.unsqueeze(-3) @ head[..., :-1, :] + head[..., -1:, :]

    def activity(self) -> Tensor:
        return torch.ones(SIZE)


def network(nodes: int, width: int, relayed: int, seed: int, bad: float = 0.15) -> Evidence:
    """Nodes with neighbours that are sometimes absent, not finite, zero, or copies of each other."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=SIZE)
    values = truth + rng.normal(size=(4 * nodes + 1, SIZE)) * rng.uniform(0.2, 2, size=(4 * nodes + 1, 1))
    for row in range(nodes, 4 * nodes):
        if rng.random() < bad:
            kind = rng.integers(3)
            if kind == 0:
                values[row, rng.integers(SIZE)] = rng.choice([np.nan, np.inf, -np.inf])
            else:
                values[row] = 0 if kind == 1 else values[row - 1]
    index = np.stack([rng.permutation(3 * nodes)[: width + relayed] + nodes for _ in range(nodes)])
    index[rng.random(index.shape) < bad] = -1
    inputs = torch.tensor(rng.normal(size=(nodes, SAMPLES, FEATURES)), dtype=torch.float32)
    clean = HEAD.read(torch.tensor(truth, dtype=torch.float32))
    labels = (inputs @ clean[:-1] + clean[-1]).argmax(dim=-1)
    known = torch.stack([(labels == c).sum(dim=-1) >= 2 for c in range(CLASSES)], dim=-1)
    return Evidence(
        table=Table(torch.tensor(values, dtype=torch.float32)),
        own=torch.arange(nodes),
        neighbours=torch.tensor(index[:, :width]),
        relayed=torch.tensor(index[:, width:]),
        initial=torch.tensor(4 * nodes),
        head=HEAD,
        own_classes=torch.tensor(rng.random((nodes, CLASSES)) < 0.8),
        peer_classes=torch.tensor(rng.random((nodes, width, CLASSES)) < 0.8),
        probe=HeldOut(inputs, labels, known),
        priority=torch.tensor(rng.random((nodes, width))),
    )


def single(evidence: Evidence, node: int, order: Tensor | None = None) -> Evidence:
    """One node's evidence, in a table of only the rows it knows; neighbours in another order if asked."""
    assert isinstance(evidence.probe, HeldOut)
    assert evidence.initial is not None
    assert evidence.own_classes is not None
    assert evidence.peer_classes is not None
    assert evidence.priority is not None
    order = torch.arange(evidence.neighbours.shape[1]) if order is None else order
    own, near, far = evidence.own[node], evidence.neighbours[node][order], evidence.relayed[node]
    names = torch.cat([own.reshape(1), near, far, evidence.initial.reshape(1)])
    table = Table(evidence.table.values[names.clamp(min=0)].clone())
    place = torch.where(names >= 0, torch.arange(len(names)), -1)
    probe = HeldOut(evidence.probe.inputs[node], evidence.probe.labels[node], evidence.probe.known[node])
    return replace(
        evidence,
        table=table,
        own=place[0],
        neighbours=place[1 : 1 + len(near)],
        relayed=place[1 + len(near) : -1],
        initial=place[-1],
        own_classes=evidence.own_classes[node],
        peer_classes=evidence.peer_classes[node][order],
        priority=evidence.priority[node][order],
        probe=probe,
    )
