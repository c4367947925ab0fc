"""Networks to measure on: synthetic images, equal shares, a regular graph; nothing is read from disk."""

from __future__ import annotations

import numpy as np

from node.draws import Purpose, generator
from node.learning.optimizers import Sgd
from node.learning.registry import MODELS
from node.learning.task import Task
from simulator.study.scenario import Scenario
from simulator.study.setup import Setup, prepare

SHAPE = (1, 28, 28)
CLASSES = 10


def network(model: str, nodes: int, samples: int, *, degree: int = 8, age: int = 5, rounds: int = 1_000_000) -> Setup:
    """A network of honest nodes, `samples` training images each, batch 32, one local epoch.

    With 8 neighbours and relayed records that live 5 rounds a node knows 8 + 24 histories; with 3 rounds, 8 + 16.
    """
    draw = generator(7, Purpose.PARTITION, nodes, samples)
    count = nodes * samples
    inputs = draw.integers(0, 256, size=(count, *SHAPE), dtype=np.uint8)
    labels = np.arange(count) % CLASSES
    test = (inputs[:1000], labels[:1000]) if count >= 1000 else (inputs, labels)
    task = Task(
        lambda: MODELS[model].build(SHAPE, CLASSES),
        (inputs, labels),
        test,
        name="synthetic",
        optimizer=Sgd(lr=0.1),
        batch_size=32,
        held_out=0.0,
    )
    scenario = Scenario.of(
        {
            "nodes": nodes,
            "rounds": rounds,
            "topology": {"name": "regular", "degree": degree},
            "partition": "iid",
            "attack": "none",
            "age": age,
            "evaluate_every": 10,
        }
    )
    return prepare(scenario, task)
