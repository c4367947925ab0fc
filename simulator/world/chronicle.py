"""What honest nodes have said of each round: models and edges, until the round is told as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from node.store.record import RoundView
from simulator.study.records import Edges, Trace
from simulator.study.setup import Setup


@dataclass(slots=True)
class _Round:
    start: Tensor
    trained: Tensor
    integrated: Tensor
    buffers: list[Mapping[str, Tensor]]
    edges: dict[int, list[tuple[int, float, int, bool]]] = field(default_factory=dict)
    diverged: list[int] = field(default_factory=list)


class Chronicle:
    """Law: nodes that say nothing of a round have the model that they had when somebody first did."""

    def __init__(self, setup: Setup, models: Callable[[], list[tuple[Tensor, Mapping[str, Tensor]]]]) -> None:
        """Empty; `models`: H models (d,) as nodes last told them, each with the node's buffers."""
        self._models = models
        self._vertex = {peer: vertex for vertex, peer in enumerate(setup.peers)}
        self._rounds: dict[int, _Round] = {}

    def write(self, vertex: int, start: Tensor, view: RoundView) -> None:
        """A node that began with `start` (d,) has closed a round."""
        now = self._round(view.record.round)
        now.start[vertex], now.trained[vertex], now.integrated[vertex] = start, view.trained, view.params
        now.buffers[vertex] = view.buffers
        if view.record.diverged:
            now.diverged.append(vertex)
        now.edges[vertex] = [
            (self._vertex[each.peer], each.weight, int(each.verdict), each.far) for each in view.record.neighbours
        ]

    def read(self, round: int, sent: Tensor) -> Trace:
        """A whole round, with what Sybils sent in it; it and all before it are forgotten."""
        now = self._round(round)
        self._rounds = {later: said for later, said in self._rounds.items() if later > round}
        rows = [(node, *edge) for node in sorted(now.edges) for edge in now.edges[node]]
        far = np.array([row[4] for row in rows], dtype=bool)
        return Trace(
            round=round,
            start=now.start,
            trained=now.trained,
            sent=sent,
            integrated=now.integrated,
            edges=Edges(
                receivers=np.array([row[0] for row in rows], dtype=np.int32),
                senders=np.array([row[1] for row in rows], dtype=np.int32),
                weights=np.array([row[2] for row in rows], dtype=np.float32),
                verdicts=np.array([row[3] for row in rows], dtype=np.int8),
                far=far if far.any() else None,
            ),
            buffers=now.buffers,
            diverged=np.array(sorted(now.diverged), dtype=np.int32),
        )

    def _round(self, round: int) -> _Round:
        if round not in self._rounds:
            told = self._models()
            models = torch.stack([model for model, _ in told])
            self._rounds[round] = _Round(models.clone(), models.clone(), models, [own for _, own in told])
        return self._rounds[round]
