"""Evidence for tests of rules: rows of one or many nodes, and a linear model to probe them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aggregation.evidence import Evidence, Table

FEATURES, CLASSES, SAMPLES = 4, 3, 12
DIMENSION = FEATURES * CLASSES


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """Softmax regression on private inputs: inputs (..., p, f), labels (..., p); params (c, f) row-major, no bias."""

    inputs: Tensor
    labels: Tensor

    def scores(self, params: Tensor) -> Tensor:
        return torch.zeros(*params.shape[:-1], CLASSES)

    def familiar(self) -> Tensor:
        return torch.ones(*self.labels.shape[:-1], CLASSES, dtype=torch.bool)

    def outputs(self, params: Tensor) -> Tensor:
        weight = params.unflatten(-1, (CLASSES, self.inputs.shape[-1]))
        return self.inputs.unsqueeze(-3) @ weight.transpose(-1, -2)

    def loss(self, params: Tensor) -> Tensor:
        chances = torch.log_softmax(self.outputs(params), dim=-1)
        labels = self.labels.unsqueeze(-2).expand(chances.shape[:-1]).unsqueeze(-1)
        return -chances.gather(-1, labels).squeeze(-1).mean(dim=-1)

    def activity(self) -> Tensor:
        rms = self.inputs.square().mean(dim=-2).sqrt()
        return rms.repeat(*([1] * (rms.dim() - 1)), CLASSES)


def probes(batch: tuple[int, ...], seed: int, features: int = FEATURES) -> LinearProbe:
    rng = np.random.default_rng(seed)
    inputs = torch.tensor(rng.normal(size=(*batch, SAMPLES, features)), dtype=torch.float32)
    labels = torch.tensor(rng.integers(CLASSES, size=(*batch, SAMPLES)))
    return LinearProbe(inputs, labels)


def one_node(
    own: np.ndarray | Tensor,
    neighbours: Sequence[np.ndarray | Tensor | None],
    start: np.ndarray | None = None,
    probe: LinearProbe | None = None,
    **more: object,
) -> Evidence:
    """One node's evidence; None = absent."""
    rows = [torch.as_tensor(own, dtype=torch.float32)]
    index = []
    for row in neighbours:
        index.append(-1 if row is None else len(rows))
        if row is not None:
            rows.append(torch.as_tensor(row, dtype=torch.float32))
    begin = None
    if start is not None:
        begin = torch.tensor(len(rows))
        rows.append(torch.as_tensor(start, dtype=torch.float32))
    return Evidence(
        table=Table(torch.stack(rows)),
        own=torch.tensor(0),
        neighbours=torch.tensor(index, dtype=torch.int64),
        relayed=torch.empty(0, dtype=torch.int64),
        start=begin,
        probe=probe,
        **more,  # type: ignore[arg-type]
    )


def many_nodes(nodes: int, width: int, seed: int, bad: float = 0.15, spread: float = 1.0) -> Evidence:
    """Nodes with up to `width` neighbours in one table; some absent, some rows NaN or infinite."""
    rng = np.random.default_rng(seed)
    peers = max(2 * nodes, width)
    values = rng.normal(size=(2 * nodes + peers, DIMENSION)) * spread + rng.normal(size=DIMENSION)
    values[nodes + peers :] = values[:nodes] - 0.1 * rng.normal(size=(nodes, DIMENSION))  # starts
    for row in range(nodes, nodes + peers):
        if rng.random() < bad:
            values[row, rng.integers(DIMENSION)] = rng.choice([np.nan, np.inf, -np.inf])
    index = np.stack([rng.permutation(peers)[:width] + nodes for _ in range(nodes)])
    index[rng.random(index.shape) < bad] = -1
    return Evidence(
        table=Table(torch.tensor(values, dtype=torch.float32)),
        own=torch.arange(nodes),
        neighbours=torch.tensor(index, dtype=torch.int64).reshape(nodes, width),
        relayed=torch.empty(nodes, 0, dtype=torch.int64),
        start=torch.arange(nodes) + nodes + peers,
        round=3,
        rounds=10,
        honest=torch.tensor(rng.random((nodes, width)) < 0.7),
        probe=probes((nodes,), seed),
    )


def alone_of(evidence: Evidence, node: int) -> tuple[np.ndarray, list[np.ndarray | None], Evidence]:
    """Own row, neighbours' rows (None = absent) and the evidence of one node in a table of its own."""
    values = evidence.table.values
    own = values[evidence.own[node]].double().numpy()
    rows = [None if k < 0 else values[k].double().numpy() for k in evidence.neighbours[node].tolist()]
    probe = evidence.probe
    assert isinstance(probe, LinearProbe)
    assert evidence.start is not None
    assert evidence.honest is not None
    single = one_node(
        own,
        rows,
        start=values[evidence.start[node]].double().numpy(),
        probe=LinearProbe(probe.inputs[node], probe.labels[node]),
        round=evidence.round,
        rounds=evidence.rounds,
        honest=evidence.honest[node],
    )
    return own, rows, single


def linear_views(single: Evidence) -> list[Callable[[np.ndarray], np.ndarray]]:
    """Parameters, parameters x activity, function: for a linear model the change of logits is linear in the pull."""
    probe = single.probe
    assert isinstance(probe, LinearProbe)
    scale = probe.activity().double().numpy()
    inputs = probe.inputs.double().numpy()

    def function(v: np.ndarray) -> np.ndarray:
        logits = inputs @ v.reshape(3, -1).T
        return (logits - logits.mean(axis=1, keepdims=True)).ravel()

    return [lambda v: v, lambda v: v * scale, function]
