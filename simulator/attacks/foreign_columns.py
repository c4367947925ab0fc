"""Foreign columns: return what the victim can test as it should be, and poison the classes that it cannot."""

from __future__ import annotations

import torch
from torch import Tensor

from simulator.attacks.attack import AttackSpec, AttackView, Craft, Knowledge, Stage

POISONS = ("next", "trained")


def foreign_columns(poison: str = "next") -> Craft:
    """The victim's own model, its head's columns of classes that it does not train replaced by poisoned ones.

    Targets take turns as victims, round by round; Sybils beside the same targets begin at different ones.

    Args:
        poison: "next": column c holds the honest mean's column c + 1; "trained": that of the stage before.

    Source: weakness of arXiv 2110.11006: foreign columns are integrated unchecked.
    Raises:
        ValueError: unknown poison; when used, a task without an output layer that is exchanged.
    """
    if poison not in POISONS:
        raise ValueError(f"unknown poison '{poison}': known: {', '.join(POISONS)}.")

    def craft(view: AttackView, models: Tensor) -> Tensor:
        layout = view.learner.head
        if layout is None:
            raise ValueError("foreign-columns needs a task whose output layer is exchanged")
        shifted = layout.read(view.centre()).roll(-1, dims=-1)
        rows = []
        for sybil, targets in enumerate(view.targets):
            if not targets:
                rows.append(models[sybil])
                continue
            victim = targets[(view.round + sybil) % len(targets)]
            own = view.honest[victim]
            bad = shifted if poison == "next" else layout.read(models[sybil])
            rows.append(layout.write(own, torch.where(view.classes[victim], layout.read(own), bad)))
        return torch.stack(rows)

    return craft


FOREIGN_COLUMNS = AttackSpec(
    name="foreign-columns",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.UPDATES, Knowledge.GRAPH}),
    build=foreign_columns,
    parameters={"poison": "next"},
)
