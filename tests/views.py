"""A small world for an adversary: a task with a learner, a ring of honest nodes, Sybils beside some of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from node.draws import Purpose, generator
from node.learning.dataset import Dataset
from node.learning.learner import Learner
from node.learning.optimizers import Sgd
from node.learning.task import Task
from simulator.attacks.attack import AttackView

SIDE, CLASSES = 4, 4


def small_task(seed: int = 0, samples: int = 240) -> Task:
    """Softmax regression on 4x4 images; class c has a bright pixel 4 + c; the last row of pixels is always dark."""
    draw = np.random.default_rng(seed)
    labels = np.arange(samples) % CLASSES
    inputs = draw.integers(0, 120, size=(samples, 1, SIDE, SIDE), dtype=np.uint8)
    inputs.reshape(samples, -1)[np.arange(samples), 4 + labels] = 255
    inputs[:, :, 3] = 0
    half = samples // 2
    return Task(
        nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES)),
        (inputs[:half], labels[:half]),
        (inputs[half:], labels[half:]),
        name="small",
        optimizer=Sgd(lr=0.2),
        batch_size=8,
    )


def small_view(honest: int = 12, sybils: int = 4, **changes: object) -> AttackView:
    """Honest nodes on a ring with two neighbours on either side; Sybil s beside nodes 3s, 3s + 1, 3s + 2 (modulo)."""
    task = small_task()
    learner = Learner(task)
    draw = generator(7, Purpose.ATTACK)
    targets = tuple(tuple(sorted({(3 * s + k) % honest for k in range(3)})) for s in range(sybils))
    ring = [{(i + step) % honest for step in (-2, -1, 1, 2)} - {i} for i in range(honest)]
    for sybil, near in enumerate(targets):
        for node in near:
            ring[node].add(honest + sybil)
    common = _normal(draw, learner.dimension)
    previous = common + 0.1 * _normal(draw, honest, learner.dimension)
    classes = torch.zeros(honest, CLASSES, dtype=torch.bool)
    classes[torch.arange(honest), torch.arange(honest) % CLASSES] = True
    own = torch.arange(0, 40)
    view = AttackView(
        round=1,
        seed=3,
        address=99,
        honest=previous + 0.1 * _normal(draw, learner.dimension) + 0.05 * _normal(draw, honest, learner.dimension),
        previous=previous,
        start=common,
        trained=common + 0.2 * _normal(draw, learner.dimension),
        targets=targets,
        neighbours=tuple(tuple(sorted(near)) for near in ring),
        classes=classes,
        learner=learner,
        data=task.train,
        public=len(task.train),
        samples=own,
        clean=own,
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def clones_of(view: AttackView) -> Tensor:
    """What the Sybils trained: one model, (S, d)."""
    return view.trained.expand(view.sybils, -1)


def _normal(draw: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(draw.standard_normal(shape, dtype=np.float32))


def images(*shape: int) -> Dataset:
    """Dark images with labels 0, 1, 2, ... modulo CLASSES."""
    return Dataset(np.zeros(shape, dtype=np.uint8), np.arange(shape[0]) % CLASSES)
