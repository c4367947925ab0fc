"""Sybils that do not look alike: noise in directions of their own, loud, structured, silent or learned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from node.learning.dataset import Dataset
from simulator.attacks.attack import AttackSpec, AttackView, Craft, Knowledge, Stage, Strength

_EPSILON = 1e-12
_PROBED = 512  # own samples on which the adversary looks for inputs that are always zero
_IMAGES = 16  # random images with random labels behind one structured direction of a deep model

Directions = Callable[[AttackView, Tensor, int], Tensor]
"""(view, models (S, d), k) -> k directions (k, d), not normalised."""


def orthonormal(rows: Tensor, away: Tensor | None = None) -> Tensor:
    """Rows (k, d) made orthonormal to each other, and to `away` (d,) if given; each stays in the span of rows and away.

    When the rows have no more than k coordinates that are not zero, they are only made unit.
    """
    out = rows
    if away is not None:
        out = rows - torch.outer(rows @ away, away) / away.square().sum().clamp(min=_EPSILON)
    if len(rows) < int((rows != 0).any(dim=0).sum()):
        basis: Tensor = torch.linalg.qr(out.double().T).Q
        return basis.T.to(rows.dtype)
    return _unit(out)


def orthogonal_noise(c: float = 1.3, of: str = "params") -> Craft:
    """p + c |p| q_s, q_s orthonormal to each other and to p: the cosine of two Sybils is 1 / (1 + c^2).

    Args:
        c: length of the noise relative to p. 1.283 is full weight in SybilWall.
        of: what p is: "params" (the model) or "update" (model - start).
    """
    return _spread(_white, c, of, pairs=False)


def pairs(c: float = 0.7, of: str = "params") -> Craft:
    """p + c |p| q_k and p - c |p| q_k: cosine (1 - c^2) / (1 + c^2) within a pair, and the mean of a pair is p.

    Args: as in `orthogonal_noise`; c = .672 is full weight in SybilWall.
    """
    return _spread(_white, c, of, pairs=True)


def structured_noise(c: float = 1.3, of: str = "params") -> Craft:
    """p + c |p| q_s, q_s a random training image times a random class vector: alive in every view of a model.

    Where the first layer is a dense one on the raw inputs, q_s is that outer product. Elsewhere it is the step that
    training on a few random images with random labels makes, which is the same thing for softmax regression.

    Args: as in `orthogonal_noise`.
    """
    return _spread(_structured, c, of, pairs=False, apart=False)


def null_space_decoys(c: float = 1.3, of: str = "params", quiet: float = 0.02) -> Craft:
    """p + c |p| q_s, q_s random on weights whose inputs are zero on all own data, else on the `quiet` share of weights.

    What the model does hardly changes, and cosines of parameters are destroyed.

    Args:
        c, of: as in `orthogonal_noise`.
        quiet: share of the weights used when no input is always zero.
    """

    def silent(view: AttackView, models: Tensor, count: int) -> Tensor:
        inputs = view.data.inputs[view.clean[:_PROBED]]
        own = view.learner.settled(models[0], view.data, view.clean)
        activity = view.learner.activity(models[0], inputs, buffers=own)
        least = activity.sort().values[max(1, round(quiet * len(activity))) - 1]
        noise = view.normal("null-space-decoys", count, models.shape[1])
        dead = activity <= _EPSILON
        return noise * (dead if bool(dead.any()) else activity <= least)

    return _spread(silent, c, of, pairs=False, apart=False)


def diverse_data(weight: float = 1.0, samples: int = 300) -> Craft:
    """Model + weight * (what Sybil s learns from start on a clean shard of its own - start).

    Args:
        weight: how much of the clean step is added.
        samples: size of each Sybil's shard, drawn from all training samples, disjoint while they last.

    Shards are drawn once, so a Sybil keeps its own through all rounds.
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        shards = _shards(view, samples)
        rows = []
        for sybil, shard in enumerate(shards):
            address = view.address ^ (sybil + 1)
            learned, _ = view.learner.train(view.start, view.data, shard, view.seed, address, view.round)
            rows.append(models[sybil] + weight * (learned - view.start))
        return torch.stack(rows)

    return craft


