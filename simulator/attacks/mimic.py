"""Copies of honest models: to drown the others, or to make the copied node look like a Sybil (framing)."""

from __future__ import annotations

import torch
from torch import Tensor

from simulator.attacks.attack import AttackSpec, AttackView, Craft, Knowledge, Stage


def mimic(victim: int = -1) -> Craft:
    """All Sybils send one honest node's model; victim -1: the node that leads along the direction of largest variation.

    Source: S. P. Karimireddy, L. He, M. Jaggi, "Byzantine-robust learning on heterogeneous datasets via bucketing",
    ICLR 2022, section 3.2. Differs: the direction is that of this round, without a warm-up.
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        chosen = _leader(view.honest) if victim < 0 else victim % len(view.honest)
        return view.honest[chosen].expand(view.sybils, -1)

    return craft


def copycat() -> Craft:
    """Each Sybil sends the newest model of one of its own targets, always the same one: the s-th, cyclically.

    Whoever hears both takes the honest node for a twin of the Sybil.
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        rows = [
            view.honest[targets[sybil % len(targets)]] if targets else models[sybil]
            for sybil, targets in enumerate(view.targets)
        ]
        return torch.stack(rows)

    return craft


def framing(share: float = 0.5, copies: int = 1, late: bool = False) -> Craft:
    """A share of the Sybils are framers: they publish copies that relays carry to the copied nodes' neighbours.

    The others send the model of the stage before. So honest neighbours look like twins, and the poison alone does not.

    Args:
        share: share of framers, spread evenly over the Sybils.
        copies: how many of its targets a framer resembles at once (their mean); 1 is an exact copy. Targets take turns
            round by round.
        late: copies are of last round's models, which a framer can commit to before it sees this round's.
    """

    def craft(view: AttackView, models: Tensor) -> Tensor:
        out, source = models.clone(), view.previous if late else view.honest
        for sybil, targets in enumerate(view.targets):
            framer = int((sybil + 1) * share) > int(sybil * share)
            if framer and targets:
                turn = [targets[(view.round + k) % len(targets)] for k in range(min(copies, len(targets)))]
                out[sybil] = source[turn].mean(dim=0)
        return out

    return craft


def _leader(honest: Tensor) -> int:
    """The node whose model lies farthest along the first principal direction of all."""
    away = (honest - honest.mean(dim=0)).double()
    _, vectors = torch.linalg.eigh(away @ away.T)
    return int(vectors[:, -1].abs().argmax())


MIMIC = AttackSpec(
    name="mimic", stage=Stage.MODEL, knowledge=frozenset({Knowledge.UPDATES}), build=mimic, parameters={"victim": -1}
)
COPYCAT = AttackSpec(name="copycat", stage=Stage.MODEL, knowledge=frozenset({Knowledge.UPDATES}), build=copycat)
FRAMING = AttackSpec(
    name="framing",
    stage=Stage.MODEL,
    knowledge=frozenset({Knowledge.UPDATES}),
    build=framing,
    parameters={"share": 0.5, "copies": 1, "late": False},
)
