"""What the package brings: once it is installed, `--rule near-half` and `--attack nudge` work everywhere."""

import torch
from torch import Tensor

import hedgerow
from simulator.attacks.attack import AttackView


def near_half(evidence: hedgerow.Evidence) -> hedgerow.Weights:
    """Believe the nearer half of the neighbours."""
    here = evidence.present()
    rows = torch.cat([evidence.own.unsqueeze(-1), evidence.neighbours], dim=-1)
    away = evidence.table.geometry.squared_distances(rows)[..., 0, 1:]
    order = torch.where(here, away, torch.inf).argsort(dim=-1).argsort(dim=-1)
    chosen = here & (2 * order < here.sum(dim=-1, keepdim=True))
    return hedgerow.Weights(torch.ones_like(evidence.own, dtype=torch.float32), chosen.float(), evidence.absence())


class Nudge:
    """Send the honest mean, moved a little towards what the adversary trained."""

    def craft(self, view: AttackView, models: Tensor) -> Tensor:
        """Models sent, (Sybils, d)."""
        centre = view.centre()
        return centre + 0.3 * (models - centre)