def _spread(directions: Directions, c: float, of: str, *, pairs: bool, apart: bool = True) -> Craft:
    if of not in ("params", "update"):
        raise ValueError(f"noise is relative to 'params' or 'update', not '{of}'")

    def craft(view: AttackView, models: Tensor) -> Tensor:
        count = (view.sybils + 1) // 2 if pairs else view.sybils
        raw = directions(view, models, count)
        core = models if of == "params" else models - view.start
        unit = orthonormal(raw, core[0] if apart else None)
        if pairs:
            unit = torch.stack([unit, -unit], dim=1).flatten(0, 1)[: view.sybils]
        length: Tensor = torch.linalg.vector_norm(core, dim=1, keepdim=True)
        return models + unit * length * c

    return craft


def _white(view: AttackView, models: Tensor, count: int) -> Tensor:
    return view.normal("orthogonal-noise", count, models.shape[1])


def _structured(view: AttackView, models: Tensor, count: int) -> Tensor:
    draw = view.generator("structured-noise")
    first, shape = view.learner.layout.offsets[0], view.learner.layout.shapes[0]
    features = view.data.inputs[0].numel()
    out = models.new_zeros(count, models.shape[1])
    if len(shape) == 2 and shape[1] == features:
        chosen = torch.from_numpy(draw.choice(view.public, size=count))
        images = view.data.feed(chosen).flatten(1).to(models)
        vectors = torch.from_numpy(draw.standard_normal((count, shape[0]), dtype="float32")).to(models)
        out[:, first : first + shape[0] * features] = (vectors[:, :, None] * images[:, None, :]).flatten(1)
        return out
    for row in range(count):
        chosen = torch.from_numpy(draw.choice(view.public, size=_IMAGES))
        labels = torch.from_numpy(draw.integers(0, view.learner.classes, size=_IMAGES))
        batch = Dataset(view.data.inputs[chosen], labels)
        address = view.address ^ (row + 1)
        after, _ = view.learner.train(models[row], batch, torch.arange(_IMAGES), view.seed, address, view.round)
        out[row] = after - models[row]
    return out


def _shards(view: AttackView, samples: int) -> list[Tensor]:
    """Each Sybil's clean rows, the same in every round."""
    order = torch.from_numpy(view.generator("diverse-data", lasting=True).permutation(view.public))
    wide = torch.arange(view.sybils * samples).reshape(view.sybils, samples) % view.public
    return list(order[wide])


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


_NOISE = {"c": 1.3, "of": "params"}

ORTHOGONAL_NOISE = AttackSpec(
    name="orthogonal-noise",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.SHARD}),
    build=orthogonal_noise,
    parameters=_NOISE,
    strength=Strength("c", 0.05, 8.0),
)
PAIRS = AttackSpec(
    name="pairs",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.SHARD}),
    build=pairs,
    parameters={"c": 0.7, "of": "params"},
    strength=Strength("c", 0.05, 8.0),
)
STRUCTURED_NOISE = AttackSpec(
    name="structured-noise",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.SHARD, Knowledge.DATA}),
    build=structured_noise,
    parameters=_NOISE,
    strength=Strength("c", 0.05, 8.0),
)
NULL_SPACE_DECOYS = AttackSpec(
    name="null-space-decoys",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.SHARD}),
    build=null_space_decoys,
    parameters={**_NOISE, "quiet": 0.02},
    strength=Strength("c", 0.05, 8.0),
)
DIVERSE_DATA = AttackSpec(
    name="diverse-data",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.DATA}),
    build=diverse_data,
    parameters={"weight": 1.0, "samples": 300},
    strength=Strength("weight", 0.05, 8.0),
)
